"""Verification and closed-set identification from scores that are higher for the same person.

Legend: n impostor pairs, m genuine pairs, Q probes, S subjects.

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

from vills.evaluation.ranking import IntArray

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


def rank_subjects(
    scores: Scores, *, probe_pids: IntArray, subject_pids: IntArray
) -> list[IntArray]:
    """Closed-set identification: the rank of each probe's own subject, for `compute_scores`.

    A probe whose scores are NaN is a miss at every rank (`MISSED`), not left out. A probe whose
    person is not among the subjects has no rank (empty): it is counted as a query, not as a valid
    one. Other subjects may be distractors. Equal scores keep the order of the subjects.

    Args:
        scores: [Q, S], higher for the same person.
        probe_pids: [Q].
        subject_pids: [S], each subject once.

    Returns:
        Per probe one 1-based rank, or none.

    Raises:
        ValueError: sizes that differ, no subject, a subject that stands in the gallery twice, or
            scores of which some, not all, of a probe are NaN.
    """
    if scores.shape != (len(probe_pids), len(subject_pids)):
        raise ValueError(
            f"scores {scores.shape} must be [{len(probe_pids)} probes, {len(subject_pids)} "
            "subjects]"
        )
    people, counts = np.unique(subject_pids, return_counts=True)
    if len(people) == 0:
        raise ValueError("the gallery has no subject: nobody can be identified")
    if counts.max() > 1:
        raise ValueError(
            f"subject {people[counts > 1][0]} stands in the gallery more than once. "
            "What to do: pool the media of a subject into one template."
        )
    order = np.argsort(subject_pids)
    return [
        _rank_subject(row, order[people == pid], number)
        for number, (row, pid) in enumerate(zip(scores, probe_pids, strict=True))
    ]


def _rank_subject(row: Scores, own: IntArray, number: int) -> IntArray:
    if len(own) == 0:
        return np.empty(0, dtype=np.int64)
    missing = np.isnan(row)
    if missing.all():
        return np.array([MISSED], dtype=np.int64)
    if missing.any():
        raise ValueError(f"probe {number} has scores for some subjects alone, and NaN for others")
    place, score = int(own[0]), row[own[0]]
    before = np.count_nonzero(row > score) + np.count_nonzero(row[:place] == score)
    return np.array([1 + before], dtype=np.int64)
