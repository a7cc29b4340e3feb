"""The images and videos that pre-training draws from, over all sources."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vills.config.checks import ConfigError
from vills.config.pretrain import PretrainConfig
from vills.data.frames import FrameReader
from vills.data.mask_store import MaskStore
from vills.data.records import Manifest, load_manifest
from vills.data.samplers import PretrainSampler, sample_rng
from vills.data.shards import ShardReader

_STREAM = 41
"""Keeps the shuffle of frames apart from other uses of the same seed."""


@dataclass(frozen=True)
class PretrainSource:
    """One curated source and its LSE cache."""

    manifest: Manifest
    """Its records; only the ones to learn from."""
    reader: ShardReader
    """Its shards."""
    masks: MaskStore | None = None
    """Its area masks; None: no area is ever known."""


def load_pretrain_source(curated: Path, *, lse: Path | None = None) -> PretrainSource:
    """Return the source of a curated folder, with the masks of an LSE folder."""
    masks = MaskStore(lse) if lse is not None else None
    return PretrainSource(load_manifest(curated / "manifest.parquet"), ShardReader(curated), masks)


class SourcePool:
    """Rows of several sources behind one running number."""

    def __init__(
        self, sources: Sequence[PretrainSource], *, frame_mb: float, shuffle: int | None = None
    ) -> None:
        """Take sources and the memory for a frame; with a seed `shuffle`, frames change rows."""
        counts = [s.manifest.column("num_frames").astype(np.int64) for s in sources]
        self.sources = tuple(sources)
        self._readers = [
            FrameReader(s.manifest, s.reader, cache_mb=frame_mb * int(count.sum()))
            for s, count in zip(sources, counts, strict=True)
        ]
        self._ends = np.cumsum([len(s.manifest) for s in sources], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(np.concatenate([*counts, [0]]))])
        self._order: np.ndarray | None = None
        if shuffle is not None:
            self._order = sample_rng(shuffle, _STREAM).permutation(int(self._starts[-1]))
        # ids as fixed-width bytes: no Python object per record, and forked workers share them
        self._ids = [np.asarray(s.manifest.column("record_id"), dtype=np.bytes_) for s in sources]

    def __len__(self) -> int:
        """Rows of all sources."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def num_frames(self, number: int) -> int:
        """Frames of a row."""
        source, row = self._locate(number)
        return self._readers[source].num_frames(row)

    def read(self, number: int, position: int = 0) -> np.ndarray:
        """Pixels of a frame, uint8 [H, W, 3]."""
        source, row, position = self._locate_frame(number, position)
        return self._readers[source].read(row, position)

    def cached_frames(self, number: int) -> np.ndarray:
        """Positions of a row with a mask; of shuffled rows they are not known beforehand."""
        source, row = self._locate(number)
        masks = self.sources[source].masks
        if masks is None or self._order is not None:
            return np.zeros(0, dtype=np.int64)
        return masks.cached_frames(self._ids[source][row].decode())

    def mask(self, number: int, position: int, area: str) -> np.ndarray | None:
        """Bool [H, W] of an area, or None if it is missing."""
        source, row, position = self._locate_frame(number, position)
        masks = self.sources[source].masks
        found = masks and masks.load(self._ids[source][row].decode(), position, area)
        return found[0] if found else None

    def _locate_frame(self, number: int, position: int) -> tuple[int, int, int]:
        """Source, row in it and position in the row of what stands at a place."""
        if self._order is not None:
            place = int(self._order[self._starts[number] + position])
            number = int(np.searchsorted(self._starts, place, side="right")) - 1
            position = place - int(self._starts[number])
        return *self._locate(number), position

    def _locate(self, number: int) -> tuple[int, int]:
        source = int(np.searchsorted(self._ends, number, side="right"))
        return source, number - (int(self._ends[source - 1]) if source else 0)


class PretrainData:
    """What a step is drawn from; `config.modalities` says which of the two is used.

    cache_mb: memory for decoded frames, shared by all workers of a process; 0 = none.

    Raises:
        ConfigError: if a modality has no record.
    """

    def __init__(
        self,
        images: Sequence[PretrainSource],
        videos: Sequence[PretrainSource] = (),
        *,
        config: PretrainConfig,
        cache_mb: float = 0.0,
    ) -> None:
        with_video = config.modalities == "image+video"
        chosen = [_keep(source, "image") for source in images]
        clips = [_keep(source, "tracklet") for source in videos] if with_video else []
        sizes = (int(s.manifest.column("num_frames").sum()) for s in (*chosen, *clips))
        frame_mb = cache_mb / max(sum(sizes), 1)
        self.images = SourcePool(chosen, frame_mb=frame_mb)
        self.clips = SourcePool(
            clips,
            frame_mb=frame_mb,
            shuffle=config.seed if config.shuffle_tracklets else None,
        )
        self.tracklets_of = _group_by_video(clips)
        """Rows of `clips` of every video; with `config.video_unit` tracklet one each."""
        if config.video_unit == "tracklet":
            self.tracklets_of = [np.array([row]) for row in range(len(self.clips))]
        if with_video and not self.tracklets_of:
            raise ConfigError(
                "pretrain.modalities = 'image+video' is not allowed without tracklets. What to do: "
                "add a curate source of role pretrain_videos, or set pretrain.modalities=image."
            )
        if not with_video and not len(self.images):
            raise ConfigError(
                "pretrain.modalities = 'image' is not allowed without images. What to do: add a "
                "curate source of role pretrain_images."
            )

    @property
    def num_images(self) -> int:
        """Images of all sources."""
        return len(self.images)

    @property
    def num_videos(self) -> int:
        """Distinct videos of all sources."""
        return len(self.tracklets_of)


def build_pretrain_sampler(data: PretrainData, config: PretrainConfig) -> PretrainSampler:
    """Return the sampler of `data`; its `steps_per_epoch` is what schedules count by."""
    return PretrainSampler(
        data.num_images, data.num_videos, config.image_batch, config.video_batch, config.seed
    )


def _keep(source: PretrainSource, kind: str) -> PretrainSource:
    return replace(source, manifest=source.manifest.where(kind=kind))


def _group_by_video(sources: Sequence[PretrainSource]) -> list[np.ndarray]:
    """Count each video's tracklets up; a tracklet without video is its own video."""
    groups: list[np.ndarray] = []
    start = 0
    for source in sources:
        names, ids = (source.manifest.column(c) for c in ("video_id", "record_id"))
        keys = np.where(names == "", ids, names).astype(str)
        _, inverse = np.unique(keys, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        ends = np.flatnonzero(np.diff(inverse[order])) + 1
        groups += [start + rows for rows in np.split(order, ends) if len(rows)]
        start += len(source.manifest)
    return groups
