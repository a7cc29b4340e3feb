"""Inputs for features: every record once, no randomness.

Legend: B inputs of a batch, T frames of a clip, H x W pixels of an input.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vills.config.checks import check_choice
from vills.data.clips import build_clips, list_clip_frames
from vills.data.frames import FrameReader
from vills.data.images import CorruptImageError
from vills.data.loading import load_batches, normalise
from vills.data.records import Manifest
from vills.data.shards import ShardReader
from vills.data.transforms import load_inputs
from vills.errors import UserError

MODES = ("frame", "clip")


class DamagedRecordError(UserError, ValueError):
    """A curated record can no longer be read; says which."""


class CheckedFrames:
    """Decoded frames of a manifest's records; what cannot be read is named by its record."""

    def __init__(self, manifest: Manifest, reader: ShardReader) -> None:
        self._frames = FrameReader(manifest, reader)
        self._ids = manifest.column("record_id")

    def read(self, row: int, position: int = 0) -> np.ndarray:
        """Pixels as uint8 [H, W, 3].

        Raises:
            DamagedRecordError: if the shard is missing or cut, or its bytes are no image: a record
                left out would make the query or the gallery silently smaller.
        """
        try:
            return self._frames.read(row, position)
        except (CorruptImageError, ValueError, OSError) as error:
            reason = str(error).split(" What to do", maxsplit=1)[0].rstrip(".")
            raise DamagedRecordError(
                f"record {self._ids[row]}, frame {position} cannot be read: {reason}. Scores "
                "without it would be of another query or gallery. What to do: run the curate stage "
                "again (`dvc repro --force --single-item curate`)."
            ) from error


@dataclass(frozen=True)
class _FeatureInputs(Dataset[tuple[Tensor, Tensor]]):
    """Item n is batch n: (inputs uint8, rows)."""

    frames: CheckedFrames
    plan: Sequence[tuple[int, np.ndarray]]
    size: Sequence[int]
    batch_size: int
    as_clips: bool

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        part = self.plan[number * self.batch_size : (number + 1) * self.batch_size]
        clips = ([self.frames.read(row, int(p)) for p in positions] for row, positions in part)
        inputs = np.stack([load_inputs(frames, size=self.size) for frames in clips])
        rows = torch.tensor([row for row, _ in part], dtype=torch.long)
        return torch.from_numpy(inputs if self.as_clips else inputs[:, 0]), rows


def build_feature_loader(
    manifest: Manifest,
    reader: ShardReader,
    *,
    input_size: Sequence[int],
    batch_size: int,
    mode: str = "frame",
    num_frames: int = 8,
    sampling: str = "all",
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Return (inputs, rows of the manifest), rows ascending; pool what repeats a row.

    mode frame: every frame of `list_clip_frames` by itself, [B, 3, H, W]; an image is one frame.
    mode clip: the clips of `build_clips`, [B, T, 3, H, W].
    Rank r of W takes batches r, r + W, ...: all ranks together cover every record exactly once.

    Args:
        manifest: records.
        reader: their shards.
        input_size: height and width, px.
        batch_size: inputs of a batch.
        mode: frame or clip.
        num_frames: T.
        sampling: which clips of a tracklet, see `build_clips`.
        rank: of this process.
        world_size: number of processes.
        workers: processes that decode.

    Raises:
        ConfigError: if a choice is unknown.
        DamagedRecordError: if a record cannot be read.
    """
    check_choice("mode", mode, MODES)
    counts = manifest.column("num_frames").tolist()
    as_clips = mode == "clip"
    plan = [
        (row, positions)
        for row, n in enumerate(counts)
        for positions in (
            build_clips(n, num_frames, sampling=sampling)
            if as_clips
            else list_clip_frames(n, num_frames, sampling=sampling)[:, None]
        )
    ]
    frames = CheckedFrames(manifest, reader)
    inputs = _FeatureInputs(frames, plan, input_size, batch_size, as_clips)
    numbers = range(rank, -(-len(plan) // batch_size), world_size)
    with closing(load_batches(inputs, numbers=numbers, workers=workers)) as loader:
        for pixels, rows in loader:
            yield normalise(pixels), rows
