"""Which frames of a tracklet form a clip: planned at test time, drawn at random in training.

Legend: n frames of the tracklet, T of a clip, C clips; positions count from 0 within the tracklet.
Long training tracklets are cut into pieces (Simple-CCReID's dense sampling of its train set).
"""

from dataclasses import dataclass

import numpy as np

from vills.config.checks import check_choice

SAMPLINGS = ("all", "dense", "evenly", "begin")


def build_clips(num_frames: int, length: int, *, sampling: str) -> np.ndarray:
    """Positions of the clips of a tracklet of n frames, int64 [C, T].

    all: every clip spans the whole tracklet and together they hold every frame (SINet's
    restricted sampling). dense: consecutive frames, the last clip filled up by starting over
    (Video-Person-ReID, PSTA). evenly: one clip, the middle frames of T equal parts. begin: one
    clip, their first frames (SINet's test during training).

    Raises:
        ConfigError: if `sampling` is unknown.
    """
    check_choice("sampling", sampling, SAMPLINGS)
    if sampling == "dense":
        starts = np.arange(0, num_frames, length)
        sizes = np.minimum(length, num_frames - starts)
        return np.asarray(starts[:, None] + np.arange(length) % sizes[:, None], dtype=np.int64)
    if sampling == "begin":
        return np.asarray(np.arange(length)[None] * num_frames // length, dtype=np.int64)
    return build_spread_clips(num_frames, length, num_clips=1 if sampling == "evenly" else None)


def list_clip_frames(num_frames: int, length: int, *, sampling: str) -> np.ndarray:
    """Positions of the frames of those clips, each once and in order, int64 [F].

    For models that describe a tracklet frame by frame: a frame that fills up a clip would
    otherwise weigh twice.
    """
    return np.unique(build_clips(num_frames, length, sampling=sampling))


def build_spread_clips(num_frames: int, length: int, *, num_clips: int | None = None) -> np.ndarray:
    """Clips that together hold every frame, int64 [C, T]; by default C = ceil(n / T).

    Clip c takes position (c + 1/2) / C of each of T equal parts, so that every clip spans the whole
    tracklet, as the random clips of training do (SINet's restricted sampling).
    """
    clips = -(-num_frames // length) if num_clips is None else num_clips
    phase = (np.arange(clips)[:, None] + 0.5) / clips
    positions = np.floor((np.arange(length)[None, :] + phase) * num_frames / length)
    return np.asarray(positions, dtype=np.int64)


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
        return build_spread_clips(num_frames, length, num_clips=1).reshape(length)
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
    if not apart or num_frames < 2:
        return [
            sample_clip(num_frames, length, rng, prefer=prefer, num_preferred=num_preferred)
        ] * 2
    middle = num_frames // 2
    halves = [(0, middle), (middle, num_frames)]
    clips = []
    for start, stop in halves if rng.random() < 0.5 else reversed(halves):
        own = None if prefer is None else prefer[(prefer >= start) & (prefer < stop)] - start
        clip = sample_clip(stop - start, length, rng, prefer=own, num_preferred=num_preferred)
        clips.append(start + clip)
    return clips


def sample_frame(num_frames: int, clip: np.ndarray, rng: np.random.Generator) -> int:
    """Position of a frame that the clip does not hold, any if it holds them all."""
    others = np.setdiff1d(np.arange(num_frames), clip)
    return int(rng.choice(others if len(others) else clip))


@dataclass(frozen=True)
class Tracks:
    """Samples of fine-tuning: spans of frames of a manifest's rows."""

    rows: np.ndarray
    """int64 [samples], row of the manifest."""
    starts: np.ndarray
    """int64 [samples], first frame within the record."""
    lengths: np.ndarray
    """int64 [samples], frames."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows)


def build_track_samples(num_frames: np.ndarray, *, max_track: int) -> Tracks:
    """One sample per record, or pieces of `max_track` frames of those that are longer.

    The last piece of a tracklet has the rest as well, so that no frame is lost and no piece is
    shorter than `max_track` (CAL does it so, at 64).

    Args:
        num_frames: int [records], n of each.
        max_track: frames of a piece; 0 cuts nothing.
    """
    counts = np.asarray(num_frames, dtype=np.int64)
    pieces = np.maximum(counts // max_track, 1) if max_track else np.ones_like(counts)
    rows = np.repeat(np.arange(len(counts)), pieces)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = within * max_track
    is_last = within == pieces[rows] - 1
    return Tracks(rows, starts, np.where(is_last, counts[rows] - starts, max_track))
