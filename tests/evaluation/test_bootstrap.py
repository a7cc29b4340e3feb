"""Bootstrap intervals against a plain loop, theory, and edge cases."""

import tracemalloc

import numpy as np
import pytest

from vills.data.samplers import sample_rng
from vills.evaluation.bootstrap import compute_ends, compute_intervals, draw_counts
from vills.evaluation.metrics import compute_scores


def test_intervals_equal_a_plain_loop() -> None:
    hits = [
        np.array([1, 3]),
        np.array([], np.int64),
        np.array([2]),
        np.array([4, 5]),
        np.array([1]),
    ]
    pids = np.array([9, 4, 2, 9, 4])
    scores = compute_scores(hits, pids=pids, ranks=[1, 3], num_gallery=9, num_resamples=200, seed=5)
    people = {  # person -> its valid queries
        "mAP": [[1 / 2], [1], [(1 + 2 / 3) / 2, (1 / 4 + 2 / 5) / 2]],
        "R-1": [[0], [1], [1, 0]],
        "R-3": [[1], [1], [1, 0]],
    }
    rng = sample_rng(5, 72)
    resamples = [rng.integers(3, size=2).tolist() for _ in range(200)]
    assert set(scores.intervals) == set(people)
    for name, values in people.items():
        means = []
        for drawn in resamples:
            queries = [value for person in drawn for value in values[person]]
            means.append(sum(queries) / len(queries))
        means.sort()
        low, high = scores.intervals[name]
        # The 2.5 % point of 200 numbers lies between the fifth and the sixth, at 4.975.
        assert low == pytest.approx(means[4] + 0.975 * (means[5] - means[4]), abs=1e-12)
        assert high == pytest.approx(means[194] + 0.025 * (means[195] - means[194]), abs=1e-12)


def test_intervals_are_those_of_the_normal_limit() -> None:
    values = np.random.default_rng(0).random(2000)
    ((low, high),) = compute_intervals(
        {"x": values}, pids=np.arange(2000), num_resamples=4000, seed=1
    ).values()
    error = 1.96 * values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - error, abs=0.08 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.08 * error)


def test_more_queries_of_the_same_people_make_no_narrower_interval() -> None:
    values = np.random.default_rng(0).random(40)
    once = compute_intervals({"x": values}, pids=np.arange(40), num_resamples=500, seed=1)
    again = compute_intervals(
        {"x": values.repeat(5)}, pids=np.arange(40).repeat(5), num_resamples=500, seed=1
    )
    assert again["x"] == pytest.approx(once["x"], abs=1e-12)


@pytest.mark.parametrize(("num_people", "lowest", "highest"), [(60, 0.92, 0.97), (8, 0.86, 0.94)])
def test_people_of_unequal_numbers_of_queries_are_covered(
    num_people: int, lowest: float, highest: float
) -> None:
    """400 data sets of a known score; queries drawn one by one cover far fewer."""
    held = alone = 0
    for number in range(400):
        rng = np.random.default_rng(number)
        whose = np.arange(num_people).repeat(rng.integers(1, 8, num_people))
        own = rng.normal(0.5, 0.2, num_people)
        values = own[whose] + rng.normal(0, 0.1, len(whose))
        for pids in (whose, np.arange(len(whose))):
            ((low, high),) = compute_intervals(
                {"x": values}, pids=pids, num_resamples=300, seed=number
            ).values()
            if pids is whose:
                held += low <= 0.5 <= high
            else:
                alone += low <= 0.5 <= high
    assert lowest < held / 400 < highest
    assert alone / 400 < 0.75


def test_intervals_are_seeded_and_hold_the_score() -> None:
    values = {"x": np.random.default_rng(0).random(50)}
    pids = np.arange(50) // 2
    one = compute_intervals(values, pids=pids, num_resamples=300, seed=1)
    assert one == compute_intervals(values, pids=pids, num_resamples=300, seed=1)
    assert one != compute_intervals(values, pids=pids, num_resamples=300, seed=2)
    assert one["x"][0] < values["x"].mean() < one["x"][1]


def test_no_spread_no_width_and_no_resamples_no_intervals() -> None:
    ones, pids = {"x": np.ones(9)}, np.arange(9) // 2
    assert compute_intervals(ones, pids=pids, num_resamples=10, seed=0) == {"x": (1.0, 1.0)}
    assert compute_intervals(ones, pids=pids, num_resamples=0, seed=0) == {}


def test_one_person_says_nothing_of_others() -> None:
    pids = np.full(9, 4)
    assert compute_intervals({"x": np.arange(9.0)}, pids=pids, num_resamples=10, seed=0) == {}


def test_counts_are_multinomial_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> np.ndarray:
        return np.concatenate(list(draw_counts(sample_rng(3), num_units=7, num_resamples=3000)))

    counts = draw()
    assert counts.shape == (3000, 7)
    assert set(counts.sum(axis=1).tolist()) == {6}
    assert counts.mean(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.06)
    assert counts.var(axis=0) == pytest.approx(np.full(7, 6 / 7 * 6 / 7), abs=0.08)
    monkeypatch.setattr("vills.evaluation.bootstrap._BLOCK", 50)
    assert np.array_equal(draw(), counts)
    (one,) = draw_counts(sample_rng(3), num_units=1, num_resamples=4)
    assert one.tolist() == [[1]] * 4


def test_ends_are_the_middle_95_percent() -> None:
    low, high = compute_ends(np.arange(201.0)[:, None])
    assert [*low, *high] == pytest.approx([5, 195])


def test_memory_does_not_grow_with_resamples_times_people() -> None:
    values = {name: np.random.default_rng(0).random(3368) for name in "abcde"}
    tracemalloc.start()
    compute_intervals(values, pids=np.arange(3368), num_resamples=1000, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6  # 1,000 x 3,368 counts alone are 27 MB
