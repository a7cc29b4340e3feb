"""Sweeps planned, launched, looked at and ended; no job computes anything."""

from pathlib import Path
from typing import Any

import pytest

from tests.launching import SWEEP, Bench, build_context, build_planner
from vills.config.checks import ConfigError
from vills.runner.clusters.jobs import JobState
from vills.runner.plan.registry import Registry
from vills.runner.sweeps import sweep as sweep_module
from vills.runner.sweeps.sweep import Sweep, build_sweep, load_earlier, load_record, save_record
from vills.runner.sweeps.sweeping import (
    build_sweep_plan,
    cancel_sweep,
    find_logs,
    launch_sweep,
    list_over,
    load_sweep_state,
)


def build(bench: Bench, *overrides: str) -> Sweep:
    build_context(bench)
    planner = build_planner(bench.project)
    return build_sweep(bench.project, "small", overrides, planner=planner, runs=bench.runs)


def get_pretrain(sweep: Sweep, label: str) -> dict[str, Any]:
    (point,) = [point for point in sweep.points if point.label == label]
    return dict(point.plan["pretrain"].step.sections["pretrain"])


@pytest.mark.slow
def test_points_seeds_and_what_they_need(bench: Bench) -> None:
    sweep = build(bench, "seeds=[0,3]")
    labels = ["zeta, seed 0", "zeta, seed 3", "alpha, seed 0", "alpha, seed 3"]
    assert [point.label for point in sweep.points] == labels
    assert get_pretrain(sweep, "zeta, seed 3")["seed"] == 3
    plan = sweep.points[1].plan
    assert plan["finetune@market1501"].step.sections["finetune"]["seed"] == 3
    assert "finetune@mars" not in plan, "no cell needs it"
    assert {point.lacking for point in sweep.points} == {("evaluate@prid2011",)}
    assert len({point.fingerprint for point in sweep.points}) == 4
    assert len(sweep.nodes) == 3 + 4 * 3
    assert sweep.params == "profile tiny"


@pytest.mark.slow
def test_a_points_own_overrides_come_last(bench: Bench) -> None:
    sweep = build(bench, "pretrain.koleo_weight=9", "pretrain.masking_weight=2", "title=Other")
    assert sweep.points[0].overrides == (
        "pretrain.masking_weight=1.0",
        "pretrain.koleo_weight=9",
        "pretrain.masking_weight=2",
        "pretrain.koleo_weight=1.0",
    )
    section = get_pretrain(sweep, "zeta")
    assert (section["koleo_weight"], section["masking_weight"]) == (1, 2)
    assert sweep.config.title == "Other"


@pytest.mark.slow
def test_a_profile_in_place_of_params_yaml(bench: Bench) -> None:
    build_context(bench)
    (bench.project / "params.yaml").write_text("nonsense")
    sweep = build(bench, "profile=tiny", "pretrain.max_steps=3")
    assert get_pretrain(sweep, "zeta")["max_steps"] == 3
    assert sweep.params == "profile tiny"


@pytest.mark.slow
def test_steps_are_composed_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(bench)
    composed: list[object] = []
    real = sweep_module.load_point_params

    def compose(project: Path, overrides: tuple[str, ...], *, seed: int | None) -> object:
        composed.append(overrides)
        return real(project, overrides, seed=seed)

    monkeypatch.setattr(sweep_module, "load_point_params", compose)
    assert build(bench).fingerprint == first.fingerprint
    assert composed == []
    params = bench.project / "params.yaml"
    params.write_text(params.read_text().replace("image_batch: 6", "image_batch: 4"))
    assert build(bench).fingerprint != first.fingerprint
    assert len(composed) == 2


@pytest.mark.parametrize(
    "name", ["config/profiles/new.yaml", "pipeline/new.py", "config/deep/a.py"]
)
def test_the_cache_knows_the_code_that_composes(
    bench: Bench, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "DEFAULT_ROOT", tmp_path / "vills")
    before = sweep_module._describe_source(bench.project)
    path = tmp_path / "vills" / name
    path.parent.mkdir(parents=True)
    path.write_text("x: 1")
    after = sweep_module._describe_source(bench.project)
    assert before != after
    path.write_text("x: 2")
    assert sweep_module._describe_source(bench.project) != after
    monkeypatch.setenv("VILLS_WEIGHTS", "/elsewhere")
    assert sweep_module._describe_source(bench.project)[-1] == "/elsewhere"


@pytest.mark.slow
def test_a_record_comes_back_as_it_was(bench: Bench) -> None:
    sweep = build(bench)
    assert load_record(bench.runs, "small") is None
    save_record(bench.runs, sweep)
    record = load_record(bench.runs, "small")
    assert record is not None
    assert [point.label for point in record.points] == ["zeta", "alpha"], "the order of the rows"
    assert list(record.config.columns) == ["market_map", "market_r1", "prid_map"]
    assert record == sweep
    assert record.fingerprint == sweep.fingerprint
    assert load_earlier(bench.runs, sweep) == {}


def test_a_record_remembers_the_edition_before(bench: Bench) -> None:
    first, second = build(bench), build(bench, "pretrain.max_steps=3")
    for sweep in (first, second, second):
        save_record(bench.runs, sweep)
    assert set(load_earlier(bench.runs, second)["nodes"]) == set(first.nodes)
    assert load_earlier(bench.runs, first)["points"].keys() == {"zeta", "alpha"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "overrides", "said"),
    [
        ("other", [], "small"),
        ("small", ["pretrain.koleo=1"], "koleo"),
        ("small", ["nonsense=1"], "nonsense=1"),
        ("small", ["~points.beta"], "beta"),
        ("small", ["profile=tinny"], "tinny"),
        ("small", ["points.zeta.overrides=['pretrain.koleo_weight=-1']"], "koleo_weight"),
    ],
)
def test_what_is_unknown_is_refused(
    bench: Bench, file: str, overrides: list[str], said: str
) -> None:
    context = build_context(bench)
    with pytest.raises(ConfigError, match=said) as caught:
        build_sweep_plan(context, file, overrides)
    assert "What to do" in str(caught.value)


def test_a_sweep_of_which_no_cell_can_be_filled_is_refused(bench: Bench) -> None:
    context = build_context(bench, sweep=SWEEP.replace("evaluate: market1501", "evaluate: ltcc"))
    with pytest.raises(ConfigError, match=r"none of evaluate@ltcc, evaluate@prid2011.*What to do"):
        build_sweep_plan(context, "small", [])
    assert bench.slurm.batches == []


def launch(bench: Bench, *overrides: str, retry: bool = False) -> Sweep:
    context = build_context(bench)
    return launch_sweep(
        context, "small", overrides, cluster="slurm", retry=retry, say=bench.said.append
    ).sweep


def test_launched_twice_every_node_is_asked_for_once(bench: Bench) -> None:
    sweep = launch(bench)
    asked = [key for batch in bench.slurm.batches for key in batch.keys]
    assert sorted(asked) == sorted(sweep.nodes)
    launch(bench)
    assert len(bench.slurm.batches) == 6
    assert "tracking: off (VILLS_TRACKING); the journals have every point" in bench.said


def test_planning_asks_for_nothing(bench: Bench) -> None:
    state = build_sweep_plan(build_context(bench), "small", [])
    assert bench.slurm.batches == []
    assert {s.state for s in state.states.values()} == {"to do", "waits"}
    assert set(state.estimates) == set(state.sweep.nodes)
    assert not state.is_done("zeta")
    assert state.is_over()
    assert load_record(bench.runs, "small") is None


def test_a_look_needs_no_project(bench: Bench) -> None:
    launch(bench)
    (bench.project / "params.yaml").write_text("nonsense")
    state = load_sweep_state(build_context(bench), "small")
    assert {s.state for s in state.states.values()} == {"queued"}
    assert state.sweep.lacking == ["evaluate@prid2011"]
    with pytest.raises(ConfigError, match=r"'other' was not launched here.*launch.py other"):
        load_sweep_state(build_context(bench), "other")


def test_what_is_over_is_listed_once(bench: Bench) -> None:
    sweep = launch(bench)
    job = next(iter(bench.slurm.states))
    bench.slurm.states[job] = JobState("ended", "FAILED")
    state = load_sweep_state(build_context(bench), "small")
    assert [title for title, _ in list_over(state).values()] == ["zeta: miniature"]
    assert not state.is_over()
    assert set(state.states) == set(sweep.nodes)


def test_cancel_ends_the_jobs_of_points_that_there_are(bench: Bench) -> None:
    launch(bench)
    context = build_context(bench)
    with pytest.raises(ConfigError, match=r"point of small = 'beta'.*zeta, alpha"):
        cancel_sweep(context, "small", points=["beta"])
    assert bench.slurm.cancelled == []
    jobs = cancel_sweep(context, "small", points=["alpha"])
    assert sorted(jobs) == sorted(bench.slurm.cancelled)
    assert len(jobs) == 6
    assert len(cancel_sweep(context, "small")) == 9


def test_logs_of_a_point(bench: Bench) -> None:
    sweep = launch(bench)
    context = build_context(bench)
    plan = sweep.points[1].plan
    (entry,) = Registry(bench.runs).load_submissions(plan["pretrain"].key)
    folder = bench.runs / entry.log
    folder.mkdir(parents=True)
    for name in (f"{entry.job}_0_log.out", f"{entry.job}0_0_log.out"):
        (folder / name).write_text("said")
    found = find_logs(context, "small", point="alpha", stage="pretrain")
    assert [path.name for path in found] == [f"{entry.job}_0_log.out"]
    assert find_logs(context, "small", point="alpha") == found
    for point, stage in (("beta", ""), ("alpha", "pretrian")):
        with pytest.raises(ConfigError, match="What to do: name one of them"):
            find_logs(context, "small", point=point, stage=stage)
