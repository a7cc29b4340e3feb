"""The crops that a pre-training is asked about (vills.train.probe): the same ones in every run.

Legend: n crops, H x W pixels.

People of a labelled source, each with crops of several cameras; or else the first and the last
frame of tracklets, where the tracklet stands for the person and its video for the camera.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vills.config.checks import ConfigError
from vills.config.pretrain import PretrainConfig
from vills.data.frames import FrameReader
from vills.data.pretrain_sources import PretrainData
from vills.data.reid import ReidData
from vills.data.samplers import sample_rng
from vills.data.transforms import load_inputs

MAX_PER_GROUP = 8
"""Crops of a person, or of a video: many people say more than many crops of one."""
MIN_PEOPLE = 4
"""Two for each half of LDA."""
PROBE_STREAM = 3
"""Beside the streams of vills.data.samplers; no seed: runs are compared on the same crops."""


@dataclass(frozen=True)
class ProbeCrops:
    """Crops and who is on them, int64 [n] each; pixels are read when they are asked for."""

    source: str
    """The labelled source; empty for tracklets of pre-training."""
    pids: np.ndarray
    """Person, or tracklet."""
    views: np.ndarray
    """Camera, or 0 and 1 for the first and the last frame of a tracklet."""
    cameras: np.ndarray
    """Camera, or video."""
    read: Callable[[int], np.ndarray]
    """Pixels of crop i, uint8 [h, w, 3]."""

    def __len__(self) -> int:
        """Return the number of crops, n."""
        return len(self.pids)

    def load(self, size: Sequence[int]) -> np.ndarray:
        """All crops, resized and nothing else: uint8 [n, 3, H, W]."""
        return np.concatenate([load_inputs([self.read(i)], size=size) for i in range(len(self))])


def build_probe_crops(
    config: PretrainConfig, *, data: PretrainData, people: ReidData | None
) -> ProbeCrops | None:
    """Return the crops that `config.probe` asks for; None if it is off.

    Args:
        config: parameters of pre-training.
        data: its tracklets are asked where no source is named.
        people: the source that is named, with every kind of record.

    Raises:
        ConfigError: if there are not enough people in two cameras, or tracklets of two frames.
    """
    probe = config.probe
    if not probe.every_steps:
        return None
    assert (people is not None) == bool(probe.source), "people are those of the named source"
    if people is not None:
        return _build_people(people, num_samples=probe.num_samples)
    return _build_tracklets(data, num_samples=probe.num_samples)


def sample_people(pids: np.ndarray, camids: np.ndarray, *, num_samples: int) -> np.ndarray:
    """Rows, ascending, of people who are seen in two cameras: all of a person's crops, or none.

    People come in random order while they fit, each with at most MAX_PER_GROUP crops, spread over
    the person's cameras.
    """
    rng = sample_rng(PROBE_STREAM)
    chosen: list[np.ndarray] = []
    left = num_samples
    known = np.flatnonzero(camids >= 0)
    for pid in rng.permutation(np.unique(pids[known])):
        rows = rng.permutation(known[pids[known] == pid])
        cameras = camids[rows]
        if len(np.unique(cameras)) < 2:
            continue
        # the first of every camera, then the second of every camera
        turn = np.array([int((cameras[:i] == camera).sum()) for i, camera in enumerate(cameras)])
        rows = rows[np.argsort(turn, kind="stable")[:MAX_PER_GROUP]]
        if len(rows) > left:
            break
        chosen.append(rows)
        left -= len(rows)
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)


def _build_people(people: ReidData, *, num_samples: int) -> ProbeCrops:
    pids, camids = (people.train.column(name).astype(np.int64) for name in ("pid", "camid"))
    rows = sample_people(pids, camids, num_samples=num_samples)
    num_people = len(np.unique(pids[rows]))
    if num_people < MIN_PEOPLE:
        raise ConfigError(
            f"pretrain.probe.source = {people.name!r} is not allowed: it has {num_people} people "
            f"for training in two cameras within {num_samples} crops. Allowed: a source with at "
            f"least {MIN_PEOPLE}. What to do: name another source, raise "
            "pretrain.probe.num_samples, or set pretrain.probe.source='' to probe tracklets."
        )
    frames = FrameReader(people.train, people.reader)

    def read(i: int) -> np.ndarray:
        row = int(rows[i])
        return frames.read(row, frames.num_frames(row) // 2)

    return ProbeCrops(people.name, pids[rows], camids[rows], camids[rows], read)


def _build_tracklets(data: PretrainData, *, num_samples: int) -> ProbeCrops:
    """Whole videos in random order, each with at most MAX_PER_GROUP crops, while they fit."""
    rng = sample_rng(PROBE_STREAM)
    chosen: list[tuple[int, int]] = []  # (tracklet, its video)
    for video in rng.permutation(len(data.tracklets_of)).tolist():
        moving = [int(i) for i in data.tracklets_of[video] if data.clips.num_frames(int(i)) > 1]
        moving = moving[: MAX_PER_GROUP // 2]
        if 2 * (len(chosen) + len(moving)) > num_samples:
            break
        chosen += [(tracklet, video) for tracklet in moving]
    if len(chosen) < MIN_PEOPLE:
        raise ConfigError(
            f"pretrain.probe.every_steps is not allowed with {len(chosen)} tracklets of two frames "
            f"and more. Allowed: at least {MIN_PEOPLE}. What to do: name a source of role reid in "
            "pretrain.probe.source, or set pretrain.probe.every_steps=0."
        )
    # neighbours in number are of one video, so that each half of the tracklets has every video
    pairs = np.array([pair for pair in sorted(chosen, key=lambda pair: pair[::-1])]).repeat(2, 0)
    number = np.arange(len(pairs))

    def read(i: int) -> np.ndarray:
        tracklet = int(pairs[i, 0])
        return data.clips.read(tracklet, (data.clips.num_frames(tracklet) - 1) * (i % 2))

    return ProbeCrops("", number // 2, number % 2, pairs[:, 1].astype(np.int64), read)
