"""k-reciprocal re-ranking against plain loops over dense matrices; memory; processes."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from tests.ddp import run_ranks
from tests.evaluation.searches import MatrixDistance, compute_distances
from vills.evaluation import rerank as module
from vills.evaluation.ranking import Labels, compute_ranking
from vills.evaluation.rerank import RerankedDistance


def loop_rerank(
    distances: np.ndarray, num_queries: int, *, k1: int, k2: int, weight: float
) -> np.ndarray:
    """The paper's equations, one pair at a time; [N, N] distances -> [Q, G]."""
    num = len(distances)
    original = [[d / max(row) if max(row) else 0.0 for d in row] for row in distances.tolist()]
    order = [sorted(range(num), key=lambda j: (j != i, distances[i, j], j)) for i in range(num)]

    def reciprocal(p: int, k: int) -> set[int]:  # Eq. (4); the image itself is not one of the k
        return {g for g in order[p][: k + 1] if p in order[g][: k + 1]}

    vectors = []
    for p in range(num):
        inside = reciprocal(p, k1)
        expanded = set(inside)
        for q in inside:  # Eq. (5)
            other = reciprocal(q, round(k1 / 2))
            if len(inside & other) > 2 / 3 * len(other):
                expanded |= other
        weights = [math.exp(-original[p][g]) if g in expanded else 0.0 for g in range(num)]
        vectors.append([w / sum(weights) for w in weights])  # Eq. (7), of sum 1
    if k2 > 1:
        near = [order[p][:k2] for p in range(num)]
        vectors = [
            [sum(vectors[n][g] for n in near[p]) / len(near[p]) for g in range(num)]
            for p in range(num)
        ]
    result = np.empty((num_queries, num - num_queries))
    for p in range(num_queries):
        for g in range(num_queries, num):
            pairs = list(zip(vectors[p], vectors[g], strict=True))
            shared = sum(min(a, b) for a, b in pairs)  # Eq. (10)
            jaccard = 1 - shared / sum(max(a, b) for a, b in pairs)
            result[p, g - num_queries] = (1 - weight) * jaccard + weight * original[p][g]
    return result


def make_features(
    seed: int, *, num_query: int = 12, num_gallery: int = 50, dim: int = 6, num_people: int = 9
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters, so that there are reciprocal neighbours."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(num_people, dim))
    pids = np.arange(num_query + num_gallery) % num_people
    features = centers[pids] + 0.5 * rng.normal(size=(len(pids), dim))
    features = features.astype(np.float32)
    return features[:num_query], features[num_query:]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    ("k1", "k2", "weight"), [(20, 6, 0.3), (7, 3, 0.1), (4, 1, 0.5), (1, 2, 0)]
)
def test_equals_plain_loops(metric: str, k1: int, k2: int, weight: float) -> None:
    for seed in range(4):
        query, gallery = make_features(seed)
        # The features as they are, in plain double precision.
        both = np.concatenate([query, gallery]).astype(np.float64)
        if metric == "cosine":
            both /= np.linalg.norm(both, axis=1, keepdims=True)
        dense = np.square(both[:, None] - both[None]).sum(axis=2)
        expected = loop_rerank(dense, len(query), k1=k1, k2=k2, weight=weight)
        options: Any = {"k1": k1, "k2": k2, "weight": weight, "metric": metric}
        for block_size in (5, 1000):
            distance = RerankedDistance(query, gallery, block_size=block_size, **options)
            assert (distance.num_queries, distance.num_gallery) == (12, 50)
            np.testing.assert_allclose(distance.compute_block(0, 12), expected, atol=1e-6)
            labels: Any = {
                "query": Labels(np.arange(12) % 5 + 1, np.zeros(12, np.int64)),
                "gallery": Labels(np.arange(50) % 6, np.ones(50, np.int64)),
                "block_size": block_size,
            }
            ours = compute_ranking(distance, **labels).hit_ranks
            # Entries with the same neighbours tie in theory; in floating point once rounded.
            theirs = compute_ranking(MatrixDistance(expected.round(12)), **labels).hit_ranks
            for a, b in zip(ours, theirs, strict=True):
                assert np.array_equal(a, b)


@pytest.mark.slow
def test_equal_features_and_small_sets_equal_plain_loops() -> None:
    """Ties, more copies of an image than k1, a zero feature, fewer images than k1."""
    sizes = [(1, 1), (2, 3), (3, 9), (5, 60), (9, 300)]
    for seed, (num_query, num_gallery) in enumerate(sizes):
        rng = np.random.default_rng(seed)
        features = rng.integers(-1, 2, size=(num_query + num_gallery, 2)).astype(np.float32)
        query, gallery = features[:num_query], features[num_query:]
        dense = compute_distances(features, features, metric="cosine")
        expected = loop_rerank(dense, num_query, k1=20, k2=6, weight=0.3)
        distance = RerankedDistance(query, gallery, block_size=7)
        np.testing.assert_allclose(
            distance.compute_block(0, num_query), expected, rtol=0, atol=1e-12
        )


def test_one_wild_row_leaves_the_others_their_order() -> None:
    query, gallery = make_features(2)
    gallery[7] = 1e4  # the largest distance of all rows: the others are tiny shares of it
    distance = RerankedDistance(query, gallery, block_size=7, metric="euclidean")
    both = np.concatenate([query, gallery]).astype(np.float64)
    dense = np.square(both[:, None] - both[None]).sum(axis=2)
    expected = loop_rerank(dense, 12, k1=20, k2=6, weight=0.3)
    found = distance.compute_block(0, 12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    same = np.argsort(found, axis=1) == np.argsort(expected, axis=1)
    assert same.mean() > 0.99


def test_all_images_the_same() -> None:
    features = np.ones((30, 4), np.float32)
    block = RerankedDistance(features[:3], features[3:], block_size=8).compute_block(0, 3)
    dense = compute_distances(features, features, metric="cosine")
    expected = loop_rerank(dense, 3, k1=20, k2=6, weight=0.3)
    np.testing.assert_allclose(block, expected, atol=1e-12)


def test_no_block_size_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = make_features(3, num_query=30, num_gallery=170, num_people=25)
    full = RerankedDistance(query, gallery, block_size=10**6).compute_block(0, 30)
    monkeypatch.setattr(module, "CHUNK", 11)
    for block_size in (1, 13, 199):
        distance = RerankedDistance(query, gallery, block_size=block_size)
        blocks = [distance.compute_block(row, min(row + 7, 30)) for row in range(0, 30, 7)]
        assert np.array_equal(np.concatenate(blocks), full)


def rerank_on_this_process(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    return RerankedDistance(query, gallery, block_size=16).compute_block(0, len(query))


@pytest.mark.slow
def test_processes_share_the_blocks() -> None:
    query, gallery = make_features(5)
    expected = rerank_on_this_process(query, gallery)
    for block in run_ranks(rerank_on_this_process, 2, query, gallery):
        assert np.array_equal(block, expected)


def test_it_finds_more_of_each_person() -> None:
    query, gallery = make_features(8, num_query=60, num_gallery=600, dim=8, num_people=40)
    pids = np.arange(660) % 40 + 1
    labels: Any = {
        "query": Labels(pids[:60], np.zeros(60, np.int64)),
        "gallery": Labels(pids[60:], np.ones(600, np.int64)),
        "block_size": 64,
    }
    plain = MatrixDistance(compute_distances(query, gallery, metric="cosine"))
    reranked = RerankedDistance(query, gallery, block_size=64)
    means = [
        np.mean(np.concatenate(compute_ranking(distance, **labels).hit_ranks))
        for distance in (plain, reranked)
    ]
    assert means[1] < 0.9 * means[0]


@pytest.mark.slow
def test_memory_is_far_from_a_dense_matrix_of_all_to_all() -> None:
    query, gallery = make_features(1, num_query=500, num_gallery=3500, dim=16, num_people=200)
    tracemalloc.start()
    distance = RerankedDistance(query, gallery, block_size=64)
    for row in range(0, 500, 64):
        distance.compute_block(row, min(row + 64, 500))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4000**2 * 4 / 6  # of which published code holds several, float32


def test_bad_input_is_refused() -> None:
    query, gallery = make_features(1)
    for options in ({"k1": 0}, {"k2": 0}, {"weight": 1.5}):
        with pytest.raises(ValueError, match="Allowed: k1 and k2 from 1"):
            RerankedDistance(query, gallery, block_size=8, **options)
    with pytest.raises(ValueError, match="one model and one modality"):
        RerankedDistance(query, gallery[:, :3], block_size=8)
    bad = gallery.copy()
    bad[4] = np.inf
    with pytest.raises(ValueError, match="1 gallery features are not finite"):
        RerankedDistance(query, bad, block_size=8)
