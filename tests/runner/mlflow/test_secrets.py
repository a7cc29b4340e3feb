"""Passwords and tokens show nowhere: not in words, files, nor in the commands of children."""

import json
import os
import re
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.runner.mlflow.conftest import MakeRun
from vills.cli import main
from vills.config.tracking import TrackingSettings, load_tracking_settings
from vills.endings import run_main
from vills.errors import InputError
from vills.runner.clusters.jobs import read_environment
from vills.runner.mlflow.settings import describe_error
from vills.runner.mlflow.worker import open_syncer
from vills.secrets import check_public, render_public

SECRET = "hunter2pass"
PRIVATE = (
    "http://user:SECRET@host:5000/x",
    "https://SECRET@github.com/a/b",
    "postgresql+psycopg2://u:a/SECRET:b#?@w@host:5432/db",
    "http://:SECRET@host",
    "http://u:5432SECRET@host",
    "'http://u:SECRET@h' and http://h:5000",
    "http://u:SECRET@h,http://v:SECRET@i",
    "postgresql:///db?user=u&password=SECRET",
    "https://s3/x?X-Amz-Signature=SECRET&a=1",
    "https://h/x?access_token=SECRET#top",
    "failed: HTTPSConnectionPool: http://user:SECRET@host:5000/api/2.0 (caused by x)",
)
PUBLIC = (
    "http://host:5000/a@b",
    "http://127.0.0.1:5000: no x@y",
    "sqlite:////a/b@c:d.db",
    "file:///a:b@c",
    "git@github.com:a/b",
    "see (http://h:80) a@b",
    '{"uri":"http://h:5000","mail":"a@b"}',
    "databricks://profile",
)


@pytest.mark.parametrize("text", PRIVATE)
def test_a_secret_is_hidden(text: str) -> None:
    shown = render_public(text.replace("SECRET", SECRET))
    assert SECRET not in shown
    assert "***" in shown
    assert render_public(shown) == shown


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_no_secret_stays(text: str) -> None:
    assert render_public(text) == text
    check_public("NAME", text)


@pytest.fixture
def private_tracker(monkeypatch: pytest.MonkeyPatch) -> str:
    """A server at whose port nobody listens, with a password."""
    uri = f"http://user:{SECRET}@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("VILLS_TRACKING", raising=False)
    return uri


def test_a_runs_tracker_is_told_by_its_environment(private_tracker: str, make_run: MakeRun) -> None:
    folder, said, commands = make_run(), list[str](), list[str]()
    (folder / "result.json").write_text('{"finished_ms": 1, "metrics": {}, "outputs": {}}')
    settings = load_tracking_settings(folder)
    with open_syncer(folder, settings, patience=30.0, progress=said.append):
        end = time.monotonic() + 10.0
        while not commands and time.monotonic() < end:  # a new process has no words at first
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                if str(folder) in (words := _read(path)):
                    commands.append(words)
                    assert private_tracker in _read(path.with_name("environ"))
    assert commands
    assert "127.0.0.1:9" in said[0]
    kept = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    assert SECRET not in json.dumps([commands, said, kept])


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize("words", [["track"], ["ui"], ["doctor"], ["status"]])
def test_no_command_says_it(
    words: list[str],
    private_tracker: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["configure", "profile=tiny"]) == 0
    (tmp_path / "runs").mkdir()
    main(words)
    said = "".join(capsys.readouterr())
    assert words != ["ui"] or "user:***@127.0.0.1:9" in said
    assert SECRET not in said
    assert all(SECRET not in _read(path) for path in tmp_path.rglob("*") if path.is_file())


def test_jobs_are_not_given_it(private_tracker: str, tmp_path: Path) -> None:
    for uri in (private_tracker, f"https://{SECRET}@host", f"postgresql:///d?password={SECRET}"):
        os.environ["MLFLOW_TRACKING_URI"] = uri
        with pytest.raises(InputError, match="MLFLOW_TRACKING_PASSWORD") as caught:
            read_environment(tmp_path, runs=tmp_path)
        assert SECRET not in str(caught.value)


def test_an_address_that_is_none_is_refused_without_its_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{SECRET}#x@host:5000")
    with pytest.raises(InputError, match="is no address.*%2F") as caught:
        load_tracking_settings(tmp_path)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_errors_and_faults_do_not_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"http://user:{SECRET}@host:5000"
    assert SECRET not in describe_error(ConnectionError(f"{'x' * 480} {uri}"))
    assert SECRET not in repr(TrackingSettings(uri))
    monkeypatch.setenv("VILLS_RUNS", str(tmp_path))

    def fail() -> Any:
        raise RuntimeError(f"{'x' * 270} {uri} failed")

    assert run_main("vills", fail) == os.EX_SOFTWARE
    said = capsys.readouterr().err
    [report] = tmp_path.glob("vills-fault-*")
    assert re.search(r"user:\*\*\*@host", report.read_text())
    assert SECRET not in said + report.read_text()


def test_a_report_of_a_fault_follows_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VILLS_RUNS", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("time.strftime", lambda _: "now")
    target = tmp_path / "target"
    (tmp_path / f"vills-fault-now-{os.getpid()}.txt").symlink_to(target)

    def fail() -> Any:
        raise RuntimeError("x")

    assert run_main("vills", fail) == os.EX_SOFTWARE
    assert "send us this" in capsys.readouterr().err
    assert not target.exists()
