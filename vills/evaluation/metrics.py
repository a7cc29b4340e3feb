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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vills.evaluation.bootstrap import compute_intervals
from vills.evaluation.ranking import IntArray, RankedList
from vills.evaluation.rows import Row

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
    """One search, scored."""

    row: Row
    """Scores as columns of a table, in order; see `compute_scores`."""
    queries: QueryScores
    """What each valid query found."""
    lists: Sequence[RankedList] = ()
    """Top of each query's ranking; empty unless asked for."""


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
    """Compute means over the valid queries: those with a true match that is not junk.

    The MATLAB packages divide by all queries; the counts let a reader convert. A rank beyond the
    gallery (R-20 of a gallery of 10) is no error, as in peers whose CMC is then too short: it is
    the share of queries found at all, 1.0.

    Args:
        hit_ranks: per query R, int64 [P]; empty for a query that is not valid.
        pids: whose query each is, int64 [Q]: intervals are over people.
        ranks: k of the R-k.
        num_gallery: entries searched.
        average_precision: step or trapezoid.
        num_resamples: of the people, for 95 % percentile bootstrap intervals; 0: none.
        seed: of the resamples.

    Returns:
        The columns mAP and R-k (share of queries with a true match among the first k), each with
        its interval <name>_low and <name>_high if it is resampled; mINP (P over the rank of the
        last true match: the work to find them all); queries, valid_queries, people (whose
        queries are valid: what intervals are over), gallery.

    Raises:
        ValueError: no query is valid, so no score exists.
    """
    rows = np.array([row for row, hits in enumerate(hit_ranks) if len(hits)], dtype=np.int64)
    valid = [hit_ranks[row] for row in rows]
    if not valid:
        raise ValueError(f"none of the {len(hit_ranks)} queries has a true match: no score exists")
    first = np.array([hits[0] for hits in valid])
    aps = np.array([compute_average_precision(hits, kind=average_precision) for hits in valid])
    queries = QueryScores(rows, pids[rows], aps, (first == 1).astype(np.float64))
    per_query = {"mAP": aps}  # [V] each
    per_query.update({f"R-{rank}": (first <= rank).astype(np.float64) for rank in ranks})
    intervals = compute_intervals(
        per_query, pids=queries.pids, num_resamples=num_resamples, seed=seed
    )
    row: Row = {}
    for name, values in per_query.items():
        row[name] = float(np.mean(values))
        if name in intervals:
            row[f"{name}_low"], row[f"{name}_high"] = intervals[name]
    row["mINP"] = float(np.mean([len(hits) / hits[-1] for hits in valid]))
    row |= {"queries": len(hit_ranks), "valid_queries": len(valid)}
    row |= {"people": len(np.unique(queries.pids)), "gallery": num_gallery}
    return RetrievalScores(row, queries)


def compute_tar_at_far(genuine: Scores, impostor: Scores, fars: Sequence[float]) -> Row:
    """Compute the true accept rate at each false accept rate.

    Args:
        genuine: scores of pairs of the same person, any shape; NaN is a pair without a score.
        impostor: scores of pairs of different people, any shape.
        fars: false accept rates, each in [0, 1].

    Returns:
        TAR@<far>: share of genuine pairs accepted, NaN where FAR < 1 / n. genuine_pairs: m, those
        without a score included: they are misses. impostor_pairs: n, those without a score not
        counted: nothing was compared.

    Raises:
        ValueError: no genuine pair, or a rate outside [0, 1].
    """
    if genuine.size == 0:
        raise ValueError("there is no genuine pair: no true accept rate exists")
    compared = impostor[~np.isnan(impostor)]  # [n]
    compared.sort()
    row: Row = {}
    for far in fars:
        threshold = find_threshold(compared, far)
        accepted = float(np.mean(genuine > threshold))
        row[f"TAR@{far:g}"] = float("nan") if np.isnan(threshold) else accepted
    return row | {"genuine_pairs": genuine.size, "impostor_pairs": len(compared)}


def find_threshold(impostor: Scores, far: float) -> float:
    """Find the score above which a pair is accepted; NaN where FAR < 1 / n.

    Args:
        impostor: scores of pairs of different people, ascending, [n].
        far: false accept rate.

    Raises:
        ValueError: a rate outside [0, 1].
    """
    if not 0 <= far <= 1:
        raise ValueError(f"a false accept rate of {far} is not allowed. Allowed: 0 to 1")
    num = len(impostor)
    if num == 0 or far < 1 / num:
        return float("nan")
    allowed = int(far * num)
    # The product is rounded; what counts is the rate itself.
    allowed += allowed < num and (allowed + 1) / num <= far
    allowed -= allowed / num > far
    return float(impostor[num - 1 - allowed]) if allowed < num else float("-inf")
