"""mAP, CMC and mINP from the ranks of the true matches; TAR at FAR from scores of pairs.

Legend: Q queries, V valid ones, P true matches of one query, R their 1-based ranks, ascending; n
impostor pairs, m genuine pairs.

TAR@FAR: of all acceptance regions "score > threshold" whose share of impostors does not exceed
FAR, the largest; TAR is the share of genuine pairs in it. Nothing is interpolated, and a region
ends between two values, never within a tie. n pairs resolve no rate below 1 / n: TAR is NaN there.

fast-reid's `evaluate_roc` is something else (issue 168 there): it labels genuine pairs 0, impostors
1 and scores by distance, which gives the true negative rate at a false negative rate, at the point
of the curve next to FAR, on either side of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vills.evaluation.bootstrap import compute_intervals
from vills.evaluation.ranking import IntArray

AVERAGE_PRECISIONS = ("step", "trapezoid")
MISSED = np.iinfo(np.int64).max
"""Rank of a subject that its probe cannot find, since the probe has no scores."""

Scores = NDArray[np.float32] | NDArray[np.float64]
"""Of pairs; higher for the same person."""


@dataclass(frozen=True, slots=True)
class QueryScores:
    """What each valid query found: what intervals and differences between models are made of."""

    rows: IntArray
    """Which of the protocol's queries, ascending, [V]."""
    pids: IntArray
    """Whose query each is, [V]."""
    ap: NDArray[np.float64]
    """Average precision, [V]."""
    r1: NDArray[np.float64]
    """Whether the first entry is right, 0 or 1 (a share where draws are averaged), [V]."""


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """Means over the valid queries: those with at least one true match that is not junk.

    The MATLAB packages divide by all queries; `num_queries` and `num_valid` let a reader convert.
    """

    mean_ap: float
    cmc: dict[int, float]
    """Rank k -> share of valid queries with a true match among the first k."""
    mean_inp: float
    """mINP: P over the rank of the last true match, i.e. the work to find them all."""
    num_queries: int
    num_valid: int
    num_gallery: int
    queries: QueryScores
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Score (mAP, R-1, ...) -> its 95 % confidence interval; empty unless resampled."""

    def build_row(self) -> dict[str, float | int]:
        """Build the columns of a table in order: mAP, R-k, each with its interval, mINP, counts."""
        row: dict[str, float | int] = {}
        scores = {"mAP": self.mean_ap, **{f"R-{rank}": share for rank, share in self.cmc.items()}}
        for name, score in scores.items():
            row[name] = score
            if name in self.intervals:
                row[f"{name}_low"], row[f"{name}_high"] = self.intervals[name]
        row["mINP"] = self.mean_inp
        row["queries"] = self.num_queries
        row["valid_queries"] = self.num_valid
        row["gallery"] = self.num_gallery
        return row


def compute_average_precision(hit_ranks: IntArray, *, kind: str = "step") -> float:
    """Compute the area under the precision-recall curve of one query.

    step (torchreid, fast-reid): mean of i / R_i over the matches i = 1..P. trapezoid (the MATLAB
    of Market-1501 and MARS): mean of (i / R_i + (i - 1) / (R_i - 1)) / 2, where the precision
    before rank 1 is 1. So step >= trapezoid for a match behind wrong ones.

    Args:
        hit_ranks: R, int64 [P], P > 0.
        kind: step or trapezoid.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in AVERAGE_PRECISIONS:
        raise ValueError(
            f"average_precision = {kind!r} is not allowed. Allowed: {', '.join(AVERAGE_PRECISIONS)}"
        )
    found = np.arange(1, len(hit_ranks) + 1, dtype=np.float64)
    precision = found / hit_ranks
    if kind == "trapezoid":
        before = np.where(hit_ranks > 1, (found - 1) / np.maximum(hit_ranks - 1, 1), 1.0)
        precision = (precision + before) / 2
    return float(precision.mean())


def compute_scores(
    hit_ranks: Sequence[IntArray],
    *,
    pids: IntArray,
    ranks: Sequence[int],
    num_gallery: int,
    average_precision: str = "step",
    num_resamples: int = 0,
    seed: int = 0,
) -> RetrievalScores:
    """Compute mean scores over the valid queries.

    A rank beyond the gallery (R-20 of a gallery of 10) is no error, as in peers whose CMC is then
    too short: it is the share of queries found at all, 1.0.

    Args:
        hit_ranks: per query R, int64 [P]; empty for a query that is not valid.
        pids: whose query each is, int64 [Q]: intervals are over people.
        ranks: k of the R-k.
        num_gallery: entries searched.
        average_precision: step or trapezoid.
        num_resamples: of the people, for 95 % percentile bootstrap intervals; 0: none.
        seed: of the resamples.

    Raises:
        ValueError: no query is valid, so no score exists.
    """
    rows = np.array([row for row, hits in enumerate(hit_ranks) if len(hits)], dtype=np.int64)
    valid = [hit_ranks[row] for row in rows]
    if not valid:
        raise ValueError(
            f"none of the {len(hit_ranks)} queries has a true match in the gallery of "
            f"{num_gallery} (a match by the same camera does not count). Look at the person and "
            "camera numbers in the file names, and at the query and gallery folders"
        )
    first = np.array([hits[0] for hits in valid])
    aps = np.array([compute_average_precision(hits, kind=average_precision) for hits in valid])
    queries = QueryScores(rows, pids[rows], aps, (first == 1).astype(np.float64))
    per_query = {"mAP": aps}  # [V] each
    per_query.update({f"R-{rank}": (first <= rank).astype(np.float64) for rank in ranks})
    return RetrievalScores(
        mean_ap=float(np.mean(per_query["mAP"])),
        cmc={int(rank): float(np.mean(per_query[f"R-{rank}"])) for rank in ranks},
        mean_inp=float(np.mean([len(hits) / hits[-1] for hits in valid])),
        num_queries=len(hit_ranks),
        num_valid=len(valid),
        num_gallery=num_gallery,
        queries=queries,
        intervals=compute_intervals(
            per_query, pids=queries.pids, num_resamples=num_resamples, seed=seed
        ),
    )


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
    """Compute the true accept rate at each false accept rate.

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
