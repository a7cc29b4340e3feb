"""A labelled source: who is in train, query and gallery, and batches to fine-tune on.

Legend: B rows of this rank, T frames of a clip, H x W pixels of an input, P people and K samples of
each in a global batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.data.batch import ReidBatch
from vills.data.clips import sample_clip
from vills.data.frames import FrameReader
from vills.data.normalise import normalise
from vills.data.records import Manifest, load_manifest
from vills.data.reid_transforms import augment_inputs
from vills.data.rng import sample_key, sample_rng
from vills.data.samplers import REID_STREAM, PKSampler
from vills.data.shards import ShardReader

KIND_OF = {"image": "image", "video": "tracklet"}
"""Kind of record that a modality takes."""


@dataclass(frozen=True)
class ReidData:
    """Splits of a source for one modality."""

    name: str
    """Name of the source."""
    train: Manifest
    """People to learn from; junk left out."""
    query: Manifest
    """Junk left out."""
    gallery: Manifest
    """With distractors (pid 0) and junk (pid -1), which protocols drop."""
    reader: ShardReader
    """Shards of all three."""

    @property
    def labels(self) -> np.ndarray:
        """int64 [len(train)]: pids of train relabelled 0..num_ids - 1, in the order of pids."""
        _, labels = np.unique(self.train.column("pid"), return_inverse=True)
        return np.asarray(labels, dtype=np.int64)

    @property
    def num_ids(self) -> int:
        """People of train."""
        return len(np.unique(self.train.column("pid")))

    def describe(self) -> str:
        """One line of statistics."""
        parts = []
        for split in ("train", "query", "gallery"):
            manifest: Manifest = getattr(self, split)
            pids, cameras = manifest.column("pid"), manifest.column("camid")
            people = len(np.unique(pids[pids > 0]))
            seen = len(np.unique(cameras))
            parts.append(f"{split} {len(manifest):,} of {people:,} people in {seen} cameras")
        junk, strangers = ((self.gallery.column("pid") == pid).sum() for pid in (-1, 0))
        return f"{self.name}: {', '.join(parts)} ({strangers:,} distractors, {junk:,} junk)"


def load_reid_data(folder: Path, *, modality: str) -> ReidData:
    """The splits of a curated folder.

    Raises:
        ConfigError: if a split holds nothing of the modality.
    """
    manifest = load_manifest(folder / "manifest.parquet")
    splits = {
        split: manifest.where(split=split, kind=KIND_OF[modality])
        for split in ("train", "query", "gallery")
    }
    kinds = ", ".join(np.unique(manifest.column("kind").astype(str))) or "nothing"
    for split, part in splits.items():
        if not len(part):
            raise ConfigError(
                f"{folder.name} has no {KIND_OF[modality]} in split {split}; it holds {kinds} in "
                f"{', '.join(np.unique(manifest.column('split').astype(str)))}. What to do: set "
                f"finetune.{folder.name}.modality to what the data set holds, and check that its "
                "source has role reid and all three splits."
            )
    for split in ("train", "query"):
        splits[split] = splits[split].take(np.flatnonzero(splits[split].column("pid") != -1))
    return ReidData(folder.name, reader=ShardReader(folder), **splits)


class FinetuneLoader(Dataset[ReidBatch]):
    """Batches of every epoch; `num_batches` is what schedules count by."""

    def __init__(
        self,
        data: ReidData,
        *,
        config: FinetuneConfig,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        cache_mb: float = 0.0,
    ) -> None:
        size = config.num_ids * config.num_instances
        if size % world_size:
            raise ValueError(
                f"finetune.*.num_ids * num_instances = {size} does not divide by the {world_size} "
                "processes. What to do: change one of the two."
            )
        self._config = config
        self._rank, self._world_size, self._workers = rank, world_size, workers
        self._labels = data.labels
        self._cameras = data.train.column("camid").astype(np.int64)
        self._sampler = PKSampler(
            self._labels.tolist(), config.num_ids, config.num_instances, config.seed
        )
        self._frames = FrameReader(data.train, data.reader, cache_mb=cache_mb)
        self._batches: list[list[int]] = []
        self._epoch = -1

    @property
    def num_batches(self) -> int:
        """Batches of every epoch."""
        return self._sampler.num_batches

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[ReidBatch]:
        """This rank's rows of the batches of an epoch, from batch `start`."""
        self._epoch, self._batches = epoch, self._sampler.epoch(epoch)
        loader: DataLoader[ReidBatch] = DataLoader(
            self,
            batch_size=None,
            sampler=range(start, self.num_batches),
            num_workers=self._workers,
            multiprocessing_context="fork" if self._workers else None,
        )
        for batch in loader:
            yield replace(batch, inputs=normalise(batch.inputs))

    def __getitem__(self, number: int) -> ReidBatch:
        """Batch `number` of the current epoch, pixels as uint8."""
        batch = self._batches[number]
        share = len(batch) // self._world_size
        places = range(self._rank * share, (self._rank + 1) * share)
        rows = np.array([batch[place] for place in places], dtype=np.int64)
        # by place in the epoch, not by row: a sample that fills up its group gets another view
        keys = [
            (self._config.seed, REID_STREAM, self._epoch, number * len(batch) + place)
            for place in places
        ]
        inputs = np.stack(
            [self._load(int(row), sample_rng(*key)) for row, key in zip(rows, keys, strict=True)]
        )
        return ReidBatch(
            inputs=torch.from_numpy(inputs),
            pids=torch.from_numpy(self._labels[rows]),
            camids=torch.from_numpy(self._cameras[rows]),
            indices=torch.from_numpy(rows),
            keys=torch.tensor([sample_key(*key) for key in keys], dtype=torch.long),
        )

    def _load(self, row: int, rng: np.random.Generator) -> np.ndarray:
        if self._config.modality == "image":
            views = augment_inputs([self._frames.read(row)], rng, config=self._config)
            return views.reshape(views.shape[1:])
        positions = sample_clip(self._frames.num_frames(row), self._config.num_frames, rng)
        frames = [self._frames.read(row, int(position)) for position in positions]
        return augment_inputs(frames, rng, config=self._config)


def build_finetune_loader(
    data: ReidData,
    *,
    config: FinetuneConfig,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    cache_mb: float = 0.0,
) -> FinetuneLoader:
    """PK batches of augmented samples; rows do not depend on rank, world size or workers.

    Raises:
        ConfigError: if there are fewer people than `num_ids`.
        ValueError: if a batch does not divide by the world size.
    """
    return FinetuneLoader(
        data,
        config=config,
        rank=rank,
        world_size=world_size,
        workers=workers,
        cache_mb=cache_mb,
    )
