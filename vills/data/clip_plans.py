"""Which clips of a tracklet are described at test time; training draws its own at random.

Legend: n frames of the tracklet, T of a clip, C clips; positions count from 0.
"""

import numpy as np

from vills.config.checks import check_choice

SAMPLINGS = ("all", "dense", "evenly", "begin")


def plan_clips(num_frames: int, length: int, *, sampling: str) -> np.ndarray:
    """Positions of the clips of a tracklet of n frames, int64 [C, T].

    all: every clip spans the whole tracklet and together they hold every frame (SINet's
    restricted sampling). dense: consecutive frames, the last clip filled up by starting over
    (Video-Person-ReID, PSTA). evenly: one clip, the middle frames of T equal parts. begin: one
    clip, their first frames (SINet's test during training).

    Raises:
        ConfigError: if `sampling` is unknown.
    """
    check_choice("sampling", sampling, SAMPLINGS)
    if sampling == "all":
        return spread_clips(num_frames, length)
    if sampling == "dense":
        return dense_clips(num_frames, length)
    if sampling == "evenly":
        return even_clip(num_frames, length)[None]
    return begin_clip(num_frames, length)[None]


def plan_frames(num_frames: int, length: int, *, sampling: str) -> np.ndarray:
    """Positions of the frames of those clips, each once and in order, int64 [F].

    For models that describe a tracklet frame by frame: a frame that fills up a clip would
    otherwise weigh twice.
    """
    return np.unique(plan_clips(num_frames, length, sampling=sampling))


def spread_clips(num_frames: int, length: int, *, num_clips: int | None = None) -> np.ndarray:
    """Clips that together hold every frame, int64 [C, T]; by default C = ceil(n / T).

    Clip c takes position (c + 1/2) / C of each of T equal parts, so that every clip spans the whole
    tracklet, as the random clips of training do (SINet's restricted sampling).
    """
    clips = -(-num_frames // length) if num_clips is None else num_clips
    phase = (np.arange(clips)[:, None] + 0.5) / clips
    positions = np.floor((np.arange(length)[None, :] + phase) * num_frames / length)
    return np.asarray(positions, dtype=np.int64)


def dense_clips(num_frames: int, length: int) -> np.ndarray:
    """Consecutive clips, int64 [ceil(n / T), T]; the last one repeats its own frames in order."""
    starts = np.arange(0, num_frames, length)
    sizes = np.minimum(length, num_frames - starts)
    return np.asarray(starts[:, None] + np.arange(length) % sizes[:, None], dtype=np.int64)


def even_clip(num_frames: int, length: int) -> np.ndarray:
    """T positions at the middles of T equal parts of the tracklet, int64 [T]."""
    return spread_clips(num_frames, length, num_clips=1).reshape(length)


def begin_clip(num_frames: int, length: int) -> np.ndarray:
    """T positions at the beginnings of T equal parts of the tracklet, int64 [T]."""
    return np.asarray(np.arange(length) * num_frames // length, dtype=np.int64)
