"""A tracker that is slow, loses answers, or is told by two hosts at once: every point once."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from tests.fake_sweep import build_fake_sweep, sync_here, write_quickly
from tests.journals import rewind
from tests.runner.mlflow.conftest import MakeRun
from tests.tracking_proxy import Fault, TrackingProxy
from tests.tracking_server import TrackingServer
from vills.cli import main
from vills.config.tracking import TrackingSettings
from vills.runner.mlflow import replay
from vills.runner.mlflow.replay import SyncResult, sync_run
from vills.runner.mlflow.settings import LIMITS
from vills.runner.mlflow.worker import TRACKED_NAME, open_syncer
from vills.runner.plan.context import LaunchContext
from vills.runner.store.journal import Journal, load_journal
from vills.runner.sweeps import tracking as sweep_tracking
from vills.runner.sweeps.sweeping import load_sweep_state
from vills.runner.sweeps.tracking import sync_sweep

pytestmark = pytest.mark.slow
API = "/api/2.0/mlflow"
CREATE, SEND, SEARCH = f"{API}/runs/create", f"{API}/runs/log-batch", f"{API}/runs/search"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with TrackingServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LIMITS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.delenv("VILLS_TRACKING", raising=False)


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    return tmp_path.name


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    """A finished run of 177 points and a score."""
    folder = make_run()
    log_steps(folder, range(1, 60)).mark_finished()
    finish(folder)
    return folder


def log_steps(folder: Path, steps: range, *, resume_at: int = 0) -> Journal:
    journal = Journal(folder / "journal.jsonl")
    rewind(journal, resume_at)
    for step in steps:
        journal.log(step, {"loss": 1.0 * step, "grad": -1.0 * step, "lr": 0.1 / step})
    return journal


def finish(folder: Path) -> None:
    result = {"outputs": {}, "metrics": {"mAP": 0.5}, "artifacts": [], "finished_ms": 1}
    (folder / "result.json").write_text(json.dumps({"fingerprint": folder.name, **result}))


def list_runs(server: TrackingServer, name: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    client = MlflowClient(server.uri)
    found = client.get_experiment_by_name(name)
    return list(client.search_runs([found.experiment_id], run_view_type=view)) if found else []


def check_everything_once(server: TrackingServer, name: str, folder: Path) -> None:
    """One run is shown, and its points are those of the journal, times and all."""
    (run,) = list_runs(server, name)
    client = MlflowClient(server.uri)
    held = [
        (key, p.step, p.timestamp, p.value)
        for key in ("loss", "grad", "lr")
        for p in client.get_metric_history(run.info.run_id, key)
    ]
    assert sorted(held) == sorted(
        (key, record.step, record.time_ms, value)
        for record in load_journal(folder / "journal.jsonl").committed
        for key, value in record.metrics.items()
    )
    assert len(client.get_metric_history(run.info.run_id, "mAP")) == 1
    assert (run.info.status, len(run.inputs.dataset_inputs)) == ("FINISHED", 1)
    files = {file.path for file in client.list_artifacts(run.info.run_id, "run")}
    assert files == {"run/receipt.json", "run/result.json"}


def fail_at(path: str, how: str | int, *, times: int = 1) -> Fault:
    return lambda called, num: how if called == path and num < times else ""


@pytest.mark.parametrize(
    ("path", "how"),
    [(p, how) for p in (CREATE, SEND, SEARCH) for how in ("lost", "cut", 500, 429)],
)
def test_a_call_that_fails_once_loses_and_doubles_nothing(
    path: str, how: str | int, server: TrackingServer, experiment: str, run: Path
) -> None:
    with TrackingProxy(server.port, fault=fail_at(path, how)) as proxy:
        result = sync_run(run, TrackingSettings(proxy.uri, experiment))
    assert result.ok, result.reason
    check_everything_once(server, experiment, run)


@pytest.mark.parametrize(("path", "num"), [(CREATE, 0), (SEND, 0), (SEND, 1), (SEND, 3)])
def test_a_tracker_that_fails_for_long_gets_the_rest_later(
    path: str,
    num: int,
    server: TrackingServer,
    experiment: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the middle of the records: what was stored without an answer is not there twice."""
    monkeypatch.setattr(replay, "MAX_POINTS", 30)

    def fault(called: str, count: int) -> str:
        return "lost" if called == path and count >= num else ""

    with TrackingProxy(server.port, fault=fault) as proxy:
        settings = TrackingSettings(proxy.uri, experiment)
        assert not sync_run(run, settings).ok
        proxy.fault = lambda called, count: ""
        assert sync_run(run, settings).ok
    check_everything_once(server, experiment, run)


class Crossing:
    """Holds calls of one path back until `num` hosts have made it, or until `then` is set."""

    def __init__(self, path: str, num: int = 2) -> None:
        self._path, self._barrier = path, threading.Barrier(num)

    def __call__(self, path: str, count: int) -> str:
        if path == self._path and count < self._barrier.parties:
            self._barrier.wait(timeout=30)
        return ""


def copy_run(folder: Path, name: str) -> Path:
    return Path(
        shutil.copytree(folder, folder.parents[2] / name / folder.parent.name / folder.name)
    )


@pytest.mark.parametrize("path", [SEARCH, CREATE])
@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_two_copies_of_a_run_sent_at_once_are_one_run(
    path: str,
    skew: int,
    server: TrackingServer,
    experiment: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hosts without a common lock, whose clocks may differ: both find none, and both create one."""
    other, ids = copy_run(run, "copy"), iter([0, skew])
    real = time.time_ns
    monkeypatch.setattr(
        "vills.runner.mlflow.choose.time.time_ns", lambda: real() + 10**9 * next(ids, 0)
    )
    with (
        TrackingProxy(server.port, fault=Crossing(path)) as proxy,
        ThreadPoolExecutor(2) as pool,
    ):
        settings = TrackingSettings(proxy.uri, experiment)
        results = list(pool.map(lambda folder: sync_run(folder, settings), [run, other]))
    assert [result.reason for result in results] == ["", ""]
    assert proxy.calls.count(CREATE) == 2
    check_everything_once(server, experiment, run)


def test_a_run_that_is_taken_away_while_it_is_sent_is_left_for_the_other(
    server: TrackingServer, experiment: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other host's run comes first and its own is deleted, between two of its requests."""
    monkeypatch.setattr(replay, "MAX_POINTS", 30)
    direct = TrackingSettings(server.uri, experiment)

    def fault(path: str, count: int) -> str:
        if path == SEND and count == 3:
            (mine,) = list_runs(server, experiment)
            client = MlflowClient(server.uri)
            client.set_tag(mine.info.run_id, "vills.superseded", "true")
            client.delete_run(mine.info.run_id)
            assert sync_run(copy_run(run, "copy"), direct).ok
        return ""

    with TrackingProxy(server.port, fault=fault) as proxy:
        result = sync_run(run, TrackingSettings(proxy.uri, experiment))
    assert result.ok, result.reason
    check_everything_once(server, experiment, run)


def test_two_copies_of_a_sweep_sent_at_once_are_one_family(
    server: TrackingServer, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_tracking, "sync_in_process", sync_here)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", experiment)
    with write_quickly():
        build_fake_sweep(tmp_path / "a" / "runs", num_points=3).finish()
    sweep_tracking.load_execution(tmp_path / "a" / "runs")
    shutil.copytree(tmp_path / "a", tmp_path / "b")

    def send(name: str) -> SyncResult:
        context = LaunchContext(tmp_path / name)
        state = load_sweep_state(context, "grid")
        return sync_sweep(context, state, every=0.0, say=lambda text: None)

    with (
        TrackingProxy(server.port, fault=Crossing(CREATE)) as proxy,
        ThreadPoolExecutor(2) as pool,
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        results = list(pool.map(send, ["a", "b"]))
    assert [result.reason for result in results] == ["", ""]
    runs = list_runs(server, experiment)
    points = [run for run in runs if "vills.point" in run.data.tags]
    assert (len(runs), len({run.data.tags["vills.point"] for run in points})) == (4, 3)
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in points}
    assert parent in {run.info.run_id for run in runs}


def test_a_copy_that_is_behind_takes_nothing_back(
    server: TrackingServer, experiment: str, make_run: MakeRun
) -> None:
    folder, settings = make_run(), TrackingSettings(server.uri, experiment)
    log_steps(folder, range(1, 2)).mark_checkpoint(1)
    log_steps(folder, range(2, 4), resume_at=1).mark_checkpoint(3)
    behind = copy_run(folder, "behind")
    log_steps(folder, range(4, 9), resume_at=3).mark_finished()
    finish(folder)
    for place in (folder, behind, folder):
        result = sync_run(place, settings)
        assert result.ok, result.reason
        assert bool(result.notes) == (place == behind)
        check_everything_once(server, experiment, folder)
    # its records were taken back here, and not there
    log_steps(folder, range(2, 9), resume_at=1).mark_finished()
    assert load_journal(folder / "journal.jsonl").generation == 1
    for place in (folder, behind, folder):
        assert sync_run(place, settings).ok
        check_everything_once(server, experiment, folder)


def test_copies_that_go_on_apart_give_each_step_once(
    server: TrackingServer, experiment: str, make_run: MakeRun
) -> None:
    folder, settings = make_run(), TrackingSettings(server.uri, experiment)
    log_steps(folder, range(1, 4)).mark_checkpoint(3)
    assert sync_run(folder, settings).ok
    other = copy_run(folder, "other")
    for place, end in ((folder, 7), (other, 9), (folder, 11)):
        log_steps(place, range(4, end), resume_at=3).mark_checkpoint(end - 1)
        assert sync_run(place, settings).ok
    (run,) = list_runs(server, experiment)
    history = MlflowClient(server.uri).get_metric_history(run.info.run_id, "loss")
    assert sorted(point.step for point in history) == list(range(1, 11))


def test_what_a_person_deleted_stays_deleted(
    server: TrackingServer,
    experiment: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = TrackingSettings(server.uri, experiment)
    run_id = sync_run(run, settings).run_id
    client = MlflowClient(server.uri)
    client.delete_run(run_id)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", experiment)
    assert main(["track"]) == 0
    assert f"mlflow runs restore --run-id {run_id}" in capsys.readouterr().out
    assert list_runs(server, experiment) == []
    client.restore_run(run_id)
    assert main(["track"]) == 0
    check_everything_once(server, experiment, run)


def test_the_time_that_a_call_may_take_is_no_run_s_and_long() -> None:
    """5.5 s a call once were more than a tracker was given, by `vills track` too."""
    assert float(LIMITS["MLFLOW_HTTP_REQUEST_TIMEOUT"]) >= 60


@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_a_stage_ends_at_once_and_its_points_arrive(
    delay: float, server: TrackingServer, experiment: str, make_run: MakeRun
) -> None:
    folder, said = make_run(), list[str]()
    with TrackingProxy(server.port, delay=delay) as proxy:
        settings = TrackingSettings(proxy.uri, experiment)
        with open_syncer(folder, settings, progress=said.append):
            log_steps(folder, range(1, 60)).mark_finished()
            finish(folder)
            begun = time.monotonic()
        assert time.monotonic() - begun < 1.5
        assert "still trying in the background" in said[0]
        wait_for(folder / TRACKED_NAME)
        check_everything_once(server, experiment, folder)
        with open_syncer(folder, settings, progress=said.append):
            pass  # collected once more: the tracker is known to hold it
        assert len(said) == 1


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.05)


def test_a_tracker_that_answers_is_waited_for(
    server: TrackingServer, experiment: str, make_run: MakeRun
) -> None:
    """Whoever took the last replay gets the last points before a job's processes are ended."""
    folder, said = make_run(), list[str]()
    settings = TrackingSettings(server.uri, experiment)
    with open_syncer(folder, settings, every=0.2, patience=60.0, progress=said.append):
        log_steps(folder, range(1, 60)).mark_checkpoint(59)
        end = time.monotonic() + 60
        while not list_runs(server, experiment) and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.0)
        Journal(folder / "journal.jsonl").mark_finished()
        finish(folder)
    assert said == []
    check_everything_once(server, experiment, folder)


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A server that takes connections, and never answers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen(50)
        yield found


def test_a_deaf_tracker_holds_up_no_stage(run: Path, deaf: socket.socket) -> None:
    said: list[str] = []
    begun = time.monotonic()
    settings = TrackingSettings(f"http://127.0.0.1:{deaf.getsockname()[1]}")
    with open_syncer(run, settings, progress=said.append):
        pass
    assert (time.monotonic() - begun < 1.5, len(said)) == (True, 1)


def test_track_says_that_it_waits_and_can_be_ended(
    run: Path, deaf: socket.socket, tmp_path: Path
) -> None:
    # as at a terminal: what a shell starts in the background ignores Ctrl-C
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "import sys, vills.progress as p; p.NOTICE_SECONDS = 0.2; import vills.cli as c\n"
    code += "sys.exit(c.main(['track']))"
    uri = f"http://127.0.0.1:{deaf.getsockname()[1]}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        try:
            deaf.settimeout(60)
            for _ in range(2):  # the look at the port, and the first call
                deaf.accept()
            assert "waits for the tracker; Ctrl-C ends it" in child.stderr.readline()
            child.send_signal(signal.SIGINT)
            assert "interrupted" in child.communicate(timeout=30)[1]
        finally:
            child.kill()  # `with` would wait for it
    assert child.returncode == 130


def test_track_that_is_killed_goes_on(
    server: TrackingServer, experiment: str, run: Path, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "vills", "track"]
    with TrackingProxy(server.port, delay=0.3) as proxy:
        environment["MLFLOW_TRACKING_URI"] = proxy.uri
        child = subprocess.Popen(command, cwd=tmp_path, env=environment)
        end = time.monotonic() + 60
        while SEND not in proxy.calls and time.monotonic() < end:
            time.sleep(0.02)
        child.kill()
        child.wait()
        proxy.delay = 0.0
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    check_everything_once(server, experiment, run)
