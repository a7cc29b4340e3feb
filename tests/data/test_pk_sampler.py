from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from vills.config.checks import ConfigError
from vills.data.samplers import PKSampler, build_groups


def build(pids: Sequence[int], num_ids: int, num_instances: int, seed: int) -> PKSampler:
    return PKSampler([build_groups(pids)], num_ids, num_instances, seed)


@pytest.mark.parametrize("seed", range(3))
def test_pk_batches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pids = rng.integers(0, 12, 100).tolist()
    sampler = build(pids, 4, 3, seed=seed)
    for epoch in range(4):
        batches = sampler.epoch(epoch)
        assert len(batches) == sampler.num_batches
        for (batch,) in batches:
            people = [pids[row] for row in batch]
            assert len(batch) == 12
            assert sorted(Counter(people).values()) == [3, 3, 3, 3]
            assert people == [p for p in people[::3] for _ in range(3)]
            assert len(set(batch)) == 12
        seen = Counter(row for (batch,) in batches for row in batch)
        assert len(seen) > 0.85 * len(pids)
        assert batches != sampler.epoch(epoch + 1)
    assert build(pids, 4, 3, seed=seed).epoch(2) == sampler.epoch(2)


def test_pk_repeats_samples_of_people_with_few() -> None:
    sampler = build([5] * 2 + [6] * 9 + [7], 2, 4, seed=0)
    for (batch,) in sampler.epoch(0):
        assert len(batch) == 8
    flat = [row for epoch in range(5) for (batch,) in sampler.epoch(epoch) for row in batch]
    assert set(flat) == set(range(12))


def test_pk_with_one_person_who_has_most() -> None:
    sampler = build([0] * 1000 + [1] * 4 + [2] * 4, 2, 4, seed=0)
    assert sampler.num_batches == 2
    for (batch,) in sampler.epoch(0):
        assert any(row < 1000 for row in batch)
        assert any(row >= 1000 for row in batch)


def test_pk_is_refused_for_too_few_people() -> None:
    with pytest.raises(ConfigError, match="num_ids = 3 .* the 2 people"):
        build([0, 0, 1], 3, 2, seed=0)


def build_two(seed: int = 0) -> tuple[PKSampler, list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    images = [np.arange(1000 * p, 1000 * p + rng.integers(1, 30)) for p in range(7)]
    clips = [np.arange(1000 * p + 500, 1000 * p + 500 + rng.integers(1, 5)) for p in range(7)]
    return PKSampler([images, clips], 3, 4, seed), images, clips


@pytest.mark.parametrize("seed", range(3))
def test_two_pools_share_the_people_of_a_batch(seed: int) -> None:
    sampler, images, clips = build_two(seed)
    seen: list[Counter[int]] = [Counter(), Counter()]
    for epoch in range(3):
        batches = sampler.epoch(epoch)
        assert len(batches) == sampler.num_batches
        for batch in batches:
            people = [[sample // 1000 for sample in part] for part in batch]
            assert people[0] == people[1]
            assert sorted(Counter(people[0]).values()) == [4, 4, 4]
            assert all(sample % 1000 < 500 for sample in batch[0])
            assert all(sample % 1000 >= 500 for sample in batch[1])
            for count, part in zip(seen, batch, strict=True):
                count.update(part)
    # the fuller pool decides how often a person comes: nearly every image once an epoch
    assert len(seen[0]) > 0.9 * sum(len(part) for part in images)
    assert len(seen[1]) == sum(len(part) for part in clips)
    for person in range(7):  # within a person, clips come equally often
        counts = [seen[1][int(sample)] for sample in clips[person]]
        assert max(counts) - min(counts) <= 0.5 * max(counts) + 4


def test_two_equal_pools_are_drawn_apart() -> None:
    pool = build_groups([0] * 8 + [1] * 8)
    batches = PKSampler([pool, pool], 2, 4, 0).epoch(0)
    assert any(sorted(first) != sorted(second) for first, second in batches)
