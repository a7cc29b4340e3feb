"""TAR@FAR by brute force; what fast-reid prints instead."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from vills.evaluation.metrics import compute_tar_at_far

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
        scores = compute_tar_at_far(genuine, impostor, FARS)
        assert (scores.num_genuine, scores.num_impostor) == (num_genuine, num_impostor)
        for far in FARS:
            expected = find_tar(genuine.tolist(), impostor.tolist(), far)
            assert scores.tars[far] == pytest.approx(expected, abs=1e-12, nan_ok=True)
            accepted = np.mean(impostor > scores.thresholds[far]) if len(impostor) else 0.0
            assert np.isnan(expected) or accepted <= far
            num_numbers += not np.isnan(expected)
    assert num_numbers > 500


def test_tar_grows_with_far() -> None:
    rng = np.random.default_rng(1)
    genuine, impostor = rng.normal(1, 1, 400).round(1), rng.normal(0, 1, 3000).round(1)
    fars = np.linspace(1 / 3000, 1, 500).tolist()
    tars = list(compute_tar_at_far(genuine, impostor, fars).tars.values())
    assert tars == sorted(tars)
    assert tars[-1] == 1.0


def test_a_rate_below_one_in_n_is_not_resolved() -> None:
    scores = compute_tar_at_far(np.array([0.9, 0.1]), np.linspace(0, 0.5, 100), [0.01, 0.0099])
    assert scores.tars[0.01] == 0.5
    assert np.isnan(scores.tars[0.0099])
    assert np.isnan(scores.thresholds[0.0099])
    # 0.29 * 100 is 28.999999999999996: the 29th impostor is within the rate all the same.
    impostor = np.arange(100.0)
    scores = compute_tar_at_far(np.array([70.5]), impostor, [0.29])
    assert scores.tars[0.29] == 1.0
    assert scores.thresholds[0.29] == 70.0


def test_a_tie_is_accepted_whole_or_not_at_all() -> None:
    impostor = np.array([0.8, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    scores = compute_tar_at_far(np.array([0.9, 0.8, 0.5]), impostor, [0.1, 0.2, 0.3])
    assert list(scores.tars.values()) == pytest.approx([1 / 3, 1 / 3, 1])


def test_pairs_without_a_score_are_misses_and_no_impostors() -> None:
    genuine = np.array([[0.9, np.nan], [0.8, np.nan]])
    impostor = np.array([0.1, 0.2, np.nan, 0.3, 0.4])
    scores = compute_tar_at_far(genuine, impostor, [0.25, 1.0])
    assert (scores.num_genuine, scores.num_impostor) == (4, 4)
    assert scores.tars == {0.25: 0.5, 1.0: 0.5}
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
    tar = compute_tar_at_far(genuine, impostor, [far]).tars[far]
    threshold = np.sort(impostor)[-201]
    assert tar == np.mean(genuine > threshold)
    assert abs(tar - wrong) > 0.2
