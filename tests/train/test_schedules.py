"""Schedules against closed forms."""

import math

import pytest

from vills.config.pretrain import OptimConfig, PretrainConfig
from vills.train.schedules import (
    Schedules,
    compute_cosine,
    compute_linear,
    compute_num_steps,
    compute_warmup_cosine,
)


def test_warmup_is_linear_and_reaches_the_peak_at_its_last_step() -> None:
    rates = [
        compute_warmup_cosine(i, peak=2.0, end=0.1, warmup_steps=4, num_steps=10) for i in range(4)
    ]
    assert rates == [0.5, 1.0, 1.5, 2.0]


def test_cosine_starts_at_the_peak_after_warmup_and_ends_at_the_last_step() -> None:
    def rate(step: int) -> float:
        return compute_warmup_cosine(step, peak=2.0, end=0.1, warmup_steps=4, num_steps=11)

    assert rate(4) == pytest.approx(2.0)
    assert rate(7) == pytest.approx(1.05)  # halfway
    assert rate(10) == pytest.approx(0.1)
    assert rate(8) == pytest.approx(0.1 + 0.95 * (1 + math.cos(math.pi * 4 / 6)))


def test_warmup_as_long_as_the_run_has_no_cosine() -> None:
    rates = [
        compute_warmup_cosine(i, peak=1.0, end=0.0, warmup_steps=4, num_steps=4) for i in range(4)
    ]
    assert rates == [0.25, 0.5, 0.75, 1.0]


def test_cosine_of_a_single_step_is_its_start() -> None:
    assert compute_cosine(0, start=0.996, end=1.0, num_steps=1) == pytest.approx(0.996)


def test_linear_holds_its_end() -> None:
    values = [compute_linear(i, start=0.04, end=0.07, num_steps=3) for i in range(5)]
    assert values == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07])
    assert compute_linear(0, start=0.04, end=0.07, num_steps=0) == 0.07


def test_number_of_steps_counts_epochs_and_max_steps_shortens_the_schedule() -> None:
    assert compute_num_steps(PretrainConfig(epochs=2.5), steps_per_epoch=10.2) == 26
    assert compute_num_steps(PretrainConfig(epochs=0.001), steps_per_epoch=10.0) == 1
    assert compute_num_steps(PretrainConfig(epochs=2.5, max_steps=9), steps_per_epoch=10.0) == 9


def test_pretraining_schedules_follow_the_configuration() -> None:
    optim = OptimConfig(
        base_lr=1e-3,
        min_lr=1e-5,
        warmup_epochs=2.0,
        weight_decay=0.04,
        weight_decay_end=0.4,
        momentum=0.99,
        freeze_prototypes_epochs=1.0,
    )
    config = PretrainConfig(
        optim=optim,
        image_batch=512,
        teacher_temperature_start=0.02,
        teacher_temperature=0.04,
        temperature_warmup_epochs=4.0,
    )
    plan = Schedules(config, num_steps=100, steps_per_epoch=5)
    assert plan.compute_lr(0) == pytest.approx(2e-3 / 10)
    assert plan.compute_lr(9) == pytest.approx(2e-3)
    assert plan.compute_lr(99) == pytest.approx(1e-5)
    assert [plan.compute_prototype_lr(i) for i in range(5)] == [0.0] * 5
    assert plan.compute_prototype_lr(5) == plan.compute_lr(5)
    assert plan.compute_weight_decay(0) == pytest.approx(0.04)
    assert plan.compute_weight_decay(99) == pytest.approx(0.4)
    assert plan.compute_momentum(0) == pytest.approx(0.99)
    assert plan.compute_momentum(99) == pytest.approx(1.0)
    assert plan.compute_teacher_temperature(10) == pytest.approx(0.03)
    assert plan.compute_teacher_temperature(50) == pytest.approx(0.04)


def test_a_half_life_makes_the_same_share_of_any_run_count_for_half() -> None:
    for num_steps in (100, 5000):
        config = PretrainConfig(optim=OptimConfig(half_life=0.05))
        plan = Schedules(config, num_steps=num_steps, steps_per_epoch=10.0)
        momentum = {plan.compute_momentum(step) for step in (0, num_steps // 2, num_steps - 1)}
        assert len(momentum) == 1
        assert momentum.pop() ** (0.05 * num_steps) == pytest.approx(0.5)
