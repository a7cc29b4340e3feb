import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from vills.config.tracking import TrackingSettings, load_tracking_settings
from vills.mounts import find_network_file_system
from vills.runner.mlflow.worker import open_syncer
from vills.runner.store.journal import Journal

STAGE = """
import sys, time
from pathlib import Path
from vills.runner.mlflow import settings as settings_module
from vills.runner.store.journal import Journal
from vills.config.tracking import TrackingSettings
from vills.runner.mlflow.worker import open_syncer
folder = Path(sys.argv[1])
with open_syncer(folder, TrackingSettings(sys.argv[2]), every=60.0):
    journal = Journal(folder / "journal.jsonl")
    journal.log(1, {"loss": 1.0})
    journal.mark_checkpoint(1)
    journal.log(2, {"loss": 2.0})
    print("ready", flush=True)
    time.sleep(600)
"""


def finish(folder: Path) -> None:
    Journal(folder / "journal.jsonl").mark_finished()
    result = {"outputs": {}, "metrics": {"mAP": 0.5}, "artifacts": [], "finished_ms": 1}
    (folder / "result.json").write_text(json.dumps({"fingerprint": folder.name, **result}))


@pytest.mark.slow
def test_a_finished_run_is_sent_once_and_then_left_alone(
    make_run: Any, settings: TrackingSettings, tmp_path: Path, empty_store: Path
) -> None:
    folder = make_run()
    said: list[str] = []
    with open_syncer(folder, settings, patience=60.0, progress=said.append):
        Journal(folder / "journal.jsonl").log(1, {"loss": 1.0})
        finish(folder)
    assert said == []
    assert load_points(settings) == {"loss": 1.0, "mAP": 0.5}
    begun = time.monotonic()
    with open_syncer(folder, settings):
        pass
    assert time.monotonic() - begun < 0.1
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())  # removed and made anew
    with open_syncer(folder, settings, patience=60.0):
        pass
    assert load_points(settings) == {"loss": 1.0, "mAP": 0.5}


def load_points(settings: TrackingSettings) -> dict[str, float]:
    (run,) = MlflowClient(settings.uri).search_runs(["1"])
    return dict(run.data.metrics)


@pytest.mark.slow
def test_a_server_that_hangs_costs_the_patience_and_a_line(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said: list[str] = []
    folder = make_run()
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(5)
        settings = TrackingSettings(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        begun = time.monotonic()
        with open_syncer(folder, settings, patience=1.0, progress=said.append):
            pass
        assert time.monotonic() - begun < 3
        wait_for_worker(folder)
    assert len(said) == 1
    assert "no answer for 0.5 s" in said[0]


@pytest.mark.slow
def test_a_killed_stage_is_replayed_up_to_its_checkpoint(
    make_run: Any, settings: TrackingSettings
) -> None:
    folder, uri = make_run(), settings.uri
    command = [sys.executable, "-c", STAGE, str(folder), uri]
    stage = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert stage.stdout is not None
    assert stage.stdout.readline() == b"ready\n"
    stage.send_signal(signal.SIGKILL)
    stage.communicate()
    wait_for_worker(folder)
    client = MlflowClient(uri)
    (run,) = client.search_runs(["1"])
    assert run.info.status == "RUNNING"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0)]


def wait_for_worker(folder: Path) -> None:
    end = time.monotonic() + 90
    while not is_worker_gone(folder):
        assert time.monotonic() < end, "the worker did not end by itself"
        time.sleep(0.2)


def is_worker_gone(folder: Path) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"mlflow.worker" in command and str(folder).encode() in command:
                return False
    return True


def test_off_starts_nothing(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VILLS_TRACKING", "off")
    assert load_tracking_settings(Path()) is None
    monkeypatch.setattr(subprocess, "Popen", None)
    with open_syncer(make_run(), None):
        pass


def test_settings_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("VILLS_TRACKING", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    expected = TrackingSettings(f"sqlite:///{tmp_path}/mlflow.db", "vills")
    assert load_tracking_settings(tmp_path) == expected
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert load_tracking_settings(tmp_path) == TrackingSettings("http://127.0.0.1:5000", "vills")
    monkeypatch.setenv("VILLS_TRACKING", "maybe")
    with pytest.raises(ValueError, match="Allowed: on, off"):
        load_tracking_settings(tmp_path)


def test_local_disks_are_told_from_network_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_network_file_system(tmp_path) is None
    mounts = "/dev/vda / ext4 rw 0 0\nserver:/x /home/a\\040b nfs4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: mounts)
    assert find_network_file_system(Path("/home/a b/c")) == "nfs4"
    assert find_network_file_system(Path("/home/c")) is None


@pytest.mark.parametrize("kind", ["lustre", "gpfs", "beegfs", "ceph", "cifs", "fuse.sshfs", "9p"])
def test_the_innermost_mount_decides_and_links_are_followed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, mounts = tmp_path / "shared", tmp_path / "mounts"
    (shared / "scratch").mkdir(parents=True)
    (tmp_path / "home").symlink_to(shared)
    text = f"/dev/vda / ext4 rw 0 0\nx {shared} {kind} rw 0 0\n/dev/b {shared}/scratch xfs rw 0 0\n"
    mounts.write_text(text)
    monkeypatch.setattr("vills.mounts.MOUNTS", mounts)
    assert find_network_file_system(shared / "project" / "mlflow.db") == kind
    assert find_network_file_system(tmp_path / "home" / "mlflow.db") == kind
    assert find_network_file_system(shared / "scratch" / "mlflow.db") is None
    assert find_network_file_system(tmp_path / "mlflow.db") is None
