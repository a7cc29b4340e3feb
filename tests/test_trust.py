"""What others may have written is not run: snapshots, pickles, files of jobs."""

import os
import pickle
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vills.errors import UserError
from vills.runner.plan.registry import save_code
from vills.trust import TrustError, check_trusted, render_guarded

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def give(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def share(path: Path) -> None:
    os.chown(path, 0, NOBODY)
    path.chmod(path.stat().st_mode | 0o020)


def open_up(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs with a snapshot, below a folder that anybody may do anything with."""
    tmp_path.chmod(0o777)
    folder = tmp_path / "runs" / "_code" / "abc" / "vills"
    folder.mkdir(parents=True)
    (folder / "work.py").write_text("x = 1\n")
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (give, "belongs to nobody"),
        (share, "can be changed by the group nogroup"),
        (open_up, "can be changed by everybody"),
    ],
)
@pytest.mark.parametrize(
    "name", [".", "_code", "_code/abc", "_code/abc/vills", "_code/abc/vills/work.py"]
)
def test_what_others_may_have_written_is_refused(
    harm: Callable[[Path], None], reason: str, name: str, runs: Path
) -> None:
    check_trusted(runs, runs / "_code/abc")
    harm(runs / name)
    with pytest.raises(TrustError, match=rf"{(runs / name).name} {reason}.*What to do: "):
        check_trusted(runs, runs / "_code/abc")


def test_links_lead_nowhere_else(runs: Path, tmp_path: Path) -> None:
    folder = runs / "_code/abc/vills"
    (folder / "same.py").symlink_to("work.py")
    check_trusted(runs, runs / "_code/abc")
    (folder / "other.py").symlink_to("/etc/hostname")
    with pytest.raises(TrustError, match="other.py is a link to /etc/hostname"):
        check_trusted(runs, runs / "_code/abc")
    (folder / "other.py").unlink()
    (runs / "_code/abc").rename(tmp_path / "abc")
    (runs / "_code/abc").symlink_to(tmp_path / "abc")
    with pytest.raises(TrustError, match="abc is a link to"):
        check_trusted(runs, runs / "_code/abc")
    (tmp_path / "link").symlink_to(runs)  # what the user names may be one
    (runs / "_code/abc").unlink()
    (tmp_path / "abc").rename(runs / "_code/abc")
    check_trusted(tmp_path / "link", runs / "_code/abc")


def test_a_stated_group_is_trusted(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = runs / "_code/abc"
    give(code / "vills/work.py")
    share(runs)
    for group in ("nogroup", str(NOBODY)):  # nobody's
        monkeypatch.setenv("VILLS_TRUSTED_GROUP", group)
        check_trusted(runs, code)
    monkeypatch.setenv("VILLS_TRUSTED_GROUP", "daemon")
    with pytest.raises(TrustError):
        check_trusted(runs, code)
    monkeypatch.setenv("VILLS_TRUSTED_GROUP", "nobodys")
    with pytest.raises(UserError, match="'nobodys' is no group here.*What to do"):
        check_trusted(runs, code)
    monkeypatch.setenv("VILLS_TRUSTED_GROUP", "nogroup")
    os.chown(code, 54321, NOBODY)  # a number without a name is nobody's member, whatever its group
    with pytest.raises(TrustError, match="user 54321"):
        check_trusted(runs, code)


def test_a_folder_where_all_keep_their_own_is_enough(runs: Path) -> None:
    runs.chmod(0o1777)
    check_trusted(runs, runs / "_code/abc")


def test_a_snapshot_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    package = tmp_path / "vills"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    runs = tmp_path / "runs"
    name = save_code(runs, tmp_path, package=package)
    assert save_code(runs, tmp_path, package=package) == name
    give(runs / name / "vills/a.py")
    with pytest.raises(TrustError, match="belongs to nobody"):
        save_code(runs, tmp_path, package=package)


class Planted:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["_logs/batch/1_submitted.pkl", "_code/abc/vills/work.py", ""])
def test_no_job_opens_a_pickle_of_somebody_else(name: str, runs: Path, tmp_path: Path) -> None:
    logs = runs / "_logs/batch"
    logs.mkdir(parents=True)
    mark, planted = tmp_path / "mark", logs / "1_submitted.pkl"
    planted.write_bytes(pickle.dumps(Planted(mark)))
    python = render_guarded(sys.executable, runs=runs, paths=[runs / "_code/abc", logs])
    program = f"import pickle; pickle.load(open({str(planted)!r}, 'rb')); print('it ran')"
    text = f"{python} -u -c {shlex.quote(program)} {shlex.quote(str(logs))}"
    if name:
        give(runs / name)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    if name:
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"vills: {runs / name} belongs to nobody")
        assert done.stderr.count("\n") == 1
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, "it ran\n", "")
    assert mark.exists() == (not name)
