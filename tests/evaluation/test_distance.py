"""Distances against scipy, and exactness whatever the block."""

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
    largest = np.linalg.norm(np.concatenate([query, gallery]), axis=1).max()
    squared = compute_distances(query, gallery, metric="euclidean") * largest**2
    np.testing.assert_allclose(squared, cdist(query, gallery, "sqeuclidean"), rtol=1e-4)


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
    full = compute_distances(query, gallery, metric=metric)
    # Sums in order, one product at a time: what a plain loop gives.
    distance = FeatureDistance(query, gallery, metric=metric)
    total = 0.0
    for a, b in zip(distance._query[5].tolist(), distance._gallery[9].tolist(), strict=True):
        total += a * b if metric == "cosine" else (a - b) ** 2
    assert full[5, 9] == (1 - total if metric == "cosine" else total)
    monkeypatch.setattr(module, "GALLERY_CHUNK", 13)
    for block_size in (1, 3, 36, 64):
        starts = range(0, 37, block_size)
        blocks = [distance.compute_block(row, min(row + block_size, 37)) for row in starts]
        assert np.array_equal(np.concatenate(blocks), full)


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
