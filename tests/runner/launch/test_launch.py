"""`vills repro`: whom DVC asks for what, and what its status means."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.launching import Bench, build_context, build_params
from vills.config.checks import ConfigError
from vills.progress import ProgressLine
from vills.runner.clusters.jobs import ClusterError, JobState
from vills.runner.plan import launch
from vills.runner.plan.launch import (
    SubmittedError,
    compute_elsewhere,
    get_cluster_name,
    run_repro,
)

Dvc = Callable[[], int]


class FakeDvc:
    """`dvc repro` as a function; keeps how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], dict[str, str]]] = []
        self.work: Dvc = lambda: 0

    def run(self, command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        self.calls.append((command[3:], env))
        return type("Result", (), {"returncode": self.work()})


@pytest.fixture
def dvc(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> FakeDvc:
    found = FakeDvc()
    monkeypatch.setattr("vills.runner.plan.launch.subprocess.run", found.run)
    build_context(bench)
    monkeypatch.setattr(launch, "LaunchContext", lambda project: build_context(bench))
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return found


def run(bench: Bench, *targets: str, detach: bool = True, retry: bool = False) -> int:
    return run_repro(bench.project, targets=targets, cluster="slurm", detach=detach, retry=retry)


def test_waiting_is_dvcs_own_repro_with_the_cluster_named(bench: Bench, dvc: FakeDvc) -> None:
    dvc.work = lambda: 3
    assert run(bench, "pretrain", detach=False) == 3
    ((command, environment),) = dvc.calls
    assert command == ["repro", "pretrain"]
    assert environment["VILLS_CLUSTER"] == "slurm"
    assert "VILLS_DETACH" not in environment
    assert bench.slurm.batches == []


def test_detached_everything_is_asked_for_and_75_says_come_back(
    bench: Bench, dvc: FakeDvc, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc.work = lambda: 1  # DVC makes 1 of whatever a stage says
    assert run(bench) == 75
    ((command, environment),) = dvc.calls
    assert command == ["repro", "--keep-going"]
    assert environment["VILLS_DETACH"] == "1"
    stages = [batch.stage for batch in bench.slurm.batches]
    assert stages == ["miniature", "curate", "lse", "pretrain", "finetune", "evaluate"]
    assert "submitted, not collected yet: miniature, curate, lse" in capsys.readouterr().err
    assert run(bench) == 75
    assert len(bench.slurm.batches) == 6


def test_called_when_all_is_done_it_collects(bench: Bench, dvc: FakeDvc) -> None:
    bench.finish(bench.plan(wanted=["evaluate@market1501", "evaluate@mars"]))
    assert run(bench) == 0
    assert bench.slurm.batches == []
    dvc.work = lambda: 1
    assert run(bench) == 1, "what DVC itself refuses is no job's matter"


@pytest.mark.slow
def test_a_job_that_ends_while_dvc_walks_is_not_collected_yet(bench: Bench, dvc: FakeDvc) -> None:
    plan = bench.plan(wanted=["evaluate@market1501", "evaluate@mars"])

    def walk() -> int:
        bench.finish(plan)  # too late for DVC, which has met status 75 already
        return 1

    dvc.work = walk
    assert run(bench) == 75
    dvc.work = lambda: 0
    assert run(bench) == 0


@pytest.mark.slow
def test_a_failure_is_told_and_asked_for_again_on_request(
    bench: Bench, dvc: FakeDvc, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc.work = lambda: 1
    run(bench)
    bench.slurm.states["100_0"] = JobState("ended", "FAILED", "exit 1:0")
    assert run(bench) == 1
    said = capsys.readouterr().err
    assert "miniature: failed, FAILED exit 1:0" in said
    assert "vills repro --detach --retry failed" in said
    assert run(bench, retry=True) == 75
    assert [batch.stage for batch in bench.slurm.batches[6:]] == ["miniature"]


@pytest.mark.slow
def test_targets_are_what_is_asked_for(bench: Bench, dvc: FakeDvc) -> None:
    dvc.work = lambda: 1
    assert run(bench, "lse") == 75
    assert [batch.stage for batch in bench.slurm.batches] == ["miniature", "curate", "lse"]
    assert dvc.calls[0][0] == ["repro", "lse", "--keep-going"]
    assert run(bench, "finetune") == 75
    assert [(b.stage, len(b.keys)) for b in bench.slurm.batches[3:]] == [
        ("pretrain", 1),
        ("finetune", 2),
    ]
    with pytest.raises(ConfigError, match=r"stage = 'pretrian' is not allowed.*finetune@mars"):
        run(bench, "pretrian")


def collect(bench: Bench, name: str = "miniature") -> None:
    params = build_params("tiny")
    compute_elsewhere(bench.project, params=params, name=name, progress=ProgressLine(name))


def test_a_stage_of_dvc_is_waited_for(
    bench: Bench, dvc: FakeDvc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILLS_CLUSTER", "slurm")

    def finish(_: float) -> None:
        assert len(bench.slurm.batches) == 1
        bench.finish(bench.plan(), "miniature")

    monkeypatch.setattr("vills.runner.plan.launch.time.sleep", finish)
    collect(bench)
    collect(bench)
    assert len(bench.slurm.batches) == 1


def test_a_stage_whose_job_fails_says_where_its_log_is(
    bench: Bench, dvc: FakeDvc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILLS_CLUSTER", "slurm")

    def fail(_: float) -> None:
        bench.slurm.states["100_0"] = JobState("ended", "OUT_OF_MEMORY")

    monkeypatch.setattr("vills.runner.plan.launch.time.sleep", fail)
    with pytest.raises(ClusterError, match=r"miniature: failed, OUT_OF_MEMORY \(log: .*_logs/"):
        collect(bench)


def test_a_detached_stage_leaves_at_once(
    bench: Bench, dvc: FakeDvc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILLS_CLUSTER", "slurm")
    monkeypatch.setenv("VILLS_DETACH", "1")
    with pytest.raises(SubmittedError, match=r"miniature is to do \(no job yet\)") as caught:
        collect(bench)
    assert caught.value.exit_status == 75
    assert bench.slurm.batches == []
    collect(bench, "report")


def test_one_of_several_ranks_runs_its_stage_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM") or name == "RANK"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("VILLS_CLUSTER", raising=False)
    assert get_cluster_name() == ""
    monkeypatch.setenv("VILLS_CLUSTER", "local")
    assert get_cluster_name() == "local"
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert get_cluster_name() == "local", "a shell on a compute node (srun --pty) is no rank"
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert get_cluster_name() == ""
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    monkeypatch.setenv("VILLS_CLUSTER", "slrum")
    with pytest.raises(ConfigError, match=r"cluster = 'slrum'.*slurm, local, debug"):
        get_cluster_name()


def test_the_project_is_the_one_that_is_named(bench: Bench, dvc: FakeDvc) -> None:
    run(bench)
    assert Path(bench.project, "runs", "_nodes").is_dir()
