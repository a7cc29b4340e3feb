"""Health values against closed forms, and their windows over steps and ranks."""

import math

import pytest
import torch
from torch import nn

from vills.train.health import (
    HealthMonitor,
    TargetWindow,
    compute_entropy,
    compute_gradient_norms,
)


def test_entropy_of_a_uniform_and_of_a_one_hot_target() -> None:
    assert compute_entropy(torch.full((1, 8), 1 / 8)).item() == pytest.approx(math.log(8))
    assert compute_entropy(torch.eye(8)[:1]).item() == 0.0


def test_collapsed_and_varied_teachers_differ_in_the_mean_target_only() -> None:
    varied, collapsed = TargetWindow(), TargetWindow()
    features = torch.eye(4)
    varied.update(targets=torch.eye(4), features=features)
    collapsed.update(targets=torch.eye(4)[[0, 0, 0, 0]], features=features[[0, 0, 0, 0]])
    good, bad = varied.compute(), collapsed.compute()
    assert good["sample_entropy"] == bad["sample_entropy"] == 0.0
    assert good["mean_target_entropy"] == pytest.approx(math.log(4))
    assert bad["mean_target_entropy"] == 0.0
    assert bad["feature_spread"] == 0.0


def test_spread_equals_the_standard_deviation_of_unit_features() -> None:
    features = torch.randn(64, 5, generator=torch.Generator().manual_seed(0)) + 1.0
    window = TargetWindow()
    for chunk in features.split(16):
        window.update(targets=torch.ones(16, 1), features=3.0 * chunk)
    unit = features.double() / features.double().norm(dim=1, keepdim=True)
    expected = unit.std(0, correction=0).mean().item()
    assert window.compute()["feature_spread"] == pytest.approx(expected)
    assert window.num_outputs == 64


def test_rolling_window_waits_for_enough_outputs_and_starts_anew() -> None:
    monitor = HealthMonitor(num_steps=100)
    row = {"image/coarse": (torch.full((600, 4), 0.25), torch.randn(600, 3))}
    monitor.observe(row, step=0)
    assert monitor.compute_rolling() == {}
    monitor.observe(row, step=1)
    values = monitor.compute_rolling()
    assert values["image/coarse/num_outputs"] == 1200
    assert values["image/coarse/sample_entropy"] == pytest.approx(math.log(4))
    assert monitor.compute_rolling() == {}


def test_end_window_covers_the_last_tenth() -> None:
    monitor = HealthMonitor(num_steps=20)
    for step in range(20):
        monitor.observe({"a": (torch.ones(1, 2) / 2, torch.ones(1, 2))}, step=step)
    assert monitor.compute_end()["a/num_outputs"] == 2


def test_state_continues_a_window() -> None:
    row = {"a": (torch.ones(4, 2) / 2, torch.randn(4, 2))}
    undisturbed, first = HealthMonitor(num_steps=2), HealthMonitor(num_steps=2)
    second = HealthMonitor(num_steps=2)
    undisturbed.observe(row, step=0)
    first.observe(row, step=0)
    second.load_states([first.get_state()], device=torch.device("cpu"))
    undisturbed.observe(row, step=1)
    second.observe(row, step=1)
    assert second.compute_end() == undisturbed.compute_end()


def test_two_ranks_states_merge_into_one() -> None:
    rows = torch.softmax(torch.randn(8, 3), dim=1), torch.randn(8, 2)
    whole, left, right, merged = (HealthMonitor(num_steps=1) for _ in range(4))
    whole.observe({"a": rows}, step=0)
    left.observe({"a": (rows[0][:4], rows[1][:4])}, step=0)
    right.observe({"a": (rows[0][4:], rows[1][4:])}, step=0)
    merged.load_states([left.get_state(), right.get_state()], device=torch.device("cpu"))
    assert merged.compute_end() == pytest.approx(whole.compute_end())


def test_gradient_norm_of_each_term_and_zero_where_it_has_none() -> None:
    layer = nn.Linear(2, 1, bias=False)
    x = torch.tensor([[3.0, 4.0]])
    terms = {"a": layer(x).sum(), "b": 2.0 * layer(x).sum(), "c": torch.zeros(())}
    norms = compute_gradient_norms(terms, parameters=layer.parameters())
    assert norms == pytest.approx({"a": 5.0, "b": 10.0, "c": 0.0})
    assert layer.weight.grad is None
