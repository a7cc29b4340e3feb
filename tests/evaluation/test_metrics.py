"""mAP, CMC and mINP against plain loops, scikit-learn and hand cases."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from vills.evaluation.distance import MatrixDistance
from vills.evaluation.metrics import compute_average_precision, compute_scores
from vills.evaluation.ranking import Labels, rank_gallery

RANKS = [1, 5, 10, 20]


def loop_scores(verdicts: list[list[bool]]) -> dict[str, float]:
    """The definitions, one entry at a time; verdicts of what counts, nearest first."""
    steps, trapezoids, inps, firsts = [], [], [], []
    for row in verdicts:
        num_right = sum(row)
        if not num_right:
            continue
        found, step, trapezoid, last_precision, last = 0, 0.0, 0.0, 1.0, 0
        for rank, right in enumerate(row, start=1):
            found += right
            precision = found / rank
            if right:
                step += precision / num_right
                trapezoid += (last_precision + precision) / 2 / num_right
                last = rank
            last_precision = precision
        steps.append(step)
        trapezoids.append(trapezoid)
        inps.append(num_right / last)
        firsts.append(row.index(True) + 1)
    num = len(steps)
    scores = {"step": sum(steps) / num, "trapezoid": sum(trapezoids) / num, "mINP": sum(inps) / num}
    scores.update({f"R-{k}": sum(first <= k for first in firsts) / num for k in RANKS})
    return {**scores, "queries": len(verdicts), "valid_queries": num}


def test_scores_equal_a_plain_loop() -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        num_gallery = int(rng.integers(1, 40))
        share = rng.choice([0.03, 0.2, 0.6])
        verdicts = [(rng.random(num_gallery) < share).tolist() for _ in range(rng.integers(1, 9))]
        if not any(map(any, verdicts)):
            continue
        hits = [np.flatnonzero(row) + 1 for row in verdicts]
        expected = loop_scores(verdicts)
        for kind in ("step", "trapezoid"):
            scores = compute_scores(
                hits,
                pids=np.arange(len(hits)),
                ranks=RANKS,
                num_gallery=num_gallery,
                average_precision=kind,
            )
            row = scores.build_row()
            assert row["mAP"] == pytest.approx(expected[kind], abs=1e-9)
            for name in ("mINP", "queries", "valid_queries", *(f"R-{k}" for k in RANKS)):
                assert row[name] == pytest.approx(expected[name], abs=1e-12), name
            assert row["gallery"] == num_gallery


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


def test_one_true_match_per_query_gives_a_map_of_at_least_rank_one() -> None:
    """As in PRID2011 and single-shot PRCC: AP is 1 / rank, and R-1 a multiple of 1 / queries."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(89, 6))
        distances = np.abs(features[:, None] - features[None] - 0.8).sum(2).astype(np.float32)
        query = Labels(np.arange(1, 90), np.zeros(89, np.int64))
        gallery = Labels(np.arange(1, 90), np.ones(89, np.int64))
        ranking = rank_gallery(
            MatrixDistance(distances), query=query, gallery=gallery, block_size=32
        )
        scores = compute_scores(ranking.hit_ranks, pids=query.pids, ranks=[1], num_gallery=89)
        first = np.array([hits[0] for hits in ranking.hit_ranks])
        assert scores.mean_ap == pytest.approx((1 / first).mean(), abs=1e-12)
        assert scores.mean_ap >= scores.cmc[1]
        assert scores.cmc[1] * 89 == pytest.approx(round(scores.cmc[1] * 89), abs=1e-9)


def test_a_rank_beyond_the_gallery_is_one() -> None:
    hits = [np.array([1]), np.array([2])]
    scores = compute_scores(hits, pids=np.arange(2), ranks=[1, 2, 50], num_gallery=2)
    assert scores.cmc == {1: 0.5, 2: 1.0, 50: 1.0}


def test_invalid_queries_do_not_enter_the_mean_but_are_counted() -> None:
    hits = [np.array([1]), np.array([], np.int64), np.array([4])]
    pids = np.array([7, 8, 9])
    scores = compute_scores(
        hits, pids=pids, ranks=[1], num_gallery=9, average_precision="trapezoid"
    )
    assert (scores.num_queries, scores.num_valid) == (3, 2)
    assert scores.mean_ap == pytest.approx((1 + 0.125) / 2)
    assert scores.mean_inp == pytest.approx((1 + 0.25) / 2)
    queries = scores.queries
    assert (queries.rows.tolist(), queries.pids.tolist()) == ([0, 2], [7, 9])
    assert (queries.ap.tolist(), queries.r1.tolist()) == ([1, 0.125], [1, 0])
    with pytest.raises(ValueError, match="none of the 1 queries has a true match"):
        compute_scores(hits[1:2], pids=pids[1:2], ranks=[1], num_gallery=9)


def test_a_row_has_the_columns_of_a_table_in_order() -> None:
    hits = [np.array([1]), np.array([3])]
    row = compute_scores(hits, pids=np.arange(2), ranks=[1, 5], num_gallery=4).build_row()
    assert list(row) == ["mAP", "R-1", "R-5", "mINP", "queries", "valid_queries", "gallery"]
    row = compute_scores(
        hits, pids=np.arange(2), ranks=[1], num_gallery=4, num_resamples=20
    ).build_row()
    assert list(row)[:6] == ["mAP", "mAP_low", "mAP_high", "R-1", "R-1_low", "R-1_high"]
    assert all(type(value) in (int, float) for value in row.values())
