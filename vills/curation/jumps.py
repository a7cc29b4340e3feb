"""Where the person of a track becomes another: jumps of colour along it.

A tracker that knows boxes alone hands the track of one person over to another who crosses the
way. Their clothes tell: the colours of some crops before a moment are compared with those of some
crops after it. What differs between crops of one side (limbs, light, the background that a person
walks past) is measured there and taken off, so one bad box is no jump.

Legend: n crops of one track, D numbers that describe a crop.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

WINDOW = 0.8
"""Seconds of a track that are looked at, on either side."""
LOOKS_PER_SECOND = 12.5
"""Crops of a second that are looked at, at most: nearer ones are alike whoever they show, and the
measure must not depend on the frame rate."""
LEAST_CROPS = 3
"""Crops that are looked at however far apart they are, where there are as many."""
CENTRE = 0.6
"""Share of a box's width, in its middle, that shows the person and little else."""
NUM_STRIPES = 6
HUES, SATURATIONS, VALUES = 12, 4, 8
_SCALES = (HUES / 180, SATURATIONS / 256, VALUES / 256)  # OpenCV's 8-bit HSV
_COLOURS = HUES * SATURATIONS


def describe_colours(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe the middle of a crop, uint8 [H, W, 3]: float32 [D] of length 1.

    Of six stripes a joint histogram of hue and saturation, and one of value, as square roots of
    shares: products of two descriptions are Bhattacharyya coefficients. A pixel counts in the two
    nearest bins, so a plain coat does not jump from bin to bin as the light changes.
    """
    margin = int(crop.shape[1] * (1 - CENTRE) / 2)
    middle = np.ascontiguousarray(crop[:, margin : crop.shape[1] - margin])
    hsv = cv2.cvtColor(middle, cv2.COLOR_RGB2HSV).astype(np.float64)
    hue, saturation, value = ((hsv[..., i] + 0.5) * _SCALES[i] - 0.5 for i in range(3))
    row = (np.arange(len(crop)) * NUM_STRIPES // len(crop))[:, None]
    counts = np.zeros((NUM_STRIPES, _COLOURS + VALUES))
    for h, of_h in _spread(hue):
        for s, of_s in _spread(saturation):
            place = h % HUES * SATURATIONS + np.clip(s, 0, SATURATIONS - 1)
            counts[:, :_COLOURS] += _count(row * _COLOURS + place, of_h * of_s, _COLOURS)
    for v, of_v in _spread(value):
        counts[:, _COLOURS:] += _count(row * VALUES + np.clip(v, 0, VALUES - 1), of_v, VALUES)
    return np.asarray(np.sqrt(counts / counts.sum()).ravel(), dtype=np.float32)


def _spread(
    positions: NDArray[np.float64],
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Give the bin below each position and the one above it, with the share that each gets."""
    low = np.floor(positions)
    share, index = positions - low, low.astype(np.int64)
    return [(index, 1 - share), (index + 1, share)]


def _count(place: NDArray[np.int64], weights: NDArray[np.float64], num: int) -> NDArray[np.float64]:
    counts = np.bincount(place.ravel(), weights=weights.ravel(), minlength=NUM_STRIPES * num)
    return np.asarray(counts.reshape(NUM_STRIPES, num), dtype=np.float64)


def find_jumps(
    colours: Sequence[NDArray[np.float32] | None], *, times: Sequence[float], threshold: float
) -> list[int]:
    """Find the crops that begin to show another person: rising positions from 1 to n - 1.

    Args:
        colours: n of float32 [D], as `describe_colours` gives them; None: not looked at.
        times: n, when the crops were shown, s.
        threshold: least jump, 0 to 1; see `compute_jumps`.
    """
    known = [i for i, entry in enumerate(colours) if entry is not None]
    table = np.asarray([entry for entry in colours if entry is not None], dtype=np.float64)
    seconds = np.asarray(times, dtype=np.float64)[known]
    found: list[int] = []
    spans = [(0, len(known))]
    while spans:
        start, stop = spans.pop()
        if stop - start < 4:  # two on either side
            continue
        jumps = compute_jumps(table[start:stop], times=seconds[start:stop])
        best = int(jumps.argmax())
        if jumps[best] > threshold:
            found.append(known[start + best])
            spans += [(start, start + best), (start + best, stop)]
    return sorted(found)


def compute_jumps(
    colours: NDArray[np.float64], *, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute how much the colours change at each crop: float64 [n], 0 where too few are near.

    It is the mean distance of a crop before from a crop after, less the mean distance of two crops
    of the same side (the energy distance of Szekely and Rizzo), with 1 - Bhattacharyya coefficient
    as the distance: 0 between equal sets, 1 between sets that share no colour.

    Args:
        colours: [n, D], of length 1 each.
        times: [n], s.
    """
    n = len(colours)
    jumps = np.zeros(n)
    sums = np.cumsum(np.concatenate([colours[:1] * 0, colours]), axis=0)  # [n + 1, D]
    for i in range(2, n - 1):
        first = int(np.searchsorted(times, times[i - 1] - WINDOW, side="left"))
        last = int(np.searchsorted(times, times[i] + WINDOW, side="right"))
        first, last = min(first, max(i - LEAST_CROPS, 0)), max(last, min(i + LEAST_CROPS, n))
        before, after = i - first, last - i
        if min(before, after) > 1:
            a, b = sums[i] - sums[first], sums[last] - sums[i]
            # Of vectors of length 1, by the length of their sum; no vector is paired with itself.
            same = sum((s @ s - k) / (k * (k - 1)) for s, k in ((a, before), (b, after))) / 2
            jumps[i] = same - (a @ b) / (before * after)
    return jumps
