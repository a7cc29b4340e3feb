"""A store that takes no runs: its name, the reason and the remedy; never MLflow's words alone."""

import http.server
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.runner.mlflow.conftest import MakeRun
from vills.cli import main
from vills.config.tracking import TrackingSettings
from vills.runner.mlflow.replay import sync_run


@pytest.fixture(autouse=True)
def environment(
    tmp_path: Path, settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("VILLS_TRACKING", "VILLS_RUNS", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.uri)


def test_a_deleted_experiment(
    settings: TrackingSettings, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run()
    assert sync_run(folder, settings).ok
    client = MlflowClient(settings.uri)
    number = client.get_experiment_by_name("vills").experiment_id
    client.delete_experiment(number)
    for command in ("track", "ui"):
        assert main([command]) == 2
        said = capsys.readouterr().err
        assert "experiment 'vills' was deleted" in said
        assert f"experiments restore --experiment-id {number}" in said
        assert "MLFLOW_EXPERIMENT_NAME" in said
    assert "was deleted" in sync_run(folder, settings).reason
    client.restore_experiment(number)
    assert main(["track"]) == 0


def test_a_database_of_another_mlflow(
    settings: TrackingSettings, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run()
    with sqlite3.connect(settings.uri.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert main(["track"]) == 2
    said = capsys.readouterr().err
    assert settings.uri in said
    assert "another version of MLflow made this database" in said


class Refusing(http.server.BaseHTTPRequestHandler):
    status = 401

    def do_GET(self) -> None:  # noqa: N802 - its name in the standard library
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"You are not authenticated")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.mark.parametrize(
    ("status", "words"), [(401, "MLFLOW_TRACKING_USERNAME"), (403, "MLFLOW_TRACKING_USERNAME")]
)
def test_a_server_that_wants_another_user(
    status: int,
    words: str,
    server: http.server.HTTPServer,
    make_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run()
    monkeypatch.setattr(Refusing, "status", status)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    assert main(["track"]) == 2
    said = capsys.readouterr().err
    assert f"http://127.0.0.1:{server.server_port}" in said
    assert str(status) in said
    assert words in said


def test_nobody_listens(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert main(["track"]) == 2
    assert "no server at 127.0.0.1:1" in (said := capsys.readouterr().err)
    assert "start the server" in said


def test_a_port_that_is_taken(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    make_run()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"--port {port} = 'Address already in use'" in said
    assert "vills ui --port " in said
    assert main(["ui", "--port", "700000"]) == 2
    assert "1 to 65535" in capsys.readouterr().err
    assert main(["ui", "--port", "-1"]) == 2


def test_tracking_that_is_off(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run()
    monkeypatch.setenv("VILLS_TRACKING", "0")
    for command in ("track", "ui"):
        assert main([command]) == 2
        assert "VILLS_TRACKING is off" in capsys.readouterr().err
