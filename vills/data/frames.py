"""Decoded frames of a manifest's records."""

import numpy as np

from vills.data.frame_cache import FrameCache
from vills.data.images import decode_curated
from vills.data.records import Manifest
from vills.data.shards import ShardReader


class FrameReader:
    """Reads frame `position` of row `row`; no Python object per record stands in memory."""

    def __init__(self, manifest: Manifest, reader: ShardReader, *, cache_mb: float = 0.0) -> None:
        self._reader = reader
        self._starts, self._offsets, self._lengths = manifest.frame_spans()
        self._shards, self._shard_of = manifest.encode("shard")
        num_frames = len(self._offsets)
        self._cache = FrameCache(num_images=num_frames, megabytes=cache_mb) if cache_mb else None

    def num_frames(self, row: int) -> int:
        """Frames of a record."""
        return int(self._starts[row + 1] - self._starts[row])

    def read(self, row: int, position: int = 0) -> np.ndarray:
        """Pixels as uint8 [H, W, 3], not to be written to."""
        number = int(self._starts[row]) + position
        if self._cache is None:
            return self._decode(row, number)
        pixels = self._cache.get(number)
        if pixels is None:
            pixels = self._decode(row, number)
            self._cache.put(number, pixels)
        return pixels

    def _decode(self, row: int, number: int) -> np.ndarray:
        shard = self._shards[self._shard_of[row]]
        offset = int(self._offsets[number])
        data = self._reader.read(shard, offset, int(self._lengths[number]))
        return decode_curated(data, name=f"{self._reader.folder / shard} at byte {offset}")
