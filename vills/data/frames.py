"""Decoded frames of a manifest's records, and the memory that keeps them."""

import fcntl
import mmap
import os
import weakref
from multiprocessing import reduction
from multiprocessing.context import assert_spawning
from typing import Any

import numpy as np

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
        pixels = self._cache.get(number) if self._cache else None
        if pixels is None:
            shard, offset = self._shards[self._shard_of[row]], int(self._offsets[number])
            data = self._reader.read(shard, offset, int(self._lengths[number]))
            pixels = decode_curated(data, name=f"{self._reader.folder / shard} at byte {offset}")
            if self._cache:
                self._cache.put(number, pixels)
        return pixels


class FrameCache:
    """Decoded uint8 [H, W, 3] images by number, in anonymous shared memory.

    Children see the same memory, forked or spawned, so that every image is decoded once, not once
    per worker. The cache fills up and stays: there is no eviction, since a random epoch would evict
    each image before its next use. Which images it holds never changes what is read.

    The memory is a nameless file, which a spawned child is handed as a descriptor. Its lock is a
    record lock on that file: a child that is killed while it holds it gives it back.
    """

    def __init__(self, *, num_images: int, megabytes: float) -> None:
        self._num_images, self._capacity = num_images, int(megabytes * 2**20)
        descriptor = os.memfd_create("frames")
        os.truncate(descriptor, self._table_size + self._capacity)
        self._map(descriptor)

    def get(self, number: int) -> np.ndarray | None:
        """Return the image, read-only, or None."""
        start = int(self._table[3 * number])
        if not start:
            return None
        # read after the start, as they are written before it
        height, width = self._table[3 * number + 1 : 3 * number + 3].tolist()
        flat = self._view(start - 1, height * width * 3)
        flat.flags.writeable = False
        return flat.reshape(height, width, 3)

    def put(self, number: int, pixels: np.ndarray) -> None:
        """Keep the image if there is room."""
        size = pixels.size
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            used = int(self._table[-1])
            if self._table[3 * number] or used + size > self._capacity:
                return
            self._table[-1] = used + size
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._view(used, size)[:] = pixels.ravel()
        self._table[3 * number + 1 : 3 * number + 3] = pixels.shape[:2]
        # written last: a reader that sees the start sees the whole image
        self._table[3 * number] = used + 1

    def __getstate__(self) -> dict[str, Any]:
        """Return what a spawned child maps the same memory by."""
        assert_spawning(self)
        descriptor = reduction.DupFd(self._descriptor)
        return {"sizes": (self._num_images, self._capacity), "descriptor": descriptor}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Return the parent's cache, in a spawned child."""
        self._num_images, self._capacity = state["sizes"]
        self._map(state["descriptor"].detach())

    @property
    def _table_size(self) -> int:
        return 8 * (3 * self._num_images + 1)

    def _map(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._memory = mmap.mmap(descriptor, self._table_size + self._capacity)
        # start + 1 (0 = absent), height, width of each image; then the number of bytes in use
        self._table = np.frombuffer(self._memory, np.int64, count=3 * self._num_images + 1)

    def _view(self, start: int, size: int) -> np.ndarray:
        return np.frombuffer(self._memory, np.uint8, count=size, offset=self._table_size + start)
