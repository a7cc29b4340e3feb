"""Intervals and paired differences against plain loops, theory, a known truth and edge cases."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vills.data.samplers import sample_rng
from vills.evaluation.bootstrap import (
    PairedRun,
    compute_difference,
    compute_ends,
    compute_intervals,
    sample_counts,
)
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
    row = compute_scores(
        hits, pids=pids, ranks=[1, 3], num_gallery=9, num_resamples=200, seed=5
    ).row
    people: dict[str, list[list[Any]]] = {  # person -> its valid queries
        "mAP": [[1 / 2], [1], [(1 + 2 / 3) / 2, (1 / 4 + 2 / 5) / 2]],
        "R-1": [[0], [1], [1, 0]],
        "R-3": [[1], [1], [1, 0]],
    }
    rng = sample_rng(5, 72)
    resamples = [rng.integers(3, size=2).tolist() for _ in range(200)]
    assert {key.removesuffix("_low") for key in row if key.endswith("_low")} == set(people)
    for name, values in people.items():
        means = []
        for drawn in resamples:
            queries = [value for person in drawn for value in values[person]]
            means.append(sum(queries) / len(queries))
        means.sort()
        low, high = row[f"{name}_low"], row[f"{name}_high"]
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


@pytest.mark.slow
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
        return np.concatenate(list(sample_counts(sample_rng(3), num_units=7, num_resamples=3000)))

    counts = draw()
    assert counts.shape == (3000, 7)
    assert set(counts.sum(axis=1).tolist()) == {6}
    assert counts.mean(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.06)
    assert counts.var(axis=0) == pytest.approx(np.full(7, 6 / 7 * 6 / 7), abs=0.08)
    monkeypatch.setattr("vills.evaluation.bootstrap._BLOCK", 50)
    assert np.array_equal(draw(), counts)
    (one,) = sample_counts(sample_rng(3), num_units=1, num_resamples=4)
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


def make_run(
    pids: list[int], values: list[float], *, world: str = "", parts: list[int] | None = None
) -> PairedRun:
    return PairedRun(
        np.array(pids),
        np.array(values, dtype=np.float64),
        parts=np.array(parts or [], dtype=np.int64),
        world=world,
    )


def find_middle(means: list[float]) -> tuple[float, float]:
    """The ends of the middle 95 % of 200 numbers: at 4.975 from either end."""
    means = sorted(means)
    low = means[4] + 0.975 * (means[5] - means[4])
    return low, means[194] + 0.025 * (means[195] - means[194])


def test_hand_cases() -> None:
    """Two people: one is drawn, so that the interval is from the one's mean to the other's."""
    found = compute_difference([make_run([3, 8, 3], [0.1, 0.6, 0.2])], num_resamples=100, seed=0)
    assert found.value == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx((0.15, 0.6))
    assert (found.num_people, found.num_runs, found.num_worlds) == (2, 1, 1)
    # of two runs one is drawn too: ends are the better person of the better seed, and the worse
    runs = [make_run([3, 8], [0.1, 0.3]), make_run([3, 8], [0.3, 0.7])]
    found = compute_difference(runs, num_resamples=400, seed=0)
    assert found.value == pytest.approx(0.35)
    assert (found.low, found.high) == pytest.approx((0.1, 0.7))
    # worlds count alike, however many runs and people they have, and keep their places
    runs += [make_run([3, 8, 9], [-0.5] * 3, world="other")]
    found = compute_difference(runs, num_resamples=400, seed=0)
    assert found.value == pytest.approx((0.35 - 0.5) / 2)
    assert (found.low, found.high) == pytest.approx((-0.2, 0.1))
    assert (found.num_people, found.num_runs, found.num_worlds) == (5, 3, 2)


def test_a_single_run_is_the_interval_of_its_differences() -> None:
    rng = np.random.default_rng(0)
    pids, values = rng.integers(1, 30, 100), rng.normal(0.1, 0.3, 100)
    found = compute_difference([PairedRun(pids, values)], num_resamples=4000, seed=1)
    ((low, high),) = compute_intervals(
        {"x": values}, pids=pids, num_resamples=4000, seed=1
    ).values()
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_worlds_runs_and_parts_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    runs = []
    for world, num_people, num_runs in (("b", 5, 3), ("a", 4, 1)):
        pids = rng.integers(0, num_people, 30) * 7
        parts = rng.integers(0, 2, 30) + 4
        runs += [PairedRun(pids, rng.normal(0, 1, 30), parts, world) for _ in range(num_runs)]
    found = compute_difference(runs, num_resamples=200, seed=9)
    totals = [0.0] * 200
    for number, world in enumerate(("a", "b")):
        own = [run for run in runs if run.world == world]
        people = sorted(set(own[0].pids.tolist()))
        of_people, of_runs = sample_rng(9, 74, number), sample_rng(9, 75, number)
        drawn = [of_people.integers(len(people), size=len(people) - 1) for _ in range(200)]
        chosen = [of_runs.integers(len(own), size=max(len(own) - 1, 1)) for _ in range(200)]
        for resample in range(200):
            scores = []
            for run in chosen[resample]:
                means = []
                for part in (4, 5):
                    values = [
                        value
                        for person in drawn[resample]
                        for pid, value, where in zip(
                            own[run].pids, own[run].differences, own[run].parts, strict=True
                        )
                        if pid == people[person] and where == part
                    ]
                    if values:
                        means.append(sum(values) / len(values))
                scores.append(sum(means) / len(means))
            totals[resample] += sum(scores) / len(scores) / 2
    assert (found.low, found.high) == pytest.approx(find_middle(totals), abs=1e-12)
    assert (found.num_people, found.num_runs, found.num_worlds) == (9, 4, 2)


def cover(
    *, num_worlds: int, num_runs: int, people: float, seeds: float, both: float
) -> tuple[float, float]:
    """Share of 1,000 experiments of true difference 0.1 whose interval holds it, and its width.

    40 people of three queries; deviations of people, of seeds and of what a seed does to a person.
    """
    held, width = 0, 0.0
    for number in range(1000):
        rng = np.random.default_rng(number)
        runs = []
        for world in range(num_worlds):
            of_people = rng.normal(0.1, people, 40)
            for _ in range(num_runs):
                own = of_people + rng.normal(0, seeds) + rng.normal(0, both, 40)
                values = own.repeat(3) + rng.normal(0, 0.05, 120)
                runs.append(PairedRun(np.arange(40).repeat(3), values, world=str(world)))
        found = compute_difference(runs, num_resamples=300, seed=number)
        held += found.low <= 0.1 <= found.high
        width += (found.high - found.low) / 1000
    return held / 1000, width


@pytest.mark.slow
def test_the_truth_is_covered_by_people_alone_and_by_people_and_seeds() -> None:
    one, wide = cover(num_worlds=1, num_runs=1, people=0.2, seeds=0.0, both=0.1)
    assert 0.91 < one < 0.97
    three, narrow = cover(num_worlds=2, num_runs=3, people=0.2, seeds=0.02, both=0.1)
    assert 0.93 < three <= 1
    assert narrow < wide  # more runs and worlds know more


@pytest.mark.slow
def test_the_interval_of_one_run_does_not_know_other_seeds_and_that_of_three_does() -> None:
    one, narrow = cover(num_worlds=1, num_runs=1, people=0.1, seeds=0.05, both=0.05)
    three, wide = cover(num_worlds=1, num_runs=3, people=0.1, seeds=0.05, both=0.05)
    assert one < 0.6
    assert 0.85 < three < 0.95  # three numbers cannot say more: the docstring warns of it
    assert wide > narrow


def test_the_same_seed_gives_the_same_interval_in_any_order_of_worlds() -> None:
    rng = np.random.default_rng(0)
    runs = [PairedRun(np.arange(9), rng.normal(0, 1, 9), world=name) for name in "abab"]
    one = compute_difference(runs, num_resamples=50, seed=1)
    assert one == compute_difference(runs, num_resamples=50, seed=1)
    assert one == compute_difference([*runs[1::2], *runs[::2]], num_resamples=50, seed=1)
    assert one != compute_difference(runs, num_resamples=50, seed=2)


def test_one_person_has_a_difference_and_no_interval() -> None:
    found = compute_difference([make_run([4, 4], [0.1, 0.3])], num_resamples=9, seed=0)
    assert found.value == pytest.approx(0.2)
    assert np.isnan([found.low, found.high]).all()
    assert found.num_people == 1


def test_equal_models_differ_by_nothing() -> None:
    found = compute_difference([make_run([1, 2, 3], [0, 0, 0])], num_resamples=9, seed=0)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_what_is_not_paired_is_refused() -> None:
    run = make_run([1, 2], [0.1, 0.2])
    for other in (
        make_run([1, 3], [0, 0]),
        make_run([1], [0]),
        make_run([1, 2], [0, 0], parts=[0, 1]),
    ):
        with pytest.raises(ValueError, match="not scored on the same queries"):
            compute_difference([run, other], num_resamples=5, seed=0)
        compute_difference([run, replace(other, world="x")], num_resamples=5, seed=0)
    with pytest.raises(ValueError, match="0 runs"):
        compute_difference([], num_resamples=5, seed=0)
    with pytest.raises(ValueError, match="do not describe the same queries"):
        make_run([1, 2], [0.1])
    with pytest.raises(ValueError, match="do not describe the same queries"):
        make_run([], [])
