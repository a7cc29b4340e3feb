from collections import Counter

import pytest

from vills.config.checks import ConfigError
from vills.data.samplers import PretrainSampler


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (7, 7), (5, 12), (64, 8)])
def test_images_are_an_endless_stream_of_permutations(size: int, batch: int) -> None:
    sampler = PretrainSampler(size, 0, batch, 1, seed=3)
    steps = 4 * size // batch + 1
    stream = [pair for step in range(steps) for pair in sampler.batch(step).image]
    for epoch in range(len(stream) // size):
        part = stream[epoch * size : (epoch + 1) * size]
        assert {e for _, e in part} == {epoch}
        assert sorted(index for index, _ in part) == list(range(size))
    assert stream[:size] != [(i, 0) for i in range(size)]
    assert sampler.steps_per_epoch == size / batch


def test_a_step_needs_no_step_before_it() -> None:
    sampler = PretrainSampler(11, 9, 4, 3, seed=0)
    forward = [sampler.batch(step) for step in range(40)]
    fresh = PretrainSampler(11, 9, 4, 3, seed=0)
    assert [fresh.batch(step) for step in reversed(range(40))] == forward[::-1]
    assert PretrainSampler(11, 9, 4, 3, seed=1).batch(0) != forward[0]


@pytest.mark.parametrize(("videos", "batch"), [(9, 4), (8, 8), (13, 2)])
def test_videos_of_a_batch_are_distinct(videos: int, batch: int) -> None:
    sampler = PretrainSampler(0, videos, 1, batch, seed=0)
    counts: Counter[int] = Counter()
    epochs = 60
    for step in range(epochs * (videos // batch)):
        rows = sampler.batch(step).video
        assert len({index for index, _ in rows}) == batch
        assert len(set(rows)) == batch
        counts.update(index for index, _ in rows)
    assert len(counts) == videos
    assert min(counts.values()) > 0.6 * epochs * (videos // batch) * batch / videos
    assert sampler.steps_per_epoch == videos // batch


def test_too_few_videos() -> None:
    with pytest.raises(ConfigError, match="pretrain.video_batch = 4 .* the 3 distinct videos"):
        PretrainSampler(9, 3, 2, 4, seed=0)
