import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.fake_sweep import FakeSweep, build_fake_sweep, sync_here, write_quickly
from vills.config.tracking import TrackingSettings
from vills.io import load_json, save_json
from vills.runner.clusters.jobs import JobState
from vills.runner.mlflow.replay import sync_run
from vills.runner.plan.context import LaunchContext
from vills.runner.store.lock import get_attempt_path
from vills.runner.store.machine import load_process_identity
from vills.runner.sweeps import tracking as sweep_tracking
from vills.runner.sweeps.sweeping import load_sweep_state
from vills.runner.sweeps.track import find_job_end, sync_all, sync_open_runs
from vills.runner.sweeps.tracking import sync_sweep


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("VILLS_TRACKING", "VILLS_RUNS", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sweep_tracking, "sync_in_process", sync_here)
    with write_quickly():
        yield


@pytest.fixture
def settings(tmp_path: Path) -> TrackingSettings:
    return TrackingSettings(f"sqlite:///{tmp_path / 'mlflow.db'}")


def kill_in_the_middle(fake: FakeSweep, point: str) -> Path:
    """A pre-training whose process was killed, as far as anybody can see."""
    run = fake.open_run(fake.get_node(point, "pretrain"))
    run.__enter__()
    run.journal.log(1, {"loss": 1.0})
    run.journal.mark_checkpoint(1)
    run.journal.close()
    path = get_attempt_path(run.folder / "attempts", 1)
    content = load_json(path)
    assert load_process_identity().keys() <= content.keys()
    save_json(path, {**content, "started": 1})  # the pid is another process's now
    return run.folder


def load_statuses(uri: str) -> dict[str, str]:
    runs = MlflowClient(uri).search_runs(["1"])
    return {
        run.data.tags.get("vills.point") or run.info.run_name.split()[0]: run.info.status
        for run in runs
    }


@pytest.mark.slow
def test_zombies_are_ended_and_others_left_alone(
    tmp_path: Path, settings: TrackingSettings
) -> None:
    fake = build_fake_sweep(tmp_path / "runs", num_points=3)
    context = LaunchContext(tmp_path)
    killed = kill_in_the_middle(fake, "masking_0")
    sync_run(killed, settings)
    fake.submit(fake.get_node("masking_0", "pretrain"), "gone", cluster="local")
    alive = fake.open_run(fake.get_node("masking_1", "pretrain"))
    with alive:
        sync_run(alive.folder, settings)
        state = load_sweep_state(context, "grid")
        sync_sweep(context, state)
        client = MlflowClient(settings.uri)
        foreign = client.create_run("1", tags={"vills.fingerprint": "x", "vills.stage": "pretrain"})
        # the tracker missed an end
        finished = fake.evaluate("masking_2")
        run_id = sync_run(finished, settings).run_id
        client.update_run(run_id, status="RUNNING")
        said: list[str] = []
        assert sync_open_runs(context, say=said.append) == 0
        assert f"pretrain {killed.name[:8]}: RUNNING -> KILLED, no process holds its lock" in said
        assert (
            f"evaluate@market1501 {finished.name[:8]}: RUNNING -> FINISHED, according to its folder"
            in said
        )
        assert "masking_2: SCHEDULED -> ended, according to its runs" in said
        assert said[-1].endswith("1 whose folder is not on this machine")
        assert client.get_run(foreign.info.run_id).info.status == "RUNNING"
        statuses = load_statuses(settings.uri)
        assert statuses["masking_0"] == "KILLED"
        assert statuses["masking_1"] == "RUNNING"
        assert statuses["sweep"] == "RUNNING"
        said.clear()
        assert sync_open_runs(context, say=said.append) == 0
        assert len(said) == 1, said
        # what was found out outlives the next sync
        sync_all(tmp_path)
        found = client.search_runs(["1"], f"tags.`vills.fingerprint` = '{killed.name}'")
        assert [run.info.status for run in found] == ["KILLED"]
        alive.complete()
    with fake.open_run(fake.get_node("masking_0", "pretrain")):  # and not the next attempt
        sync_run(killed, settings)
        found = client.search_runs(["1"], f"tags.`vills.fingerprint` = '{killed.name}'")
        assert [run.info.status for run in found] == ["RUNNING"]


@pytest.mark.slow
def test_an_edition_that_was_replaced_is_ended(tmp_path: Path, settings: TrackingSettings) -> None:
    context = LaunchContext(tmp_path)
    for num_points in (1, 2):
        build_fake_sweep(tmp_path / "runs", num_points=num_points)
        state = load_sweep_state(context, "grid")
        sync_sweep(context, state, every=0.0)
    said: list[str] = []
    assert sync_open_runs(context, say=said.append) == 0
    assert any("changed and launched again" in line for line in said)
    assert set(load_statuses(settings.uri).values()) == {"KILLED"}


def test_a_tracker_that_is_away_is_told_and_nothing_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    (tmp_path / "runs").mkdir()
    said: list[str] = []
    assert sync_open_runs(LaunchContext(tmp_path), say=said.append) == 1
    assert "no server at 127.0.0.1:1" in said[0]


@pytest.mark.parametrize(
    ("job", "state", "word"),
    [
        ("", JobState("unknown"), "KILLED"),
        ("12", JobState("unknown"), "KILLED"),
        ("12", JobState("pending", "REQUEUED"), ""),
        ("12", JobState("running", "RUNNING"), ""),
        ("12", JobState("ended", "CANCELLED"), "KILLED"),
        ("12", JobState("ended", "PREEMPTED"), "KILLED"),
        ("12", JobState("ended", "NODE_FAIL"), "FAILED"),
        ("12", JobState("ended", "TIMEOUT"), "FAILED"),
        ("12", JobState("ended", "OUT_OF_MEMORY", "exit 0:125"), "FAILED"),
    ],
)
def test_what_the_cluster_says_of_a_job_decides(job: str, state: JobState, word: str) -> None:
    assert find_job_end(job, state)[0] == word
