"""Inputs for features: every record once, no randomness but a seeded choice of a query frame.

Legend: B inputs of a batch, T frames of a clip, H x W pixels of an input.
"""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vills.config.checks import check_choice
from vills.data.clips import even_clip, spread_clips
from vills.data.frames import FrameReader
from vills.data.normalise import normalise
from vills.data.records import Manifest
from vills.data.reid_transforms import load_inputs
from vills.data.rng import sample_rng
from vills.data.shards import ShardReader

MODES = ("image", "video", "frame")
FRAMES = ("first", "middle", "random")
CLIPS = ("all", "one")


class _FeatureInputs(Dataset[tuple[Tensor, Tensor]]):
    """Item n is batch n: (inputs uint8, rows)."""

    def __init__(
        self,
        frames: FrameReader,
        plan: Sequence[tuple[int, np.ndarray]],
        *,
        size: Sequence[int],
        batch_size: int,
        as_clips: bool,
    ) -> None:
        self._frames = frames
        self._plan = plan
        self._size = size
        self._batch_size = batch_size
        self._as_clips = as_clips

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        part = self._plan[number * self._batch_size : (number + 1) * self._batch_size]
        inputs = np.stack([self._load(row, positions) for row, positions in part])
        rows = torch.tensor([row for row, _ in part], dtype=torch.long)
        return torch.from_numpy(inputs if self._as_clips else inputs[:, 0]), rows

    def _load(self, row: int, positions: np.ndarray) -> np.ndarray:
        frames = [self._frames.read(row, int(position)) for position in positions]
        return load_inputs(frames, size=self._size)


def build_feature_loader(
    manifest: Manifest,
    reader: ShardReader,
    *,
    input_size: Sequence[int],
    batch_size: int,
    mode: str = "image",
    num_frames: int = 8,
    frame: str = "first",
    clips: str = "all",
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, rows of the manifest), rows ascending; average what repeats a row.

    mode image: one frame of each record (`frame`: first, middle, random by seed), [B, 3, H, W].
    mode video: clips [B, T, 3, H, W]; `all` clips of a tracklet, which hold every frame at least
    once, or `one` of evenly spread frames; a short tracklet repeats frames, an image too.
    mode frame: every frame by itself, [B, 3, H, W].
    Rank r of W takes batches r, r + W, ...: all ranks together cover every record exactly once.

    Raises:
        ConfigError: if a choice is unknown.
    """
    check_choice("mode", mode, MODES)
    check_choice("query_frame", frame, FRAMES)
    check_choice("clips", clips, CLIPS)
    counts = manifest.column("num_frames").tolist()
    if mode == "image":
        ids = manifest.column("record_id")
        plan = [(row, _choose_frame(n, frame, (seed, ids[row]))) for row, n in enumerate(counts)]
    elif mode == "frame":
        plan = [(row, np.array([t])) for row, n in enumerate(counts) for t in range(n)]
    else:
        plan = [
            (row, clip)
            for row, n in enumerate(counts)
            for clip in (
                spread_clips(n, num_frames) if clips == "all" else [even_clip(n, num_frames)]
            )
        ]
    inputs = _FeatureInputs(
        FrameReader(manifest, reader),
        plan,
        size=input_size,
        batch_size=batch_size,
        as_clips=mode == "video",
    )
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        inputs,
        batch_size=None,
        sampler=range(rank, -(-len(plan) // batch_size), world_size),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )
    for pixels, rows in loader:
        yield normalise(pixels), rows


def _choose_frame(num_frames: int, frame: str, key: tuple[int, str]) -> np.ndarray:
    """Position of the frame, [1]; random by record id, so that a filter does not change it."""
    if frame == "random":
        seed, record_id = key
        return sample_rng(seed, zlib.crc32(record_id.encode())).integers(num_frames, size=1)
    return np.array([0 if frame == "first" else num_frames // 2])
