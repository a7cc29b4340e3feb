"""Cells of a sweep from what its runs left, and why others are empty."""

from pathlib import Path

import pytest

from tests.launching import DAG, SCORES, Bench, build_context
from vills.report.sweep_grid import Cell
from vills.runner.clusters.jobs import JobState
from vills.runner.sweeps.report import (
    build_report,
    find_evaluation,
    load_cells,
    load_report_facts,
)
from vills.runner.sweeps.sweep import SweepState
from vills.runner.sweeps.sweeping import launch_sweep, load_sweep_state


def launch(bench: Bench, *overrides: str) -> None:
    context = build_context(bench)
    launch_sweep(context, "small", overrides, cluster="slurm", say=bench.said.append)


def look(bench: Bench) -> SweepState:
    return load_sweep_state(build_context(bench), "small")


def collect(bench: Bench) -> dict[tuple[str, str], Cell]:
    return load_cells(look(bench))


@pytest.mark.slow
def test_cells_hold_the_scores_of_finished_points(bench: Bench) -> None:
    launch(bench)
    state = look(bench)
    folder = bench.finish(state.plans["zeta"], *DAG)
    cells = collect(bench)
    score = cells["zeta", "market_map"].scores
    assert [(s.value, s.run, s.seed) for s in score] == [(0.5, folder.name, None)]
    assert cells["zeta", "market_r1"].mean == 0.75
    assert cells["zeta", "prid_map"] == Cell(missing="params.yaml has no evaluate.prid2011")
    assert cells["alpha", "market_map"] == Cell(missing="queued")


@pytest.mark.slow
def test_seeds_share_a_cell_and_those_that_lack_are_named(bench: Bench) -> None:
    launch(bench, "seeds=[0,1,2]")
    state = look(bench)
    for seed, value in ((0, 0.5), (1, 0.7)):
        rows = [{**SCORES["market1501"][0], "mAP": value}]
        plan = state.plans[f"zeta, seed {seed}"]
        bench.finish(plan, *(DAG[3:] if seed else DAG), rows=rows)
    cell = collect(bench)["zeta", "market_map"]
    assert [(score.seed, score.value) for score in cell.scores] == [(0, 0.5), (1, 0.7)]
    assert cell.mean == pytest.approx(0.6)
    assert cell.missing == "queued"


def test_a_difference_may_be_negative_and_a_score_may_not(bench: Bench) -> None:
    launch(bench, "tables.one.columns.market_r1.metric=minus_scratch_mAP")
    state = look(bench)
    rows = [{**SCORES["market1501"][0], "minus_scratch_mAP": -0.03}]
    bench.finish(state.plans["zeta"], *DAG, rows=rows)
    assert collect(bench)["zeta", "market_r1"].mean == -0.03
    bench.finish(state.plans["alpha"], *DAG[3:], rows=[{**rows[0], "mAP": -0.5}])
    with pytest.raises(AssertionError, match="no share"):
        collect(bench)


def test_an_empty_cell_names_what_failed_before_it_and_nothing_else(bench: Bench) -> None:
    launch(bench)
    state = look(bench)
    jobs = {key: s.job for key, s in state.states.items()}
    plan = state.plans["zeta"]
    bench.slurm.states[jobs[plan["finetune@market1501"].key]] = JobState("ended", "FAILED")
    other = state.plans["alpha"]
    bench.slurm.states[jobs[other["evaluate@market1501"].key]] = JobState("ended", "CANCELLED")
    cells = collect(bench)
    assert cells["zeta", "market_map"].missing == "finetune@market1501 failed"
    assert cells["alpha", "market_map"].missing == "evaluate@market1501 cancelled"


def test_a_failure_that_is_not_upstream_is_not_blamed(bench: Bench) -> None:
    plan = bench.plan(wanted=["evaluate@market1501", "evaluate@mars"])
    bench.note_job(plan["evaluate@mars"], "12")
    bench.slurm.states["12"] = JobState("ended", "FAILED")
    states = bench.look(plan)
    assert find_evaluation(plan, states, "market1501") == "not computed yet"
    assert find_evaluation(plan, states, "mars") == "evaluate@mars failed"


@pytest.mark.slow
def test_rows_that_lack_a_column_say_so(bench: Bench) -> None:
    launch(bench)
    state = look(bench)
    bench.finish(state.plans["zeta"], *DAG, rows=[{"protocol": "mars", "row": "finetuned"}])
    missing = collect(bench)["zeta", "market_map"].missing
    assert "protocols lacks market1501 (it has mars)" in missing


@pytest.mark.slow
def test_the_report_is_written_with_its_facts(bench: Bench, tmp_path: Path) -> None:
    launch(bench, "pretrain.max_steps=3")
    state = look(bench)
    bench.finish(state.plans["zeta"], *DAG)
    state = look(bench)
    facts = load_report_facts(state)
    assert facts.commit == "c" * 12
    assert facts.date == "2023-11-14"
    assert facts.command == "python sweeps/launch.py small pretrain.max_steps=3"
    assert any("embedded, rendered world" in note for note in facts.notes)
    assert any("32 wide" in note for note in facts.notes)
    paths = build_report(state, out=tmp_path / "out")
    assert {path.suffix for path in paths} >= {".html", ".md", ".tex", ".csv"}
    table = next(path for path in paths if path.suffix == ".md").read_text()
    assert "50.0" in table
    assert "92.0" in table


def test_nothing_is_finished_yet(bench: Bench) -> None:
    launch(bench)
    facts = load_report_facts(look(bench))
    assert (facts.commit, facts.date) == ("none", "none")
