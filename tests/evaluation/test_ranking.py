"""Ranking and metrics against plain loops, scikit-learn, hand cases and MARS's own counts."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat
from sklearn.metrics import average_precision_score

from vills.evaluation.distance import FeatureDistance, compute_distances
from vills.evaluation.metrics import compute_average_precision, compute_scores
from vills.evaluation.ranking import JUNK, RIGHT, WRONG, Labels, Ranking, rank_gallery

RANKS = [1, 5, 10]


def make_case(seed: int, *, num_query: int = 23, num_gallery: int = 61) -> tuple:
    """Few values per dimension, so that many distances tie; pids -1 and 0 included."""
    rng = np.random.default_rng(seed)
    query = rng.integers(-1, 2, size=(num_query, 3)).astype(np.float32)
    gallery = rng.integers(-1, 2, size=(num_gallery, 3)).astype(np.float32)
    query_labels = Labels(rng.integers(1, 9, num_query), rng.integers(0, 3, num_query))
    gallery_labels = Labels(rng.integers(-1, 8, num_gallery), rng.integers(0, 3, num_gallery))
    return query, gallery, query_labels, gallery_labels


def loop_scores(distances: np.ndarray, query: Labels, gallery: Labels) -> dict[str, float]:
    """The definition, one entry at a time; ties broken by gallery position."""
    aps, firsts, inps = [], [], []
    for row in range(len(distances)):
        order = sorted(range(len(gallery)), key=lambda g: (distances[row, g], g))
        rank, good, ap = 0, 0, 0.0
        first = last = 0
        for g in order:
            if gallery.pids[g] == -1:
                continue
            same = gallery.pids[g] == query.pids[row]
            if same and gallery.camids[g] == query.camids[row]:
                continue
            rank += 1
            if same:
                good += 1
                ap += good / rank
                first = first or rank
                last = rank
        if good:
            aps.append(ap / good)
            firsts.append(first)
            inps.append(good / last)
    scores = {"mAP": sum(aps) / len(aps), "mINP": sum(inps) / len(inps)}
    scores.update({f"R-{k}": sum(f <= k for f in firsts) / len(firsts) for k in RANKS})
    return {**scores, "valid_queries": len(aps)}


def rank(case: tuple, block_size: int = 1024, top_k: int = 0) -> Ranking:
    query, gallery, query_labels, gallery_labels = case
    distance = FeatureDistance(query, gallery, metric="cosine")
    return rank_gallery(
        distance, query=query_labels, gallery=gallery_labels, block_size=block_size, top_k=top_k
    )


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_a_plain_loop(seed: int) -> None:
    case = make_case(seed)
    expected = loop_scores(compute_distances(case[0], case[1], metric="cosine"), *case[2:])
    row = compute_scores(rank(case).hit_ranks, ranks=RANKS, num_gallery=61).build_row()
    assert row["queries"] == 23
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=1e-12), name


def test_average_precision_equals_scikit_learn() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        scores = rng.permutation(40)
        right = rng.random(40) < 0.2
        right[0] = True
        hits = np.flatnonzero(right[np.argsort(-scores)]) + 1
        expected = average_precision_score(right, scores)
        assert compute_average_precision(hits) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "step", "trapezoid"),
    [([1], 1, 1), ([2], 0.5, 0.25), ([1, 6], 0.667, 0.633), ([3, 4, 11], 0.369, 0.273)],
)
def test_average_precision_hand_cases(hits: list[int], step: float, trapezoid: float) -> None:
    ranks = np.array(hits)
    assert compute_average_precision(ranks, kind="step") == pytest.approx(step, abs=5e-4)
    assert compute_average_precision(ranks, kind="trapezoid") == pytest.approx(trapezoid, abs=5e-4)
    with pytest.raises(ValueError, match="Allowed: step, trapezoid"):
        compute_average_precision(ranks, kind="area")


@pytest.mark.parametrize("block_size", [1, 2, 7, 22, 23])
def test_blocks_rank_exactly_like_the_full_gallery(block_size: int) -> None:
    case = make_case(11)
    full, blocks = rank(case, top_k=9), rank(case, block_size, top_k=9)
    for a, b in zip(full.hit_ranks, blocks.hit_ranks, strict=True):
        assert np.array_equal(a, b)
    for a, b in zip(full.lists, blocks.lists, strict=True):
        assert np.array_equal(a.gallery, b.gallery)
        assert np.array_equal(a.verdicts, b.verdicts)
        assert np.array_equal(a.distances, b.distances)


def test_ties_keep_gallery_order() -> None:
    features = np.ones((4, 2), np.float32)
    gallery = Labels(np.array([5, 3, 3, 5]), np.array([1, 1, 1, 1]))
    query = Labels(np.array([3]), np.array([0]))
    ranking = rank((features[:1], features, query, gallery), top_k=4)
    assert ranking.lists[0].gallery.tolist() == [0, 1, 2, 3]
    assert ranking.hit_ranks[0].tolist() == [2, 3]


def test_junk_is_absent_and_distractors_are_wrong() -> None:
    # Nearest first: the query itself, a bad detection, a distractor, then the match.
    query = np.array([[1, 0]], np.float32)
    gallery = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3], [0, 1]], np.float32)
    labels = Labels(np.array([7, -1, 0, 7, 8]), np.array([2, 3, 3, 3, 3]))
    ranking = rank((query, gallery, Labels(np.array([7]), np.array([2])), labels), top_k=2)
    assert ranking.hit_ranks[0].tolist() == [2]
    assert ranking.lists[0].verdicts.tolist() == [JUNK, JUNK, WRONG, RIGHT]
    # An unknown camera is never the same camera; distractors are no match for each other.
    unknown = Labels(np.array([7, 0]), np.array([-1, -1]))
    same = Labels(labels.pids, np.full(5, -1))
    ranking = rank((query.repeat(2, 0), gallery, unknown, same))
    assert [hits.tolist() for hits in ranking.hit_ranks] == [[1, 3], []]


def test_small_gallery_and_no_valid_query() -> None:
    query = np.eye(2, dtype=np.float32)
    labels = Labels(np.array([1, 2]), np.array([0, 0]))
    other = Labels(np.array([1, 2]), np.array([1, 1]))
    ranking = rank((query, query, labels, other), top_k=50)
    scores = compute_scores(ranking.hit_ranks, ranks=[1, 50], num_gallery=2)
    assert scores.cmc == {1: 1.0, 50: 1.0}
    assert [len(top.gallery) for top in ranking.lists] == [2, 2]
    ranking = rank((query, query, labels, labels))
    with pytest.raises(ValueError, match="none of the 2 queries has a true match"):
        compute_scores(ranking.hit_ranks, ranks=[1], num_gallery=2)
    with pytest.raises(ValueError, match="labels must match"):
        rank((query, query, labels, labels.take(slice(1))))


def test_invalid_queries_do_not_enter_the_mean() -> None:
    hits = [np.array([1]), np.array([], np.int64), np.array([4])]
    scores = compute_scores(hits, ranks=[1], num_gallery=9, average_precision="trapezoid")
    assert (scores.num_queries, scores.num_valid) == (3, 2)
    assert scores.mean_ap == pytest.approx((1 + 0.125) / 2)
    assert scores.mean_inp == pytest.approx((1 + 0.25) / 2)


@pytest.mark.real
@pytest.mark.parametrize(
    ("with_queries", "num_gallery", "num_valid"), [(True, 11310, 1980), (False, 9330, 1840)]
)
def test_mars_counts(real_data: Path, with_queries: bool, num_gallery: int, num_valid: int) -> None:
    splits = real_data / "splits"
    tracks = loadmat(splits / "mars_tracks_test_info.mat")["track_test_info"].astype(np.int64)
    query_rows = loadmat(splits / "mars_query_IDX.mat")["query_IDX"].astype(np.int64).ravel() - 1
    labels = Labels(tracks[:, 2], tracks[:, 3] - 1)
    keep = labels.pids != -1
    if not with_queries:
        keep[query_rows] = False
    gallery = labels.take(np.flatnonzero(keep))
    features = np.random.default_rng(0).normal(size=(len(tracks), 8)).astype(np.float32)
    distance = FeatureDistance(features[query_rows], features[keep], metric="cosine")
    ranking = rank_gallery(distance, query=labels.take(query_rows), gallery=gallery, block_size=512)
    scores = compute_scores(ranking.hit_ranks, ranks=[1], num_gallery=len(gallery))
    assert (scores.num_gallery, scores.num_queries, scores.num_valid) == (
        num_gallery,
        1980,
        num_valid,
    )
