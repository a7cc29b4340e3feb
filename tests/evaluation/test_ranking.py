"""Ranks against plain loops on random worlds, a plain argsort, hand cases and MARS's own counts."""

import importlib.util
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat
from threadpoolctl import threadpool_limits

from tests.ddp import run_ranks
from tests.evaluation.searches import MatrixDistance, compute_distances
from vills.distributed import get_rank
from vills.evaluation import distance as distance_module
from vills.evaluation import ranking as ranking_module
from vills.evaluation.distance import FeatureDistance
from vills.evaluation.metrics import compute_scores
from vills.evaluation.ranking import (
    JUNK,
    RIGHT,
    WRONG,
    Labels,
    Ranking,
    compute_ranking,
    find_ltcc_cloth_changing,
    find_ltcc_same_clothes,
    find_no_junk,
    find_same_camera,
)

RULES = {
    "same_camera": find_same_camera,
    "cloth_changing": find_ltcc_cloth_changing,
    "same_clothes": find_ltcc_same_clothes,
    "none": find_no_junk,
}


def make_world(seed: int) -> tuple[np.ndarray, Labels, Labels]:
    """Distances of few values, so that many tie; distractors, bad detections, unknown cameras."""
    rng = np.random.default_rng(seed)
    num_query, num_gallery = int(rng.integers(1, 9)), int(rng.integers(1, 45))
    num_values = rng.choice([1, 2, 5, 30, 10**6])
    dtype: Any = rng.choice(["float32", "float64"])
    distances = rng.integers(-2, num_values, size=(num_query, num_gallery)).astype(dtype)
    num_people, num_cameras = rng.integers(1, 7), rng.integers(1, 4)

    def draw(low: int, num: int) -> Labels:
        pids = rng.integers(low, num_people + 1, num)
        return Labels(pids, rng.integers(-1, num_cameras, num), rng.integers(-1, 3, num))

    return distances, draw(0, num_query), draw(-1, num_gallery)


def is_junk(rule: str, query: Any, entry: Any) -> bool:
    """The definition, for two (pid, camid, clothes_id)."""
    if entry[0] == -1:
        return True
    if entry[0] != query[0] or query[0] <= 0:
        return False
    same_camera = entry[1] == query[1] != -1
    same_clothes = entry[2] == query[2] != -1
    return {
        "same_camera": same_camera,
        "cloth_changing": same_camera or same_clothes,
        "same_clothes": same_camera or not same_clothes,
        "none": False,
    }[rule]


def walk(
    rule: str, row: np.ndarray, query: Any, gallery: Labels, top_k: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """The definition, one entry at a time: ranks of true matches, top entries and verdicts."""
    hits, top, rank = [], [], 0
    entries = list(
        zip(
            gallery.pids.tolist(),
            gallery.camids.tolist(),
            gallery.clothes_ids.tolist(),
            strict=True,
        )
    )
    for place in sorted(range(len(row)), key=lambda place: (row[place], place)):
        junk = is_junk(rule, query, entries[place])
        right = not junk and entries[place][0] == query[0] > 0
        rank += not junk
        if right:
            hits.append(rank)
        top.append((place, JUNK if junk else RIGHT if right else WRONG))
    counted = [position for position, (_, verdict) in enumerate(top) if verdict != JUNK][:top_k]
    return hits, top[: counted[-1] + 1] if counted else []


def assert_equal(a: Ranking, b: Ranking) -> None:
    for one, two in zip(a.hit_ranks, b.hit_ranks, strict=True):
        assert np.array_equal(one, two)
    for first, second in zip(a.lists, b.lists, strict=True):
        assert np.array_equal(first.gallery, second.gallery)
        assert np.array_equal(first.verdicts, second.verdicts)
        assert np.array_equal(first.distances, second.distances)


@pytest.mark.parametrize("max_counted", [256, 2])
@pytest.mark.parametrize("rule", RULES)
def test_ranks_and_lists_equal_a_plain_loop(
    rule: str, max_counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking_module, "MAX_COUNTED", max_counted)
    num_single = num_without = num_tied = 0
    for seed in range(150):
        distances, query, gallery = make_world(seed)
        top_k = seed % 7
        ranking = compute_ranking(
            MatrixDistance(distances),
            query=query,
            gallery=gallery,
            block_size=1 + seed % 4,
            junk_rule=RULES[rule],
            top_k=top_k,
        )
        assert len(ranking.hit_ranks) == len(distances)
        assert len(ranking.lists) == (len(distances) if top_k else 0)
        for number, row in enumerate(distances):
            one = (query.pids[number], query.camids[number], query.clothes_ids[number])
            hits, top = walk(rule, row, one, gallery, top_k)
            assert ranking.hit_ranks[number].tolist() == hits
            num_single += len(hits) == 1
            num_without += not hits
            num_tied += bool(hits) and len(set(row.tolist())) < len(row)
            if top_k:
                ranked = ranking.lists[number]
                assert list(zip(ranked.gallery, ranked.verdicts, strict=True)) == top
                assert np.array_equal(ranked.distances, row[ranked.gallery])
    assert min(num_single, num_without, num_tied) > 50


def test_without_ties_ranks_are_those_of_a_plain_argsort() -> None:
    """What torchreid and its heirs do: sort all, drop same person and camera, number the rest."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        distances = rng.permutation(12 * 90).reshape(12, 90).astype(np.float32)
        query = Labels(rng.integers(1, 9, 12), rng.integers(0, 3, 12))
        gallery = Labels(rng.integers(0, 9, 90), rng.integers(0, 3, 90))
        ranking = compute_ranking(
            MatrixDistance(distances), query=query, gallery=gallery, block_size=5
        )
        order = np.argsort(distances, axis=1)
        for number, row in enumerate(order):
            same = gallery.pids[row] == query.pids[number]
            kept = ~(same & (gallery.camids[row] == query.camids[number]))
            expected = np.flatnonzero(same[kept]) + 1
            assert np.array_equal(ranking.hit_ranks[number], expected)


def test_the_benchmark_compares_like_with_like() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "ranking.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_ranking", path)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    rng = np.random.default_rng(4)
    distances = rng.permutation(20 * 200).reshape(20, 200).astype(np.float32)
    query = Labels(rng.integers(1, 9, 20), rng.integers(0, 3, 20))
    gallery = Labels(rng.integers(0, 9, 200), rng.integers(0, 3, 200))
    ours = benchmark.rank_ours(MatrixDistance(distances), query, gallery)
    assert ours == pytest.approx(benchmark.rank_naive(distances, query, gallery), abs=1e-12)


def make_features(seed: int) -> tuple[np.ndarray, np.ndarray, Labels, Labels]:
    """Queries and a gallery of which some features are the same."""
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(23, 40)).astype(np.float32)
    gallery = rng.normal(size=(150, 40)).astype(np.float32)
    gallery[100:] = gallery[:50]
    query_labels = Labels(rng.integers(1, 9, 23), rng.integers(0, 3, 23))
    return query, gallery, query_labels, Labels(rng.integers(-1, 9, 150), rng.integers(0, 3, 150))


def rank_features(
    case: tuple[np.ndarray, np.ndarray, Labels, Labels], block_size: int = 1024, top_k: int = 9
) -> Ranking:
    query, gallery, query_labels, gallery_labels = case
    distance = FeatureDistance(query, gallery, metric="cosine")
    return compute_ranking(
        distance, query=query_labels, gallery=gallery_labels, block_size=block_size, top_k=top_k
    )


@pytest.mark.parametrize("block_size", [1, 2, 7, 22, 23])
def test_no_block_size_changes_a_rank(block_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_features(11)
    full = rank_features(case)
    assert_equal(full, rank_features(case, block_size))
    monkeypatch.setattr(distance_module, "MAX_BLOCK_BYTES", 8 * 150 * 3)
    assert_equal(full, rank_features(case))


def test_no_thread_count_nor_memory_layout_changes_a_rank() -> None:
    case = make_features(12)
    full = rank_features(case)
    for num_threads in (1, 2):
        with threadpool_limits(num_threads):
            assert_equal(full, rank_features(case, block_size=5))
    labels: Any = {"query": case[2], "gallery": case[3]}
    matrix = compute_distances(case[0], case[1], metric="cosine")
    for same in (matrix, np.asfortranarray(matrix)):
        ranking = compute_ranking(MatrixDistance(same), **labels, block_size=6, top_k=9)
        assert_equal(full, ranking)


def rank_on_this_process(
    case: tuple[np.ndarray, np.ndarray, Labels, Labels], block_size: int
) -> tuple[int, Ranking, str]:
    ranking = rank_features(case, block_size)
    distances = np.zeros((23, 150), np.float32)
    distances[20, 7] = np.nan  # met by one of the processes alone
    try:
        compute_ranking(
            MatrixDistance(distances), query=case[2], gallery=case[3], block_size=block_size
        )
    except ValueError as error:
        return get_rank(), ranking, str(error)
    return get_rank(), ranking, ""


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [4, 1024])
def test_processes_share_the_queries_and_all_get_all(block_size: int) -> None:
    case = make_features(13)
    full = rank_features(case)
    results = run_ranks(rank_on_this_process, 2, case, block_size)
    assert [rank for rank, _, _ in results] == [0, 1]
    for _, ranking, error in results:
        assert_equal(full, ranking)
        assert "1 queries are not numbers (first: query 20)" in error


def test_ranking_needs_the_memory_of_a_few_rows() -> None:
    rng = np.random.default_rng(5)
    distances = rng.random((100, 20_000), dtype=np.float32)
    query = Labels(np.arange(100) + 1, np.zeros(100, np.int64))
    gallery = Labels(rng.integers(0, 1000, 20_000), rng.integers(0, 2, 20_000))
    tracemalloc.start()
    compute_ranking(
        MatrixDistance(distances), query=query, gallery=gallery, block_size=50, top_k=10
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 20_000 * 8 / 10  # an argsort is ten times that


def test_ties_keep_gallery_order() -> None:
    features = np.ones((4, 2), np.float32)
    gallery = Labels(np.array([5, 3, 3, 5]), np.array([1, 1, 1, 1]))
    query = Labels(np.array([3]), np.array([0]))
    ranking = rank_features((features[:1], features, query, gallery), top_k=4)
    assert ranking.lists[0].gallery.tolist() == [0, 1, 2, 3]
    assert ranking.hit_ranks[0].tolist() == [2, 3]


def test_junk_is_absent_and_distractors_are_wrong() -> None:
    # Nearest first: the query itself, a bad detection, a distractor, then the match.
    query = np.array([[1, 0]], np.float32)
    gallery = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3], [0, 1]], np.float32)
    labels = Labels(np.array([7, -1, 0, 7, 8]), np.array([2, 3, 3, 3, 3]))
    own = Labels(np.array([7]), np.array([2]))
    ranking = rank_features((query, gallery, own, labels), top_k=2)
    assert ranking.hit_ranks[0].tolist() == [2]
    assert ranking.lists[0].verdicts.tolist() == [JUNK, JUNK, WRONG, RIGHT]
    # An unknown camera is never the same camera; distractors are no match for each other.
    unknown = Labels(np.array([7, 0]), np.array([-1, -1]))
    same = Labels(labels.pids, np.full(5, -1))
    ranking = rank_features((query.repeat(2, 0), gallery, unknown, same))
    assert [hits.tolist() for hits in ranking.hit_ranks] == [[1, 3], []]


def test_ltcc_rules_on_eight_images() -> None:
    """Person 1 in outfits 10 and 11 from cameras 0 to 2; person 2; nearest first."""
    gallery = Labels(
        pids=np.array([1, 1, 2, 1, 1, 2, 1, 0]),
        camids=np.array([0, 1, 0, 0, 1, 1, 2, 5]),
        clothes_ids=np.array([10, 10, 20, 11, 11, 20, 10, -1]),
    )
    query = Labels(np.array([1]), np.array([0]), np.array([10]))
    distances = MatrixDistance(np.arange(8, dtype=np.float32)[None])
    expected = {
        find_same_camera: [1, 3, 5],  # images 1, 4 and 6; 0 and 3 are of the same camera
        find_ltcc_cloth_changing: [2],  # 4 alone; 1 and 6 wear the same
        find_ltcc_same_clothes: [1, 4],  # 1 and 6; 4 wears another
        find_no_junk: [1, 2, 4, 5, 7],
    }
    for rule, ranks in expected.items():
        ranking = compute_ranking(
            distances, query=query, gallery=gallery, block_size=1, junk_rule=rule
        )
        assert ranking.hit_ranks[0].tolist() == ranks, rule


def test_bad_input_is_refused() -> None:
    distances = np.zeros((2, 3))
    two = Labels(np.array([1, 2]), np.array([0, 0]))
    three = Labels(np.array([1, 2, 3]), np.array([1, 1, 1]))
    assert two.clothes_ids.tolist() == [-1, -1]
    with pytest.raises(ValueError, match="2 query and 2 gallery labels must match"):
        compute_ranking(MatrixDistance(distances), query=two, gallery=two, block_size=1)
    empty = three.take(slice(0))
    with pytest.raises(ValueError, match="the gallery is empty"):
        compute_ranking(MatrixDistance(distances[:, :0]), query=two, gallery=empty, block_size=1)
    nan = MatrixDistance(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="not numbers"):
        compute_ranking(nan, query=two, gallery=three, block_size=1)
    with pytest.raises(ValueError, match="2 pids, 3 camids"):
        Labels(np.zeros(2, np.int64), np.zeros(3, np.int64))
    ranking = compute_ranking(
        MatrixDistance(distances[:0]), query=two.take(slice(0)), gallery=three, block_size=1
    )
    assert ranking == Ranking([], [])


@pytest.mark.slow
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
    query = labels.take(query_rows)
    ranking = compute_ranking(distance, query=query, gallery=gallery, block_size=512)
    row = compute_scores(
        ranking.hit_ranks, pids=query.pids, ranks=[1], num_gallery=len(gallery)
    ).row
    assert (row["gallery"], row["queries"], row["valid_queries"]) == (num_gallery, 1980, num_valid)


def test_labels_of_other_entries_are_refused() -> None:
    pids = np.array([3, 4])
    assert Labels(pids).camids.tolist() == [-1, -1]
    with pytest.raises(ValueError, match="do not describe the same entries"):
        Labels(pids, np.empty(0, dtype=np.int64))
