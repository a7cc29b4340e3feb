"""A sweep on a terminal."""

import pytest

from tests.launching import DAG, Bench, build_context, save_error
from vills.config.resources import EstimateConfig, Resources
from vills.runner.clusters.jobs import JobState
from vills.runner.sweeps.sweeping import build_sweep_plan, launch_sweep, load_sweep_state
from vills.runner.sweeps.text import render_plan, render_state

RATES = EstimateConfig({"32": 6.0}, {"default": 30}, source="a guess")


def launch(bench: Bench, *overrides: str) -> None:
    launch_sweep(build_context(bench), "small", overrides, cluster="slurm", say=bench.said.append)


def tell_plan(bench: Bench, *overrides: str) -> str:
    state = build_sweep_plan(build_context(bench), "small", overrides)
    return render_plan(
        state, get_resources=lambda stage: Resources(gpus_per_node=2, estimate=RATES)
    )


def tell_state(bench: Bench) -> str:
    state = load_sweep_state(build_context(bench), "small")
    return render_state(state)


def find_line(text: str, start: str) -> str:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return line


def test_a_plan_on_an_empty_clone(bench: Bench) -> None:
    text = tell_plan(bench)
    sweep = build_sweep_plan(build_context(bench), "small", []).sweep
    assert text.startswith("small: Weight of KoLeo\n")
    line = find_line(text, "alpha")
    assert sweep.points[1].fingerprint[:12] in line
    miniature = sweep.points[1].plan["miniature"].key[:12]
    assert "to do: miniature" in line
    assert f"waits for miniature {miniature}: {', '.join(DAG[1:])}" in line
    assert "cells that stay empty, since params.yaml lacks evaluate@prid2011" in text
    assert text.endswith("Nothing was submitted.")
    assert "stale" not in text


def test_costs_add_up(bench: Bench) -> None:
    build_context(bench)
    (bench.project / "slurm").mkdir()
    for stage in ("miniature", "curate", "lse", "pretrain", "finetune", "evaluate"):
        (bench.project / "slurm" / f"{stage}.yaml").write_text(
            "gpus_per_node: 2\nestimate:\n  images_per_gpu_second: {'32': 0.0005}\n"
            "  minutes: {default: 30}\n  source: a guess\n"
        )
    text = tell_plan(bench)
    # 72 images at 0.0005 a second on each of 2: 20 hours, under a limit of 1 h
    row = find_line(text, "pretrain  ").split()
    assert row[:5] == ["pretrain", "2", "46", "20", "80"]
    assert find_line(text, "finetune  ").split()[:5] == ["finetune", "2", "2", "0.5", "2"]
    assert find_line(text, "all").split() == ["all", "9", "53", "87"]
    assert find_line(text, "lse:") == "  lse: a guess"


def test_an_unknown_cost_is_a_question_mark(bench: Bench) -> None:
    text = tell_plan(bench)
    assert find_line(text, "pretrain  ").split()[3:5] == ["?", "?"]
    assert "no images_per_gpu_second is given for width 32" in text


@pytest.mark.slow
def test_a_plan_says_what_is_stale_and_why(bench: Bench) -> None:
    launch(bench)
    state = load_sweep_state(build_context(bench), "small")
    for label, plan in state.plans.items():
        for name in DAG[3:] if label == "alpha" else DAG:
            folder = bench.finish(plan, name)
            note = bench.runs / "_nodes" / plan[name].key / "run.json"
            note.write_text(f'{{"fingerprint": "{folder.name}"}}')
    assert find_line(tell_plan(bench), "alpha").endswith("  done")
    assert "  nothing" in tell_plan(bench)
    text = tell_plan(bench, "pretrain.max_steps=3")
    assert "stale: pretrain" in find_line(text, "alpha")
    assert "  pretrain: pretrain.max_steps: 12 became 3 (2 points)" in text


def test_the_table_of_a_launched_sweep(bench: Bench) -> None:
    launch(bench)
    state = load_sweep_state(build_context(bench), "small")
    plan = state.plans["zeta"]
    job = state.states[plan["pretrain"].key].job
    bench.finish(plan, *DAG[:3])
    bench.slurm.states[job] = JobState("ended", "FAILED", "exit 1:0")
    save_error(bench.runs, plan["pretrain"].key, "FloatingPointError: NaN in rank 3")
    text = tell_state(bench)
    assert text.startswith("small: 0 of 2 points done (runs: 3 done, 1 FAILED, 5 queued)")
    assert "shared by all points: miniature done, curate done, lse done" in text
    assert find_line(text, "point").split() == ["point", *DAG[3:]]
    row = find_line(text, "zeta  ")
    assert row.split()[:3] == ["zeta", "FAILED", "queued"]
    assert (
        f"  zeta: pretrain: FAILED, job {job}: FAILED exit 1:0: FloatingPointError: NaN in rank 3"
        in text
    )
    assert "--retry failed submits again" in text


def test_attempts_show_while_it_goes_on(bench: Bench) -> None:
    launch(bench)
    state = load_sweep_state(build_context(bench), "small")
    plan = state.plans["zeta"]
    job = state.states[plan["miniature"].key].job
    bench.begin(plan, "miniature")
    bench.begin(plan, "miniature")
    bench.slurm.states[job] = JobState("running", "RUNNING")
    assert f"miniature runs {job} (2 attempts)" in tell_state(bench)
