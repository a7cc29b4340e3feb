"""Whatever a command raises becomes words and a status: no traceback reaches a terminal."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import open_read_only
from vills.cli import main
from vills.config.load import save_params
from vills.endings import run_main
from vills.errors import UserError
from vills.interrupt import InterruptedRunError

ROOT = Path(__file__).parent.parent


class SqlError(Exception):
    """As SQLAlchemy and others wrap one."""


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


def end(error: BaseException) -> int:
    def work() -> int:
        raise error

    return run_main("vills", work)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A project on a disk that cannot be written to, not by root either."""
    project = tmp_path / "project"
    project.mkdir()
    command = f"cd {project} && {sys.executable} -m vills configure profile=tiny"
    subprocess.run(command, shell=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    if os.geteuid() != 0:
        pytest.skip("a bind mount can be made by root only")
    with open_read_only(project):
        yield project


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EROFS, "a disk that can be written to"),
        (errno.EACCES, "get the permission"),
        (errno.EPERM, "get the permission"),
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "free space"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENAMETOOLONG, "a shorter name"),
        (errno.ENOTDIR, "a file is where a folder should be"),
        (errno.EISDIR, "a file is where a folder should be"),
        (errno.EEXIST, "a file is where a folder should be"),
        (errno.ENOENT, "check the path"),
        (errno.ELOOP, "leads to itself"),
        (errno.EIO, "look after the disk"),
        (errno.ESTALE, "look after the disk"),
        (errno.ENOMEM, "end other programs"),
        (errno.ENXIO, "correct that"),
    ],
)
def test_what_the_system_refuses_has_path_reason_and_remedy(
    number: int, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "of mine")
    assert end(OSError(number, os.strerror(number), path)) == 2
    said = capsys.readouterr().err
    assert path in said
    assert re.search(rf"What to do: .*{remedy}", said)
    assert "Traceback" not in said


def test_a_bug_is_ours_and_leaves_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VILLS_RUNS", str(tmp_path))
    assert end(KeyError("colour")) == 70
    said = capsys.readouterr().err
    assert "this is our fault, not yours: KeyError: 'colour'" in said
    assert "Traceback" not in said
    (file,) = tmp_path.glob("vills-fault-*.txt")
    assert str(file) in said
    assert "Traceback" in file.read_text()
    # where there are no runs, or they cannot be written: among the temporary files
    monkeypatch.setenv("VILLS_RUNS", "/proc/self/fdinfo")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert end(KeyError("colour")) == 70
    assert len(list((tmp_path / "temporary").glob("vills-fault-*.txt"))) == 1
    # and where nothing can be written it is better shown than lost
    monkeypatch.setattr("tempfile.tempdir", "/proc/self/fdinfo")
    assert end(KeyError("colour")) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("no. What to do: this."), 2, "vills: no. What to do: this."),
        (InterruptedRunError("stopped"), 75, "vills: stopped"),
        (KeyboardInterrupt(), 130, "give the same command again"),
        (MemoryError(), 2, "not enough memory"),
        (OutOfMemoryError("CUDA out of memory"), 2, "not enough memory (CUDA out of memory)"),
        (FileNotFoundError("no such thing. What to do: x."), 2, "vills: no such thing. What to do"),
        (RuntimeError("can't start new thread"), 2, "with fewer processes (VILLS_WORKERS"),
        (RuntimeError("x.cpp: DefaultCPUAllocator: can't allocate memory: 9"), 2, "end other prog"),
        (SqlError("(sqlite3.OperationalError) database or disk is full"), 2, "free space"),
        (SqlError("attempt to write a readonly database"), 2, "a disk that can be written to"),
        (SqlError("Error: I/O error: Permission denied (os error 13)"), 2, "get the permission"),
        (RuntimeError("gloo: Connection closed by peer [::1]:9"), 2, "read what that one said"),
        (TimeoutError(), 2, "TimeoutError. What to do"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, "Broken pipe. What to do"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), 2, "not UTF-8"),
    ],
)
def test_status_and_words(
    error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(error) == status
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_what_a_library_was_caused_by_counts_and_what_it_met_before_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a/picture.jpg")
    error = SqlError("cannot open")
    error.__cause__ = refused
    assert end(error) == 2
    assert "a/picture.jpg: Too many open files (SqlError: cannot open). What" in (
        capsys.readouterr().err
    )
    bug = KeyError("colour")
    bug.__context__ = refused
    assert end(bug) == 70


def test_a_folder_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path.cwd()
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        assert main(["status"]) == 2
        assert "is not there any more. What to do: `cd`" in capsys.readouterr().err
        assert end(KeyError("colour")) == 70
        assert "send us" in capsys.readouterr().err
    finally:
        os.chdir(before)


PRINT = """
import sys
from vills.endings import run_main
def work():
    for i in range(int(sys.argv[1])):
        print("a line \u20ac \udcff")
    return 0
sys.exit(run_main("vills", work))
"""


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("| head -1", 141, ""),
        ("-u | true", 141, ""),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("> /dev/full", 2, "No space left"),
        ("<&- > /dev/null", 0, ""),
    ],
)
def test_a_closed_pipe_is_no_error_and_a_full_disk_is_one(
    command: str, status: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "print.py").write_text(PRINT.encode("unicode-escape").decode().replace("\\n", "\n"))
    lines = 2 if "&-" in command or "full" in command else 100_000
    option, _, rest = command.rpartition("|")
    python = f"{sys.executable} {'-u' if '-u' in option else ''} {tmp_path / 'print.py'} {lines}"
    line = f"{python} {'|' if '|' in command else ''} {rest}; exit ${{PIPESTATUS[0]}}"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=env, check=False
    )
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert bool(done.stderr) == bool(said)


@pytest.mark.parametrize(
    "words",
    [
        ["scores"],
        ["explain", "lambda_grid/alignment_2/map"],
        ["explain", "mars/mars/finetuned/mAP"],
        ["sheet", "world"],
        ["sheet", "masks"],
        ["status"],
        ["run", "curate"],
        ["track"],
        ["ui"],
        ["export", "--weights", "weights", "--out", "x.safetensors"],
        ["extract", "pictures", "--weights", "weights"],
        ["data", "verify", "mars"],
    ],
)
def test_outside_a_project_there_are_words(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VILLS_RUNS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(words) == 2
    assert "What to do" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ['{"model": ', "{}", "[]"])
def test_damaged_artefacts_are_named(
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("artifacts/metrics/evaluate_mars.json", "artifacts/evaluate/mars/results.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(content)
    assert main(["scores"]) == 2
    assert "evaluate_mars.json is damaged" in capsys.readouterr().err
    metrics = tmp_path / "artifacts" / "metrics" / "evaluate_mars.json"
    metrics.write_text('{"model": "", "fingerprint": ""}')
    assert main(["scores"]) == 2
    said = capsys.readouterr().err
    assert "results.json is damaged" in said
    assert "What to do: run the evaluate stage again" in said


@pytest.mark.parametrize("variable", [True, False])
def test_a_file_in_place_of_the_runs_is_not_as_if_nothing_had_run(
    variable: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VILLS_RUNS", raising=False)
    save_params(tmp_path, profile="tiny", overrides=[])
    os.mkfifo("fifo" if variable else "runs")
    if variable:
        monkeypatch.setenv("VILLS_RUNS", "fifo")
    said = "VILLS_RUNS = 'fifo'" if variable else f"{tmp_path / 'runs'}"
    for words in (["status"], ["run", "miniature"], ["track"]):
        assert main(words) == 2
        assert f"vills: {said} is not a folder." in capsys.readouterr().err


@pytest.mark.slow
def test_a_read_only_project_is_looked_at_and_not_written_to(
    read_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(read_only)
    monkeypatch.setenv("VILLS_TRACKING", "off")
    monkeypatch.delenv("VILLS_RUNS", raising=False)
    assert main(["status"]) == 0
    assert "miniature" in capsys.readouterr().out
    assert main(["configure", "profile=tiny"]) == 2
    assert f"{read_only / 'params.yaml'}: Read-only file system" in capsys.readouterr().err
    assert main(["run", "miniature"]) == 2
    assert f"{read_only / 'runs'}: Read-only file system" in capsys.readouterr().err
