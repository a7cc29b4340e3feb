"""Scores against plain loops, brute force, scikit-learn and hand cases; fast-reid's other TAR."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_curve

from tests.evaluation.searches import MatrixDistance
from vills.evaluation.metrics import (
    compute_average_precision,
    compute_scores,
    compute_tar_at_far,
    find_threshold,
)
from vills.evaluation.ranking import Labels, compute_ranking

COUNTS = ("queries", "valid_queries", "people", "gallery")
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
            row = scores.row
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
        ranking = compute_ranking(
            MatrixDistance(distances), query=query, gallery=gallery, block_size=32
        )
        scores = compute_scores(ranking.hit_ranks, pids=query.pids, ranks=[1], num_gallery=89)
        first = np.array([hits[0] for hits in ranking.hit_ranks])
        mean_ap, rank1 = scores.row["mAP"], scores.row["R-1"]
        assert isinstance(mean_ap, float)
        assert isinstance(rank1, float)
        assert mean_ap == pytest.approx((1 / first).mean(), abs=1e-12)
        assert mean_ap >= rank1
        assert rank1 * 89 == pytest.approx(round(rank1 * 89), abs=1e-9)


def test_a_rank_beyond_the_gallery_is_one() -> None:
    hits = [np.array([1]), np.array([2])]
    row = compute_scores(hits, pids=np.arange(2), ranks=[1, 2, 50], num_gallery=2).row
    assert [row["R-1"], row["R-2"], row["R-50"]] == [0.5, 1.0, 1.0]


def test_invalid_queries_do_not_enter_the_mean_but_are_counted() -> None:
    hits = [np.array([1]), np.array([], np.int64), np.array([4])]
    pids = np.array([7, 8, 9])
    scores = compute_scores(
        hits, pids=pids, ranks=[1], num_gallery=9, average_precision="trapezoid"
    )
    assert (scores.row["queries"], scores.row["valid_queries"]) == (3, 2)
    assert scores.row["mAP"] == pytest.approx((1 + 0.125) / 2)
    assert scores.row["mINP"] == pytest.approx((1 + 0.25) / 2)
    queries = scores.queries
    assert (queries.rows.tolist(), queries.pids.tolist()) == ([0, 2], [7, 9])
    assert (queries.ap.tolist(), queries.r1.tolist()) == ([1, 0.125], [1, 0])
    with pytest.raises(ValueError, match="none of the 1 queries has a true match"):
        compute_scores(hits[1:2], pids=pids[1:2], ranks=[1], num_gallery=9)


def test_a_row_has_the_columns_of_a_table_in_order() -> None:
    hits = [np.array([1]), np.array([3])]
    row = compute_scores(hits, pids=np.arange(2), ranks=[1, 5], num_gallery=4).row
    assert list(row) == ["mAP", "R-1", "R-5", "mINP", *COUNTS]
    row = compute_scores(hits, pids=np.arange(2), ranks=[1], num_gallery=4, num_resamples=20).row
    assert list(row)[:6] == ["mAP", "mAP_low", "mAP_high", "R-1", "R-1_low", "R-1_high"]
    assert all(type(value) in (int, float) for value in row.values())


FARS = [1.0, 0.5, 0.29, 0.1, 0.07, 0.01, 1e-3, 1e-4]


def find_tar(genuine: list[float], impostor: list[float], far: float) -> float:
    """Try every acceptance region "at least as high as this score", and the empty one."""
    if not impostor or far < 1 / len(impostor):
        return float("nan")
    best = 0.0
    for edge in {*genuine, *impostor}:
        if sum(score >= edge for score in impostor) / len(impostor) <= far:
            best = max(best, sum(score >= edge for score in genuine) / len(genuine))
    return best


def test_tar_equals_brute_force_on_random_worlds_with_ties() -> None:
    num_numbers = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        num_genuine, num_impostor = rng.integers(1, 30), rng.integers(0, 130)
        digits = int(rng.integers(0, 4))
        genuine = rng.normal(1, 1, num_genuine).round(digits)
        impostor = rng.normal(0, 1, num_impostor).round(digits)
        if seed % 2:
            genuine, impostor = genuine.astype(np.float32), impostor.astype(np.float32)
        row = compute_tar_at_far(genuine, impostor, FARS)
        assert (row["genuine_pairs"], row["impostor_pairs"]) == (num_genuine, num_impostor)
        for far in FARS:
            expected = find_tar(genuine.tolist(), impostor.tolist(), far)
            assert row[f"TAR@{far:g}"] == pytest.approx(expected, abs=1e-12, nan_ok=True)
            threshold = find_threshold(np.sort(impostor), far)
            accepted = np.mean(impostor > threshold) if len(impostor) else 0.0
            assert np.isnan(expected) or accepted <= far
            num_numbers += not np.isnan(expected)
    assert num_numbers > 500


def test_tar_grows_with_far() -> None:
    rng = np.random.default_rng(1)
    genuine, impostor = rng.normal(1, 1, 400).round(1), rng.normal(0, 1, 3000).round(1)
    fars = np.linspace(1 / 3000, 1, 500).tolist()
    row = compute_tar_at_far(genuine, impostor, fars)
    tars = [row[f"TAR@{far:g}"] for far in fars]
    assert tars == sorted(tars)
    assert tars[-1] == 1.0


def test_a_rate_below_one_in_n_is_not_resolved() -> None:
    row = compute_tar_at_far(np.array([0.9, 0.1]), np.linspace(0, 0.5, 100), [0.01, 0.0099])
    assert row["TAR@0.01"] == 0.5
    assert row["TAR@0.0099"] == pytest.approx(np.nan, nan_ok=True)
    assert np.isnan(find_threshold(np.linspace(0, 0.5, 100), 0.0099))
    # 0.29 * 100 is 28.999999999999996: the 29th impostor is within the rate all the same.
    impostor = np.arange(100.0)
    assert compute_tar_at_far(np.array([70.5]), impostor, [0.29])["TAR@0.29"] == 1.0
    assert find_threshold(impostor, 0.29) == 70.0


def test_a_tie_is_accepted_whole_or_not_at_all() -> None:
    impostor = np.array([0.8, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    row = compute_tar_at_far(np.array([0.9, 0.8, 0.5]), impostor, [0.1, 0.2, 0.3])
    assert list(row.values())[:3] == pytest.approx([1 / 3, 1 / 3, 1])


def test_pairs_without_a_score_are_misses_and_no_impostors() -> None:
    genuine = np.array([[0.9, np.nan], [0.8, np.nan]])
    impostor = np.array([0.1, 0.2, np.nan, 0.3, 0.4])
    row = compute_tar_at_far(genuine, impostor, [0.25, 1.0])
    assert row == {"TAR@0.25": 0.5, "TAR@1": 0.5, "genuine_pairs": 4, "impostor_pairs": 4}
    with pytest.raises(ValueError, match="no genuine pair"):
        compute_tar_at_far(np.array([]), impostor, [0.1])
    with pytest.raises(ValueError, match="Allowed: 0 to 1"):
        compute_tar_at_far(genuine, impostor, [1.5])


def test_swapped_labels_give_another_number() -> None:
    """fast-reid labels genuine pairs 0 and impostors 1, and scores by distance (issue 168).

    That is the rate of true rejections at a rate of false ones, read beside the wanted point.
    """
    rng = np.random.default_rng(168)
    genuine, impostor = rng.normal(3, 1.3, 2_000), rng.normal(0, 0.7, 200_000)
    far = 1e-3
    labels = np.concatenate([np.zeros(2_000), np.ones(200_000)])
    rates, swapped, _ = roc_curve(labels, -np.concatenate([genuine, impostor]))
    wrong = swapped[np.abs(rates - far).argmin()]
    tar = compute_tar_at_far(genuine, impostor, [far])["TAR@0.001"]
    assert isinstance(tar, float)
    threshold = np.sort(impostor)[-201]
    assert tar == np.mean(genuine > threshold)
    assert abs(tar - wrong) > 0.2
