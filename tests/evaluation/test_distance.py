"""Distances against scipy, and exactness whatever the block."""

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tests.evaluation.searches import compute_distances
from vills.evaluation import distance as module
from vills.evaluation.distance import FeatureDistance


def make_features(num: int, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)


def test_cosine_and_euclidean_equal_scipy() -> None:
    query, gallery = make_features(7, 33, 0), 3 * make_features(11, 33, 1)
    cosine = compute_distances(query, gallery, metric="cosine")
    np.testing.assert_allclose(cosine, cdist(query, gallery, "cosine"), atol=1e-6)
    squared = compute_distances(query, gallery, metric="euclidean")
    np.testing.assert_allclose(squared, cdist(query, gallery, "sqeuclidean"), rtol=1e-6)


def test_metrics_rank_differently_when_norms_differ() -> None:
    query = np.array([[1, 0]], np.float32)
    gallery = np.array([[10, 0], [1, 1]], np.float32)
    assert compute_distances(query, gallery, metric="cosine")[0].argmin() == 0
    assert compute_distances(query, gallery, metric="euclidean")[0].argmin() == 1


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_and_chunks_are_bit_for_bit_the_full_matrix(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, gallery = make_features(37, 129, 2), make_features(203, 129, 3)
    gallery[9] = 70000 * gallery[8]  # a row that is larger by far
    gallery[10] = query[3] * np.float32(1 + 2**-13)  # a pair that is near
    full = compute_distances(query, gallery, metric=metric)
    # Sums in order, one product at a time: what a plain loop gives.
    distance = FeatureDistance(query, gallery, metric=metric)
    for column in (9, 20):
        row, other = (
            side.get_rounded(np.array([at]))[0].tolist()
            for side, at in ((distance._query, 5), (distance._gallery, column))
        )
        own, others = sum(a * a for a in row) / 2, sum(b * b for b in other) / 2
        half = (own + others) - sum(a * b for a, b in zip(row, other, strict=True))
        assert full[5, column] == (half if metric == "cosine" else 2 * half)
    monkeypatch.setattr(module, "GALLERY_CHUNK", 13)
    for block_size in (1, 3, 36, 64):
        starts = range(0, 37, block_size)
        blocks = [distance.compute_block(row, min(row + block_size, 37)) for row in starts]
        assert np.array_equal(np.concatenate(blocks), full)
    assert np.array_equal(distance.compute_pairs(3, np.arange(203)[::-1]), full[3, ::-1])


def compute_truth(query: np.ndarray, gallery: np.ndarray, *, metric: str) -> np.ndarray:
    """From differences, pair by pair, of as many bits as the machine has."""
    own, others = query.astype(np.longdouble), gallery.astype(np.longdouble)
    if metric == "cosine":
        own, others = (side / np.sqrt((side**2).sum(1, keepdims=True)) for side in (own, others))
    truth = np.stack([((others - row) ** 2).sum(axis=1) for row in own])
    return truth if metric == "euclidean" else truth / 2


Pair = tuple[np.ndarray, np.ndarray]


def put(rows: int | slice, value: float, *, side: int = 1, offset: float = 0.0) -> Any:
    """Put a value into rows of one side, and an offset on both."""

    def spoil(*sides: np.ndarray) -> Pair:
        query, gallery = (own + offset for own in sides)
        (query, gallery)[side][rows] = value
        return query, gallery

    return spoil


def put_groups(*sides: np.ndarray) -> Pair:
    query, gallery = (own + 1e4 * np.eye(own.shape[1])[np.arange(len(own)) % 3] for own in sides)
    return query, gallery


def copy_nearly(query: np.ndarray, gallery: np.ndarray) -> Pair:
    return query, np.concatenate([query * (1 + 1e-6 * gallery[: len(query)]), gallery])


SPOILT: dict[str, Any] = {
    "plain": lambda query, gallery: (query, gallery),
    "outlier 65504": put(7, 65504.0),
    "outlier 1e6": put(7, 1e6),
    "outlier 1e20": put(slice(7, 9), -1e20),
    "outlier 3e38": put(7, 3e38),
    "query outlier": put(2, 65504.0, side=0),
    "denormal row": put(7, 1e-44),
    "all denormal": lambda query, gallery: (1e-40 * query, 1e-40 * gallery),
    "all huge": lambda query, gallery: (1e37 * query, 1e37 * gallery),
    "far from zero": put(7, 1e9, offset=1e4),
    "groups far apart": put_groups,
    "rows of all sizes": lambda query, gallery: (
        query,
        gallery * 10 ** np.linspace(-30, 30, len(gallery))[:, None],
    ),
    "near copies": copy_nearly,
}
STORED = {"half precision": np.float16, "double precision": np.float64}


def spoil(query: np.ndarray, gallery: np.ndarray, *, case: str) -> Pair:
    """One way in which features are unlike normal noise."""
    if case in STORED:
        offset = 1e9 if case == "double precision" else 0
        query, gallery = query + offset, gallery + offset
    else:
        query, gallery = SPOILT[case](query, gallery)
    kept = STORED.get(case, np.float32)
    return query.astype(kept), gallery.astype(kept)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("case", [*SPOILT, *STORED])
def test_every_row_keeps_its_precision_whatever_others_hold(case: str, metric: str) -> None:
    rng = np.random.default_rng(7)
    query, gallery = spoil(rng.normal(size=(20, 96)), rng.normal(size=(60, 96)), case=case)
    gallery[5] = gallery[4]
    found = compute_distances(query, gallery, metric=metric)
    truth = compute_truth(query, gallery, metric=metric)
    # what float64 holds of two rows, the larger of which may hide the smaller
    rounding = 2.0**-50 if metric == "cosine" else 0
    np.testing.assert_allclose(found, truth.astype(float), rtol=2e-6, atol=rounding)
    assert np.array_equal(found[:, 4], found[:, 5])
    assert (found >= 0).all()


def test_equal_features_are_at_equal_distance_and_zero_ones_at_one() -> None:
    query, gallery = make_features(5, 17, 4), make_features(4, 17, 5)
    gallery[3] = gallery[0]
    gallery[1] = 0
    distances = compute_distances(query, gallery, metric="cosine")
    assert np.array_equal(distances[:, 0], distances[:, 3])
    assert np.array_equal(distances[:, 1], np.ones(5))


def test_bad_features_are_refused() -> None:
    good = make_features(3, 4, 6)
    with pytest.raises(ValueError, match="not allowed. Allowed: cosine, euclidean"):
        compute_distances(good, good, metric="manhattan")
    with pytest.raises(ValueError, match="one model and one modality"):
        compute_distances(good, good[:, :3], metric="cosine")
    bad = good.copy()
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match="1 gallery features are not finite"):
        compute_distances(good, bad, metric="cosine")
