"""Bootstrap intervals against a plain loop, theory, and edge cases."""

import tracemalloc

import numpy as np
import pytest

from vills.data.rng import sample_rng
from vills.evaluation.bootstrap import compute_intervals
from vills.evaluation.metrics import compute_scores


def test_intervals_equal_a_plain_loop() -> None:
    hits = [
        np.array([1, 3]),
        np.array([], np.int64),
        np.array([2]),
        np.array([4, 5]),
        np.array([1]),
    ]
    scores = compute_scores(hits, ranks=[1, 3], num_gallery=9, num_resamples=200, seed=5)
    valid = {
        "mAP": [(1 + 2 / 3) / 2, 1 / 2, (1 / 4 + 2 / 5) / 2, 1],
        "R-1": [1, 0, 0, 1],
        "R-3": [1, 1, 0, 1],
    }
    rng = sample_rng(5, 72)
    resamples = [rng.integers(4, size=4).tolist() for _ in range(200)]
    assert set(scores.intervals) == set(valid)
    for name, values in valid.items():
        means = sorted(sum(values[row] for row in rows) / 4 for rows in resamples)
        low, high = scores.intervals[name]
        # The 2.5 % point of 200 numbers lies between the fifth and the sixth, at 4.975.
        assert low == pytest.approx(means[4] + 0.975 * (means[5] - means[4]), abs=1e-12)
        assert high == pytest.approx(means[194] + 0.025 * (means[195] - means[194]), abs=1e-12)


def test_intervals_are_those_of_the_normal_limit() -> None:
    values = np.random.default_rng(0).random(2000)
    ((low, high),) = compute_intervals({"x": values}, num_resamples=4000, seed=1).values()
    error = 1.96 * values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - error, abs=0.08 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.08 * error)


def test_intervals_are_seeded_and_hold_the_score() -> None:
    values = {"x": np.random.default_rng(0).random(50)}
    one = compute_intervals(values, num_resamples=300, seed=1)
    assert one == compute_intervals(values, num_resamples=300, seed=1)
    assert one != compute_intervals(values, num_resamples=300, seed=2)
    assert one["x"][0] < values["x"].mean() < one["x"][1]


def test_no_spread_no_width_and_no_resamples_no_intervals() -> None:
    assert compute_intervals({"x": np.ones(9)}, num_resamples=10, seed=0) == {"x": (1.0, 1.0)}
    assert compute_intervals({"x": np.full(1, 0.5)}, num_resamples=10, seed=0) == {"x": (0.5, 0.5)}
    assert compute_intervals({"x": np.ones(9)}, num_resamples=0, seed=0) == {}


def test_memory_does_not_grow_with_resamples_times_queries() -> None:
    values = {name: np.random.default_rng(0).random(3368) for name in "abcde"}
    tracemalloc.start()
    compute_intervals(values, num_resamples=1000, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6  # 1,000 x 3,368 draws alone are 27 MB
