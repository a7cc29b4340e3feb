"""Paired differences against hand cases, a plain loop, a known truth, and edge cases."""

from dataclasses import replace

import numpy as np
import pytest

from vills.data.samplers import sample_rng
from vills.evaluation.bootstrap import compute_intervals
from vills.evaluation.difference import PairedRun, compute_difference


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


def test_the_truth_is_covered_by_people_alone_and_by_people_and_seeds() -> None:
    one, wide = cover(num_worlds=1, num_runs=1, people=0.2, seeds=0.0, both=0.1)
    assert 0.91 < one < 0.97
    three, narrow = cover(num_worlds=2, num_runs=3, people=0.2, seeds=0.02, both=0.1)
    assert 0.93 < three <= 1
    assert narrow < wide  # more runs and worlds know more


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
