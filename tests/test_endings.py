"""Whatever a command raises becomes words and a status: no traceback reaches a terminal."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vills.cli import main
from vills.endings import run_main
from vills.errors import UserError
from vills.interrupt import InterruptedRunError

ROOT = Path(__file__).parent.parent


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
    made = subprocess.run(["mount", "--bind", project, project], check=False, capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"no bind mount can be made here: {made.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", project], check=True)
        yield project
    finally:
        subprocess.run(["umount", "--lazy", project], check=True)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EROFS, "a disk that can be written to"),
        (errno.EACCES, "get the permission"),
        (errno.EPERM, "get the permission"),
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "free space"),
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


def test_damaged_artefacts_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("artifacts/metrics/evaluate_mars.json", "artifacts/evaluate/mars/results.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text('{"model": ')
    assert main(["scores"]) == 2
    assert "evaluate_mars.json is damaged" in capsys.readouterr().err


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
