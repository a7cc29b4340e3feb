"""What every search does, whoever is searched: features to distances, and ranks to scores.

Legend: n entries, Q queries, G gallery entries, D feature width.
"""

from collections.abc import Sequence

import numpy as np

from vills.evaluation.distance import Distance, FeatureDistance, FloatArray
from vills.evaluation.entries import Entries
from vills.evaluation.metrics import RetrievalScores, compute_scores
from vills.evaluation.protocols.base import (
    Choices,
    ComputeFeatures,
    FeatureChoice,
    ProtocolError,
    ProtocolSettings,
)
from vills.evaluation.ranking import IntArray, JunkRule, Labels, Ranking, rank_gallery
from vills.evaluation.rerank import rerank_distances


def compute_checked(
    compute_features: ComputeFeatures,
    entries: Entries,
    choice: FeatureChoice,
    *,
    part: str,
    allow_missing: bool = False,
) -> FloatArray:
    """Compute features [n, D] of `entries` that a ranking can trust.

    Args:
        compute_features: the model.
        entries: what to describe.
        choice: which feature.
        part: query or gallery, for messages.
        allow_missing: let a row of nothing but NaN pass: a failed enrolment.

    Raises:
        ProtocolError: of another shape, or not finite; names records.
    """
    features = np.asarray(compute_features(entries, choice))
    if features.ndim != 2 or len(features) != len(entries) or features.shape[1] == 0:
        raise ProtocolError(
            f"{part} features of shape {features.shape} do not fit {len(entries)} entries. "
            "Allowed: one row of at least one value per entry. What to do: compute them again."
        )
    bad = ~np.isfinite(features).all(axis=1)
    if allow_missing:
        bad &= ~np.isnan(features).all(axis=1)
    if bad.any():
        rows = np.flatnonzero(bad)
        names = ", ".join(entries.take(rows[:3]).ids)
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        raise ProtocolError(
            f"{len(rows)} {part} features are not finite (NaN or infinite): {names}{more}. They "
            "cannot be ranked. What to do: look at the model's weights and at these records; "
            "compute the features again."
        )
    return features


def rank_features(
    query_features: FloatArray,
    gallery_features: FloatArray,
    *,
    query: Labels,
    gallery: Labels,
    junk_rule: JunkRule,
    choices: Choices,
    settings: ProtocolSettings,
    rerank: bool,
    top_k: int,
) -> tuple[Distance, Ranking]:
    """Rank a gallery [G, D] for queries [Q, D]; return the distances too, re-ranked if so set."""
    features, size = (query_features, gallery_features), settings.block_size
    distance: Distance = (
        rerank_distances(*features, block_size=size, metric=choices.distance)
        if rerank
        else FeatureDistance(*features, metric=choices.distance)
    )
    ranking = rank_gallery(
        distance, query=query, gallery=gallery, block_size=size, junk_rule=junk_rule, top_k=top_k
    )
    return distance, ranking


def score_ranks(
    hit_ranks: Sequence[IntArray],
    *,
    pids: IntArray,
    num_gallery: int,
    choices: Choices,
    settings: ProtocolSettings,
    where: str,
) -> RetrievalScores:
    """Score the ranks of the true matches, see `compute_scores`.

    Args:
        hit_ranks: of each query.
        pids: whose query each is.
        num_gallery: entries searched.
        choices: ranks and kind of average precision.
        settings: resamples and seed.
        where: the gallery, for the message.

    Raises:
        ProtocolError: no query has a true match: nothing could be found.
    """
    if not any(len(ranks) for ranks in hit_ranks):
        raise ProtocolError(
            f"none of the {len(hit_ranks)} queries has a true match in the {where}: their people "
            "are not there, or only as junk (a match by the same camera does not count). What to "
            "do: look at person and camera numbers with `vills data check`, and at the query and "
            "gallery folders."
        )
    return compute_scores(
        hit_ranks,
        pids=pids,
        ranks=choices.ranks,
        num_gallery=num_gallery,
        average_precision=choices.average_precision,
        num_resamples=settings.bootstrap,
        seed=settings.seed,
    )
