"""What a protocol refuses before it ranks.

Legend: n entries, D feature width.
"""

from collections.abc import Sequence

import numpy as np

from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries
from vills.evaluation.protocols.base import ComputeFeatures, FeatureChoice, ProtocolError


def compute_checked(
    compute_features: ComputeFeatures,
    entries: Entries,
    choice: FeatureChoice,
    *,
    part: str,
    allow_missing: bool = False,
) -> FloatArray:
    """Features [n, D] of `entries` that a ranking can trust.

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


def check_sizes(query: FloatArray, gallery: FloatArray) -> None:
    """Refuse features of different size.

    Raises:
        ProtocolError: naming both sizes.
    """
    if query.shape[1] != gallery.shape[1]:
        raise ProtocolError(
            f"query features have {query.shape[1]} values, gallery features {gallery.shape[1]}. "
            "What to do: compare features of one model, and of roles that both sides have."
        )


def check_valid(hit_ranks: Sequence[np.ndarray], where: str) -> None:
    """Refuse a search in which nothing could be found.

    Raises:
        ProtocolError: no query has a true match.
    """
    if not any(len(ranks) for ranks in hit_ranks):
        raise ProtocolError(
            f"none of the {len(hit_ranks)} queries has a true match in the {where}: their people "
            "are not there, or only as junk (a match by the same camera does not count). What to "
            "do: look at person and camera numbers with `vills data check`, and at the query and "
            "gallery folders."
        )
