"""Verification from scores that are higher for the same person.

Legend: n impostor pairs, m genuine pairs.

TAR@FAR: of all acceptance regions "score > threshold" whose share of impostors does not exceed
FAR, the largest; TAR is the share of genuine pairs in it. Nothing is interpolated, and a region
ends between two values, never within a tie. n pairs resolve no rate below 1 / n: TAR is NaN there.

fast-reid's `evaluate_roc` is something else (issue 168 there): it labels genuine pairs 0, impostors
1 and scores by distance, which gives the true negative rate at a false negative rate, at the point
of the curve next to FAR, on either side of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISSED = np.iinfo(np.int64).max
"""Rank of a subject that its probe cannot find, since the probe has no scores."""

Scores = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VerificationScores:
    """TAR at each FAR, and how many pairs stand behind it."""

    tars: dict[float, float]
    """FAR -> share of genuine pairs accepted; NaN where FAR < 1 / num_impostor."""
    thresholds: dict[float, float]
    """FAR -> score above which a pair is accepted; NaN likewise."""
    num_genuine: int
    """m, pairs without a score included: they are misses."""
    num_impostor: int
    """n, pairs without a score not counted: nothing was compared."""


def compute_tar_at_far(
    genuine: Scores, impostor: Scores, fars: Sequence[float]
) -> VerificationScores:
    """True accept rate at each false accept rate.

    Args:
        genuine: scores of pairs of the same person, any shape; NaN is a pair without a score.
        impostor: scores of pairs of different people, any shape.
        fars: false accept rates, each in [0, 1].

    Raises:
        ValueError: no genuine pair, or a rate outside [0, 1].
    """
    compared: Scores = impostor[~np.isnan(impostor)]  # [n]
    if genuine.size == 0:
        raise ValueError("there is no genuine pair: no true accept rate exists")
    tars, thresholds = {}, {}
    compared.sort()
    descending = compared[::-1]
    for far in fars:
        if not 0 <= far <= 1:
            raise ValueError(f"a false accept rate of {far} is not allowed. Allowed: 0 to 1")
        thresholds[far] = _find_threshold(descending, far)
        accepted = float(np.mean(genuine > thresholds[far]))
        tars[far] = float("nan") if np.isnan(thresholds[far]) else accepted
    return VerificationScores(tars, thresholds, genuine.size, len(compared))


def _find_threshold(descending: Scores, far: float) -> float:
    num = len(descending)
    if num == 0 or far < 1 / num:
        return float("nan")
    allowed = int(far * num)
    # The product is rounded; what counts is the rate itself.
    allowed += allowed < num and (allowed + 1) / num <= far
    allowed -= allowed / num > far
    return float(descending[allowed]) if allowed < num else float("-inf")
