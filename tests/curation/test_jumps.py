"""Jumps of colour against the definition, written as plain loops."""

from itertools import combinations, product

import numpy as np
import pytest

from vills.curation.jumps import (
    LEAST_CROPS,
    WINDOW,
    compute_jumps,
    describe_colours,
    find_jumps,
)


def _draw(num: int, *, seed: int, mean: np.ndarray | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(8, 2.0) if mean is None else mean, size=num)
    return np.sqrt(shares)  # [n, D] of length 1


def _measure(before: np.ndarray, after: np.ndarray) -> float:
    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return 1 - float((a * b).sum())

    across = np.mean([distance(a, b) for a, b in product(before, after)])
    within = [np.mean([distance(a, b) for a, b in combinations(k, 2)]) for k in (before, after)]
    return float(across - np.mean(within))


def test_jumps_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    colours, times = _draw(30, seed=2), np.cumsum(rng.uniform(0.02, 0.4, 30))
    expected = np.zeros(30)
    for i in range(30):
        before = [j for j in range(i) if times[i - 1] - times[j] <= WINDOW or i - j <= LEAST_CROPS]
        after = [j for j in range(i, 30) if times[j] - times[i] <= WINDOW or j - i < LEAST_CROPS]
        if min(len(before), len(after)) > 1:
            expected[i] = _measure(colours[before], colours[after])
    np.testing.assert_allclose(compute_jumps(colours, times=times), expected, atol=1e-12)


def test_the_moment_is_found_and_noise_is_not() -> None:
    first, second = np.r_[np.full(4, 9.0), np.full(4, 1.0)], np.r_[np.full(4, 1.0), np.full(4, 9.0)]
    times = (np.arange(40) / 12).tolist()
    changed = [*_draw(23, seed=3, mean=first), *_draw(17, seed=4, mean=second)]
    assert find_jumps(changed, times=times, threshold=0.08) == [23]
    assert find_jumps(list(_draw(40, seed=5, mean=first)), times=times, threshold=0.08) == []
    one_bad_box = list(_draw(40, seed=5, mean=first))
    one_bad_box[20] = _draw(1, seed=6, mean=second)[0]
    assert find_jumps(one_bad_box, times=times, threshold=0.08) == []


def test_few_crops_have_no_jump() -> None:
    for num in range(4):
        assert find_jumps(list(_draw(num, seed=7)), times=[0.0] * num, threshold=0.0) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (128, 48)])
def test_colours_are_of_length_one_and_of_the_middle(shape: tuple[int, int]) -> None:
    crop = np.random.default_rng(8).integers(0, 256, (*shape, 3), dtype=np.uint8)
    colours = describe_colours(crop)
    if shape[0] > 6:
        assert float((colours**2).sum()) == pytest.approx(1, abs=1e-6)
        crop[:, :8] = 0
        np.testing.assert_array_equal(describe_colours(crop), colours)
