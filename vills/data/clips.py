"""Which frames of a tracklet form a clip.

Legend: n frames of the tracklet, T of the clip; positions count from 0 within the tracklet.
"""

import numpy as np


def sample_clip(
    num_frames: int,
    length: int,
    rng: np.random.Generator,
    *,
    prefer: np.ndarray | None = None,
    num_preferred: int | None = None,
) -> np.ndarray:
    """T random positions in temporal order, int64 [T].

    Up to `num_preferred` (default: all) come from `prefer`, the frames whose masks are cached; the
    rest from the others. A tracklet shorter than T has all its frames, some of them repeated.
    """
    if num_frames <= length:
        times, rest = divmod(length, num_frames)
        extra = rng.choice(num_frames, size=rest, replace=False)
        return np.sort(np.concatenate([np.tile(np.arange(num_frames), times), extra]))
    wanted = length if num_preferred is None else min(num_preferred, length)
    if prefer is None or len(prefer) == 0 or wanted == 0:
        return np.sort(rng.choice(num_frames, size=length, replace=False))
    first = rng.choice(prefer, size=min(wanted, len(prefer)), replace=False)
    others = np.setdiff1d(np.arange(num_frames), first)
    second = rng.choice(others, size=length - len(first), replace=False)
    return np.sort(np.concatenate([first, second]))


def even_clip(num_frames: int, length: int) -> np.ndarray:
    """T positions at the middles of T equal parts of the tracklet, int64 [T]."""
    return spread_clips(num_frames, length, num_clips=1).reshape(length)


def spread_clips(num_frames: int, length: int, *, num_clips: int | None = None) -> np.ndarray:
    """Clips that together hold every frame, int64 [C, T]; by default C = ceil(n / T).

    Clip c takes position (c + 1/2) / C of each of T equal parts, so that every clip spans the whole
    tracklet, as the random clips of training do (SINet's restricted sampling).
    """
    clips = -(-num_frames // length) if num_clips is None else num_clips
    phase = (np.arange(clips)[:, None] + 0.5) / clips
    positions = np.floor((np.arange(length)[None, :] + phase) * num_frames / length)
    return np.asarray(positions, dtype=np.int64)
