"""git is asked in one place, and whatever it does not answer is said."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vills.cli import main
from vills.git import NO_REPOSITORY, describe_commit, describe_git, load_git_diff
from vills.runner.doctor.facts import ClusterFacts
from vills.runner.doctor.project import check_git
from vills.runner.store.run import Run

Fault = Callable[[Path, pytest.MonkeyPatch], None]
AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *AUTHOR, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))  # whose git settings allow nothing
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "code.py").write_text("a = 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def break_ownership(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a repository to another user")
    for path in (folder, folder / ".git"):
        os.chown(path, 65534, 65534)


def hide_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))


def damage_head(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git" / "HEAD").unlink()


def damage_objects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (folder / ".git" / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(b"x")


def damage_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git" / "index").write_bytes(b"x" * 40)


def begin_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(folder, "checkout", "--quiet", "--orphan", "unborn")


def move_worktree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git").rename(folder / "moved")
    (folder / ".git").write_text("gitdir: /no/such/place\n")


def point_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/no/such/place")


def slow_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("vills.git.SECONDS", 0.2)


FAULTS: dict[Fault, str] = {
    break_ownership: "another user owns.*safe.directory",
    hide_git: "no git on the PATH",
    damage_head: "not a git repository",
    damage_objects: "git fails",
    damage_index: "index",
    begin_anew: "no commit yet",
    move_worktree: "not a git repository",
    point_elsewhere: "not a git repository",
    slow_git: "no answer in",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_failure_is_said_everywhere(
    fault: Fault,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.delenv("VILLS_RUNS", raising=False)
    assert main(["configure", "profile=tiny"]) == 0
    fault(checkout, monkeypatch)
    told = describe_git(checkout)
    assert told["dirty"] is None
    assert "What to do" in told["problem"]
    pattern = rf"(?s){FAULTS[fault]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vills.runner.plan.launch.describe_status", lambda project: "")
        assert main(["status"]) == 0
    assert_matches(pattern, capsys.readouterr().out)
    (finding,) = check_git(ClusterFacts(folder=checkout, runs=checkout / "runs"))
    assert finding.level == "fault"
    assert_matches(pattern, finding.found + finding.remedy)
    said: list[str] = []
    run = Run(
        checkout / "runs",
        stage="demo",
        read_params=lambda: {},
        inputs={},
        module="vills.config.checks",
        progress=said.append,
    )
    with run:
        pass
    assert_matches(pattern, run.receipt["git"]["problem"])
    assert_matches(pattern, "".join(said))


def assert_matches(pattern: str, text: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        raise ValueError(text)


def test_without_a_repository_nothing_is_broken_and_a_commit_is_never_nothing(
    tmp_path: Path,
) -> None:
    told = describe_git(tmp_path)
    assert told["problem"] == NO_REPOSITORY
    assert describe_commit(told) == f"no commit is known, {NO_REPOSITORY}"
    assert describe_commit({"commit": None, "dirty": None}).endswith(NO_REPOSITORY)
    (finding,) = check_git(ClusterFacts(folder=tmp_path, runs=tmp_path / "runs"))
    assert finding.level == "note"


def test_a_checkout_says_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert describe_commit(describe_git(checkout)) == commit
    (checkout / "code.py").write_text("a = 2\n")
    told = describe_git(checkout)
    assert (told["dirty"], told["problem"]) == (True, "")
    assert describe_commit(told) == f"{commit}, with uncommitted changes"
    (finding,) = check_git(ClusterFacts(folder=checkout, runs=checkout / "runs"))
    assert finding.level == "ok"


def test_a_repository_around_that_knows_nothing_of_the_project_does_not_speak_for_it(
    checkout: Path,
) -> None:
    inner = checkout / "untracked"
    inner.mkdir()
    (inner / "x").touch()
    told = describe_git(inner)
    assert told["commit"] is None
    assert "has no file of it" in told["problem"]


def test_settings_of_a_strangers_folder_run_nothing(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    tool = checkout / "tool"
    tool.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    tool.chmod(0o755)
    (checkout / "git").symlink_to("tool")  # for a PATH with `.` in it
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.environ['PATH']}{os.pathsep}")
    (checkout / ".gitattributes").write_text("* diff=mine\n")
    git_folder = checkout / ".git"
    with (git_folder / "config").open("a") as file:
        file.write(
            f'[core]\n\tfsmonitor = "{tool}"\n\thooksPath = "{checkout}"\n\tpager = "{tool}"\n'
            f'[diff "mine"]\n\ttextconv = "{tool}"\n\tcommand = "{tool}"\n'
            f'[diff]\n\texternal = "{tool}"\n'
        )
    (checkout / "post-index-change").symlink_to("tool")
    (checkout / "code.py").write_text("a = 2\n")
    told = describe_git(checkout)
    assert (told["dirty"], told["problem"]) == (True, "")
    assert "a = 2" in load_git_diff(checkout)
    assert not mark.exists()
