"""From a number back to what made it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.launching import DAG, GIT, SCORES, Bench, build_context, write_attempt
from vills.config.checks import ConfigError
from vills.io import load_json, save_json
from vills.runner.sweeps import explain as explain_module
from vills.runner.sweeps.explain import build_index, describe_cell, list_ancestors, load_attempts
from vills.runner.sweeps.sweeping import launch_sweep, load_sweep_state

pytestmark = pytest.mark.slow


@pytest.fixture
def finished(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A sweep of which point zeta is done."""
    monkeypatch.setattr(explain_module, "LaunchContext", lambda project: build_context(bench))
    launch_sweep(build_context(bench), "small", [], cluster="slurm", say=bench.said.append)
    state = load_sweep_state(build_context(bench), "small")
    bench.finish(state.plans["zeta"], *DAG)
    return bench


def find_run(bench: Bench, stage: str) -> Path:
    (folder,) = (bench.runs / stage).iterdir()
    return folder


def find_makers(index: Mapping[str, Path], receipt: Mapping[str, Any]) -> dict[str, str]:
    digests = {name: entry["digest"] for name, entry in receipt["inputs"].items()}
    return {name: index[digest].parent.name for name, digest in digests.items() if digest in index}


def test_a_run_is_traced_to_everything_before_it(finished: Bench) -> None:
    index = build_index(finished.runs)
    found = list_ancestors(index, find_run(finished, "evaluate"))
    by_name = {f"{r['stage']}@{r['item']}".rstrip("@"): r for r in found.values()}
    assert list(by_name) == list(reversed(DAG))
    inputs = {name: find_makers(index, receipt) for name, receipt in by_name.items()}
    assert inputs["evaluate@market1501"] == {
        "curated": "curate",
        "finetune": "finetune",
        "pretrain": "pretrain",
    }
    assert inputs["miniature"] == {}


def test_a_maker_is_found_by_its_content_alone(finished: Bench) -> None:
    """Whoever computed it, and wherever it lay then."""
    run = find_run(finished, "evaluate")
    receipt = load_json(run / "receipt.json")
    for entry in receipt["inputs"].values():
        entry["path"] = "/elsewhere"
    save_json(run / "receipt.json", receipt)
    assert len(list_ancestors(build_index(finished.runs), run)) == len(DAG)
    (find_run(finished, "lse") / "result.json").unlink()
    index = build_index(finished.runs)
    assert "lse" not in [receipt["stage"] for receipt in list_ancestors(index, run).values()]
    assert len(set(index.values())) == len(DAG) - 1


def test_attempts_have_jobs_hours_and_gpus(finished: Bench) -> None:
    run = find_run(finished, "pretrain")
    write_attempt(run, status="interrupted", job="12_3", nodes="n[1-2]", ranks=4, gpus=4)
    write_attempt(run, slurm_job="13")
    first, second, third = load_attempts(run)
    assert first | {"job": "", "gpus": 0, "end": "finished"} == first
    said = {"job": "12_3", "where": "n[1-2]", "ranks": 4, "end": "interrupted"}
    assert second | said == second
    assert second["gpu_hours"] == pytest.approx(0.4)
    assert third | {"job": "13", "end": "ended without a message, or still runs"} == third
    assert third["hours"] > 1000, "until its last sign of life"


def test_a_cell_of_a_sweep(finished: Bench) -> None:
    write_attempt(find_run(finished, "pretrain"), status="finished", job="12_3", gpus=8)
    text = describe_cell(finished.project, "small/zeta/market_map")
    assert text.startswith(
        "small/zeta/market_map = 50.00 %  (zeta: Market, mAP, protocol market1501; published: 92)"
    )
    for name in DAG:
        assert f"\n{name}  run " in text
    assert f"commit  {GIT['commit']}" in text
    assert "attempt 2: job 12_3 on" in text
    assert "GPU-hours in all: 0.80; jobs: 12_3" in text
    assert "params  different from params.yaml: pretrain.koleo_weight: 3 here, 1 there" in text
    assert "input   lse sha256" in text
    assert "<- lse " in text


def test_an_input_that_no_run_here_made_is_shown_without_a_maker(finished: Bench) -> None:
    state = load_sweep_state(build_context(finished), "small")
    for key, node in state.states.items():
        if node.state == "done" and node.run is not None:  # as its job notes it
            save_json(finished.runs / "_nodes" / key / "run.json", {"fingerprint": node.run.name})
    (find_run(finished, "lse") / "result.json").unlink()
    text = describe_cell(finished.project, "small/zeta/market_map")
    (line,) = [line for line in text.splitlines() if "input   lse " in line]
    assert "<-" not in line


def test_uncommitted_changes_are_named(finished: Bench) -> None:
    run = find_run(finished, "pretrain")
    receipt = load_json(run / "receipt.json")
    save_json(run / "receipt.json", {**receipt, "git": {**GIT, "dirty": True}})
    text = describe_cell(finished.project, "small/zeta/market_map")
    assert "with uncommitted changes: files that git does not track" in text
    (run / "code.diff").write_text("+x")
    text = describe_cell(finished.project, "small/zeta/market_map")
    assert f"with uncommitted changes: {run.resolve() / 'code.diff'}" in text


def test_one_seed_of_two_is_explained(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_module, "LaunchContext", lambda project: build_context(bench))
    context = build_context(bench)
    launch_sweep(context, "small", ["seeds=[0,1]"], cluster="slurm", say=bench.said.append)
    state = load_sweep_state(build_context(bench), "small")
    bench.finish(state.plans["zeta, seed 1"], *DAG)
    text = describe_cell(bench.project, "small/zeta/market_map")
    assert "(zeta, seed 1: Market" in text
    assert "seed 0" not in text


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("small/zeta", "Allowed: SWEEP/POINT/COLUMN .sweeps here: small"),
        ("other/zeta/market_map", "'other' was not launched here"),
        ("small/beta/market_map", "Allowed: points zeta, alpha; columns its own"),
        ("small/zeta/beta", "columns market_map, market_r1, prid_map"),
        ("small/alpha/market_map", "has no score: alpha: queued"),
        ("small/zeta/prid_map", "params.yaml has no evaluate.prid2011"),
    ],
)
def test_what_is_no_cell_or_empty_is_refused(finished: Bench, cell: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        describe_cell(finished.project, cell)
    assert "What to do" in str(caught.value)


def test_a_number_of_the_projects_own_scores(finished: Bench) -> None:
    run = find_run(finished, "evaluate")
    artifacts = finished.project / "artifacts"
    (artifacts / "metrics").mkdir(parents=True)
    (artifacts / "evaluate" / "market1501").mkdir(parents=True)
    metrics = {"model": "market1501", "fingerprint": run.name}
    (artifacts / "metrics" / "evaluate_market1501.json").write_text(json.dumps(metrics))
    results = artifacts / "evaluate" / "market1501" / "results.json"
    results.write_text(json.dumps({"rows": SCORES["market1501"], "left_out": []}))
    text = describe_cell(finished.project, "market1501/market1501/finetuned/mAP")
    assert text.startswith("market1501/market1501/finetuned/mAP = 50.00 %")
    assert run.name[:12] in text
    with pytest.raises(ConfigError, match="Allowed: market1501/finetuned"):
        describe_cell(finished.project, "market1501/mars/finetuned/mAP")
