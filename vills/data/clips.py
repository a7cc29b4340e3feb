"""Which frames of a tracklet form a clip of training.

Legend: n frames of the tracklet, T of the clip; positions count from 0 within the tracklet.
"""

import numpy as np

from vills.data.clip_plans import even_clip


def sample_train_clip(
    num_frames: int, length: int, rng: np.random.Generator, *, sampling: str, stride: int = 8
) -> np.ndarray:
    """T positions in temporal order, int64 [T], for one view of a tracklet in fine-tuning.

    - random: any T frames (torchreid's `random`);
    - restricted: one random frame of each of T equal parts (SINet's TemporalRestrictedCrop, CAL's
      `tsn`, TSN);
    - stride: every `stride`-th frame from a random start (TKP, CAL); a tracklet too short for that
      takes the widest stride that fits;
    - consecutive: T neighbours from a random start, the last frame included (Video-Person-ReID's
      `random` never reached it);
    - evenly: the middles of T equal parts, always the same (torchreid's `evenly`).

    A tracklet shorter than T has all its frames, some of them repeated, whatever the sampling.
    """
    if sampling == "evenly":
        return even_clip(num_frames, length)
    if sampling == "random" or num_frames <= length:
        return sample_clip(num_frames, length, rng)
    if sampling == "restricted":
        edges = np.arange(length + 1) * num_frames // length
        return np.asarray(rng.integers(edges[:-1], edges[1:]), dtype=np.int64)
    assert sampling in ("stride", "consecutive")
    widest = (num_frames - 1) // max(length - 1, 1)
    step = min(stride, widest) if sampling == "stride" else 1
    start = int(rng.integers(num_frames - step * (length - 1)))
    return start + step * np.arange(length, dtype=np.int64)


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


def sample_clips(
    num_frames: int,
    length: int,
    rng: np.random.Generator,
    *,
    apart: bool,
    prefer: np.ndarray | None = None,
    num_preferred: int | None = None,
) -> list[np.ndarray]:
    """`sample_clip` for both views of a tracklet: the same positions, or those of either half.

    Which half is the first view's is drawn; a tracklet of one frame has no halves.
    """
    preferred = {"prefer": prefer, "num_preferred": num_preferred}
    if not apart or num_frames < 2:
        return [sample_clip(num_frames, length, rng, **preferred)] * 2  # type: ignore[arg-type]
    middle = num_frames // 2
    halves = [(0, middle), (middle, num_frames)]
    clips = []
    for start, stop in halves if rng.random() < 0.5 else reversed(halves):
        own = None if prefer is None else prefer[(prefer >= start) & (prefer < stop)] - start
        preferred["prefer"] = own
        clips.append(start + sample_clip(stop - start, length, rng, **preferred))  # type: ignore[arg-type]
    return clips


def sample_frame(num_frames: int, clip: np.ndarray, rng: np.random.Generator) -> int:
    """Position of a frame that the clip does not hold, any if it holds them all."""
    others = np.setdiff1d(np.arange(num_frames), clip)
    return int(rng.choice(others if len(others) else clip))
