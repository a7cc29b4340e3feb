import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient

from tests.journals import rewind
from vills.config.tracking import TrackingSettings
from vills.runner.mlflow.replay import SyncResult, sync_run
from vills.runner.store.journal import Journal


def get_closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sync(folder: Path, settings: TrackingSettings) -> SyncResult:
    result = sync_run(folder, settings)
    assert result.ok, result.reason
    return result


def load_runs(settings: TrackingSettings) -> list[Run]:
    client = MlflowClient(settings.uri)
    experiment = client.get_experiment_by_name(settings.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def load_points(settings: TrackingSettings, name: str) -> list[tuple[int, float, int]]:
    (run,) = load_runs(settings)
    history = MlflowClient(settings.uri).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value, point.timestamp) for point in history)


def log_steps(folder: Path, steps: range, *, resume_at: int, scale: float = 1.0) -> Journal:
    journal = Journal(folder / "journal.jsonl")
    rewind(journal, resume_at)
    for step in steps:
        journal.log(step, {"loss": scale * step, "grad": -1.0 * step})
    return journal


def finish(folder: Path, **scores: Any) -> None:
    (folder / "out" / "pages").mkdir()
    (folder / "out" / "pages" / "index.html").write_text("<html>")
    result: dict[str, Any] = {
        "fingerprint": folder.name,
        "outputs": {},
        "metrics": scores,
        "artifacts": ["pages/index.html"],
        "finished_ms": 1_800_000_000_000,
    }
    (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.slow
def test_a_finished_run_is_shown_whole(make_run: Any, settings: TrackingSettings) -> None:
    folder = make_run()
    log_steps(folder, range(1, 4), resume_at=0).mark_finished()
    finish(folder, **{"market1501/mAP": 0.75})
    first = sync(folder, settings)
    assert first.num_points == 7
    assert sync(folder, settings) == SyncResult(ok=True, run_id=first.run_id)
    (run,) = load_runs(settings)
    assert run.data.params == {
        "pretrain.lr": "0.5",
        "pretrain.areas": '["head"]',
        "pretrain.deep.on": "true",
    }
    assert run.data.metrics == {"loss": 3.0, "grad": -3.0, "market1501/mAP": 0.75}
    assert run.data.tags["vills.fingerprint"] == "aa" * 32
    assert run.data.tags["vills.input.curated"] == "c" * 64
    assert run.data.tags["vills.git_commit"] == "e" * 40
    assert run.data.tags["vills.git_dirty"] == "true"
    assert (run.info.run_name, run.info.status) == ("pretrain aaaaaaaa", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1767323045678, 1_800_000_000_000)
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("curated", "c" * 36)
    client = MlflowClient(settings.uri)
    assert [item.path for item in client.list_artifacts(run.info.run_id, "pages")] == [
        "pages/index.html"
    ]
    assert {item.path for item in client.list_artifacts(run.info.run_id, "run")} == {
        "run/receipt.json",
        "run/result.json",
    }


@pytest.mark.slow
def test_a_tracker_that_was_away_gets_every_point_once(
    make_run: Any, settings: TrackingSettings
) -> None:
    folder = make_run()
    away = TrackingSettings(f"http://127.0.0.1:{get_closed_port()}")
    begun = time.monotonic()
    journal = log_steps(folder, range(1, 6), resume_at=0)
    assert not sync_run(folder, away).ok
    journal.mark_finished()
    finish(folder, mAP=0.5)
    result = sync_run(folder, away)
    assert not result.ok
    assert "127.0.0.1" in result.reason
    assert time.monotonic() - begun < 20
    sync(folder, settings)
    times = [record["time_ms"] for record in read_records(folder)]
    assert load_points(settings, "loss") == [(s, float(s), times[s - 1]) for s in range(1, 6)]


def read_records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return [record for line in lines if "metrics" in (record := json.loads(line))]


@pytest.mark.slow
def test_killed_and_resumed_between_syncs_every_point_is_there_once(
    make_run: Any, settings: TrackingSettings
) -> None:
    folder = make_run()
    journal = log_steps(folder, range(1, 5), resume_at=0)
    journal.mark_checkpoint(4)
    for step in (5, 6):
        journal.log(step, {"loss": 99.0})  # lost with the process
    sync(folder, settings)
    assert [step for step, _, _ in load_points(settings, "loss")] == [1, 2, 3, 4]
    resumed = log_steps(folder, range(5, 9), resume_at=4)
    resumed.mark_checkpoint(8)
    sync(folder, settings)
    resumed.mark_finished()
    finish(folder)
    sync(folder, settings)
    assert [point[:2] for point in load_points(settings, "loss")] == [
        (s, float(s)) for s in range(1, 9)
    ]


@pytest.mark.slow
def test_records_that_went_out_unnoted_are_not_doubled(
    make_run: Any, settings: TrackingSettings
) -> None:
    folder = make_run()
    log_steps(folder, range(1, 1200), resume_at=0).mark_checkpoint(1200)
    run_id = sync(folder, settings).run_id
    # as if killed between sending and noting it
    MlflowClient(settings.uri).set_tag(run_id, "vills.records", "7")
    assert sync(folder, settings).num_points > 2000
    assert len(load_points(settings, "loss")) == 1199


def test_committed_records_that_were_taken_back_are_replaced(
    make_run: Any, settings: TrackingSettings
) -> None:
    folder = make_run()
    for step in (2, 4):
        log_steps(folder, range(step - 1, step + 1), resume_at=step - 2).mark_checkpoint(step)
    old = sync(folder, settings).run_id
    log_steps(folder, range(3, 5), resume_at=2, scale=10).mark_checkpoint(4)
    new = sync(folder, settings).run_id
    assert new != old
    assert [point[:2] for point in load_points(settings, "loss")] == [
        (1, 1.0),
        (2, 2.0),
        (3, 30.0),
        (4, 40.0),
    ]
    deleted = MlflowClient(settings.uri).search_runs(["1"], run_view_type=ViewType.DELETED_ONLY)
    assert [run.info.run_id for run in deleted] == [old]


def test_a_run_that_may_not_be_deleted_is_set_aside(
    make_run: Any, settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: MlflowClient, run_id: str) -> None:
        raise MlflowException("Permission denied", error_code=PERMISSION_DENIED)

    monkeypatch.setattr(MlflowClient, "delete_run", refuse)
    folder = make_run()
    log_steps(folder, range(1, 3), resume_at=0).mark_checkpoint(2)
    old = sync(folder, settings).run_id
    log_steps(folder, range(1, 3), resume_at=0, scale=10).mark_checkpoint(2)
    new = sync(folder, settings).run_id
    assert sync(folder, settings).run_id == new
    names = {run.info.run_id: (run.info.run_name, run.info.status) for run in load_runs(settings)}
    assert names == {
        old: ("pretrain aaaaaaaa (superseded)", "KILLED"),
        new: ("pretrain aaaaaaaa", "RUNNING"),
    }
    history = MlflowClient(settings.uri).get_metric_history(new, "loss")
    assert sorted(point.value for point in history) == [10.0, 20.0]


def test_a_rebuilt_run_keeps_its_scores_once(make_run: Any, settings: TrackingSettings) -> None:
    folder = make_run()
    finish(folder, mAP=0.5)
    sync(folder, settings)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "finished_ms": 1_900_000_000_000}))
    sync(folder, settings)
    assert load_points(settings, "mAP") == [(0, 0.5, 1_800_000_000_000)]


@pytest.mark.parametrize(
    ("end", "status"), [("failed", "FAILED"), ("killed", "KILLED"), (None, "RUNNING")]
)
def test_status_follows_the_last_attempt(
    make_run: Any, settings: TrackingSettings, end: str | None, status: str
) -> None:
    folder = make_run()
    if end is not None:
        (folder / "attempts" / "000001.end.json").write_text(json.dumps({"status": end}))
    sync(folder, settings)
    assert load_runs(settings)[0].info.status == status
    (folder / "attempts" / "000002.json").write_text("{}")
    sync(folder, settings)
    (run,) = load_runs(settings)
    assert (run.info.status, run.data.tags["vills.attempts"]) == ("RUNNING", "2")


def test_long_params_and_many_params_fit(make_run: Any, settings: TrackingSettings) -> None:
    params = {"long": list(range(3000)), **{f"p{i}": i for i in range(250)}}
    sync(make_run(params=params), settings)
    (run,) = load_runs(settings)
    assert len(run.data.params) == 251
    assert len(run.data.params["long"]) == 6000
    assert "... sha256:" in run.data.params["long"]


def test_names_that_mlflow_refuses_are_spelt_otherwise(
    make_run: Any, settings: TrackingSettings
) -> None:
    inputs = {"a>b": {"path": "p", "digest": "c" * 64}}
    folder = make_run(params={"image->video": 1}, inputs=inputs)
    finish(folder, **{"image->video/R@1": 0.5})
    sync(folder, settings)
    (run,) = load_runs(settings)
    assert run.data.params == {"image-_video": "1"}
    assert run.data.metrics == {"image-_video/R_1": 0.5}


def test_two_executions_of_one_fingerprint_are_two_runs(
    make_run: Any, settings: TrackingSettings
) -> None:
    sync(make_run(), settings)
    sync(make_run(clone="another", execution="another"), settings)
    assert {run.data.tags["vills.fingerprint"] for run in load_runs(settings)} == {"aa" * 32}
    assert len(load_runs(settings)) == 2


def test_a_folder_without_receipt_is_a_reason_not_an_error(
    tmp_path: Path, settings: TrackingSettings
) -> None:
    assert "no receipt" in sync_run(tmp_path, settings).reason
    assert "FileNotFoundError" in sync_run(tmp_path / "nowhere", settings).reason


@pytest.mark.slow
def test_processes_at_once_on_a_fresh_database(make_run: Any, tmp_path: Path) -> None:
    same, other = make_run("aa"), make_run("bb")
    for folder in (same, other):
        log_steps(folder, range(1, 4), resume_at=0).mark_finished()
        finish(folder)
    uri = f"sqlite:///{tmp_path / 'fresh' / 'mlflow.db'}"

    def work(folder: Path) -> dict[str, Any]:
        command = [
            sys.executable,
            "-m",
            "vills.runner.mlflow.worker",
            *(str(folder), "60"),
        ]
        where = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "vills"}
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=110,
            env={**os.environ, **where},
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(work, [same, same, other]))
    assert [answer["ok"] for answer in answers] == [True] * 3, answers
    runs = load_runs(TrackingSettings(uri))
    assert len(runs) == 2
    client = MlflowClient(uri)
    assert [len(client.get_metric_history(r.info.run_id, "loss")) for r in runs] == [3, 3]
    assert runs[0].info.artifact_uri.startswith((tmp_path / "fresh" / "mlartifacts").as_uri())
