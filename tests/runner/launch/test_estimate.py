"""What a sweep costs, from a throughput that somebody states."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.launching import Bench, build_planner, load_steps
from vills.config.resources import EstimateConfig, Resources, load_resources
from vills.config.sweep import load_sweep
from vills.runner.plan.estimate import compute_estimate, count_images
from vills.runner.plan.nodes import Plan, select_steps

ROOT = Path(__file__).parents[3]


def plan_paper(bench: Bench, *overrides: str) -> Plan:
    steps = load_steps("paper_vits", overrides)
    return build_planner(bench.project).build_plan(select_steps(steps, ["evaluate@market1501"]))


def test_table_3_at_the_papers_scale(bench: Bench) -> None:
    """100 h on 8 GPUs a point under a limit of 48 h; 13 points: 10,400 GPU-hours."""
    sweep = load_sweep("lambda_grid", folder=ROOT / "sweeps")
    resources = load_resources(ROOT, "pretrain")
    point = next(iter(sweep.points.values()))
    first = plan_paper(bench, *sweep.overrides, *point.overrides)
    estimate = compute_estimate(first["pretrain"], first, resources)
    assert count_images(first) == 4_180_243
    assert (estimate.jobs, estimate.gpus) == (3, 8)
    assert estimate.wall_hours == pytest.approx(100, rel=1e-3)
    assert len(sweep.points) * estimate.gpu_hours == pytest.approx(10_400, rel=1e-3)
    assert estimate.why == "418,024,300 images at 145.1 a second on each of 8"


def test_more_nodes_take_less_time_and_the_same_gpu_hours(bench: Bench) -> None:
    plan = plan_paper(bench)
    one = compute_estimate(plan["pretrain"], plan, load_resources(ROOT, "pretrain"))
    override = ["slurm.pretrain.nodes=4"]
    four = compute_estimate(plan["pretrain"], plan, load_resources(ROOT, "pretrain", override))
    assert four.wall_hours == pytest.approx(one.wall_hours / 4)
    assert four.gpu_hours == pytest.approx(one.gpu_hours)
    assert (four.jobs, four.gpus) == (1, 32)


def test_an_unknown_throughput_is_said(bench: Bench) -> None:
    plan = plan_paper(bench)
    estimate = compute_estimate(plan["pretrain"], plan, Resources())
    assert (estimate.minutes, estimate.jobs) == (None, 1)
    assert estimate.why == "no images_per_gpu_second is given for width 384"
    other = compute_estimate(plan["evaluate@market1501"], plan, Resources())
    assert (other.minutes, other.why) == (None, "no minutes are given")
    assert other.gpu_hours == 0


def test_stated_minutes(bench: Bench) -> None:
    plan = bench.plan()
    stated = EstimateConfig(minutes={"default": 240, "market1501": 100})
    resources = Resources(gpus_per_node=2, timeout_min=60, estimate=stated)
    estimate = compute_estimate(plan["finetune@market1501"], plan, resources)
    assert (estimate.minutes, estimate.jobs) == (100, 2)
    assert estimate.gpu_hours == pytest.approx(100 / 60 * 2)
    assert compute_estimate(plan["lse"], plan, resources).minutes == 240


def test_images_of_the_embedded_world_and_steps(bench: Bench) -> None:
    plan = bench.plan()
    assert count_images(plan) == 24
    rates = EstimateConfig(images_per_gpu_second={"32": 6.0})
    estimate = compute_estimate(plan["pretrain"], plan, Resources(estimate=rates))
    assert estimate.minutes == pytest.approx(12 * 6 / 6.0 / 60)
    assert count_images({}) is None
    endless = bench.plan("pretrain.max_steps=0")
    longer = compute_estimate(endless["pretrain"], endless, Resources(estimate=rates))
    assert longer.minutes == pytest.approx(100 * 24 / 6.0 / 60)
    node = replace(endless["pretrain"])
    assert compute_estimate(node, {}, Resources(estimate=rates)).why == (
        "the number of images is not known"
    )
