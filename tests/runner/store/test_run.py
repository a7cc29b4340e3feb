import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vills.errors import RunError
from vills.io import load_json, save_bytes
from vills.refusals import DiskFullError
from vills.runner.store import run as run_module
from vills.runner.store.code_digest import CodeState
from vills.runner.store.journal import load_journal
from vills.runner.store.lock import LostRunError, get_last_attempt
from vills.runner.store.result import find_journal_problem
from vills.runner.store.run import DamagedError, DriftError, Run

MODULE = "vills.config.checks"

STAGE = """
import os, signal, sys
from pathlib import Path
from vills.runner.store.run import Run
root = Path(sys.argv[1])
run = Run(root / "runs", stage="demo", read_params=lambda: {"a": 1},
               inputs={"data": root / "data"}, module="vills.config.checks",
          progress=lambda text: print(text, file=sys.stderr, flush=True))
with run:
    for number in range(4):
        shard = run.work / f"{number}.txt"
        if not shard.exists():
            run.lock.guard()
            shard.write_text(str(number))
            if number == int(sys.argv[2]):
                (run.out / ".all.txt.0123.tmp").write_text("half a write")
                os.kill(os.getpid(), signal.SIGKILL)
    (run.out / "all.txt").write_text("".join(p.read_text() for p in sorted(run.work.glob("*.txt"))))
    run.complete()
"""


class Project:
    """A small project whose stage can be opened again and again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.params: dict[str, Any] = {"lr": 0.1, "deep": {"steps": 10}}
        self.said: list[str] = []
        (root / "data").mkdir()
        (root / "data" / "a.txt").write_text("input")

    def open(self) -> Run:
        return Run(
            self.root / "runs",
            stage="demo",
            item="mars",
            read_params=lambda: json.loads(json.dumps(self.params)),
            inputs={"data": self.root / "data"},
            module=MODULE,
            progress=self.said.append,
        )

    def finish(self) -> Run:
        run = self.open()
        with run:
            assert not run.is_complete()
            save_bytes(run.out / "sub" / "model.bin", b"weights")
            save_bytes(run.out / "score.json", b"{}")
            run.journal.log(1, {"loss": 2.0})
            run.complete(metrics={"mAP": 0.5}, artifacts=["score.json"])
        return run


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_run_goes_from_receipt_to_result(project: Project) -> None:
    run = project.finish()
    receipt = json.loads(run.receipt_path.read_text())
    assert receipt["fingerprint"] == run.folder.name == run.fingerprint
    assert (receipt["stage"], receipt["item"], receipt["params"]) == (
        "demo",
        "mars",
        project.params,
    )
    assert "vills/config/checks.py" in receipt["code"]["files"]
    assert receipt["packages"]["numpy"]
    result = load_json(run.result_path)
    assert sorted(result["outputs"]) == ["score.json", "sub/model.bin"]
    assert (result["metrics"], result["artifacts"]) == ({"mAP": 0.5}, ["score.json"])
    assert len(load_journal(run.journal.path).committed) == 1
    assert json.loads((run.folder / "attempts" / "000001.end.json").read_text())["status"] == (
        "finished"
    )


def test_a_finished_run_is_collected_not_repeated(project: Project) -> None:
    project.finish()
    again = project.open()
    with again:
        assert again.is_complete()
        assert again.lock.attempt is None
        assert load_json(again.result_path)["metrics"] == {"mAP": 0.5}
    assert get_last_attempt(again.folder / "attempts") == 1


def test_a_run_that_ends_just_before_the_claim_is_collected(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.finish()
    run = project.open()
    answers = iter([False, False])
    look = run.is_complete
    monkeypatch.setattr(run, "is_complete", lambda: next(answers, None) is None and look())
    with run:
        assert run.lock.attempt is None
        assert load_json(run.result_path)["metrics"] == {"mAP": 0.5}
    assert (run.out / "sub" / "model.bin").read_bytes() == b"weights"


def test_opening_writes_nothing(project: Project) -> None:
    run = project.open()
    assert not run.folder.exists()
    assert not run.is_complete()


def test_only_what_counts_names_the_run(project: Project) -> None:
    names = [project.open().fingerprint]
    project.params["lr"] = 0.2
    names.append(project.open().fingerprint)
    (project.root / "data" / "a.txt").write_text("other")
    names.append(project.open().fingerprint)
    assert len(set(names)) == 3
    (project.root / "data").rename(project.root / "moved")
    with pytest.raises(RunError, match="data is missing"):
        project.open()
    (project.root / "data").symlink_to(project.root / "moved")
    assert project.open().fingerprint == names[-1]


@pytest.mark.parametrize("damage", ["change", "remove", "add", "result"])
def test_damaged_outputs_are_seen_and_rebuilt(project: Project, damage: str) -> None:
    run = project.finish()
    (run.work / "state.json").write_text("finished")
    whole = (run.out / "score.json").stat().st_ino
    path = run.out / "sub" / "model.bin"
    if damage == "result":
        run.result_path.write_text("{}")
    elif damage == "add":
        (run.out / "more").write_text("")
    else:
        path.unlink()
        if damage == "change":
            path.write_bytes(b"WEIGHTS")
    with pytest.raises(DamagedError, match="What to do: run the stage again"):
        run.publish(project.root / "artifacts" / "demo")
    project.finish()
    assert "damaged, 1 in all" in project.said[0]
    assert path.read_bytes() == b"weights"
    assert (run.work / "state.json").exists(), "what recovery needs"
    assert not (run.out / "more").exists()
    assert (run.out / "score.json").stat().st_ino != whole, "it is written anew, never into"
    assert project.open().is_complete()


def test_a_damaged_journal_is_made_again_if_a_checkpoint_can(project: Project) -> None:
    run = project.finish()
    run.journal.path.write_bytes(run.journal.path.read_bytes()[:-40])
    assert project.open().is_complete(), "outputs are whole, and nothing could restore it"
    assert "its curves are lost, but no output" in find_journal_problem(run.folder)
    save_bytes(run.work / "checkpoints" / "step-00000001.pt", b"holds it")
    assert not project.open().is_complete()
    project.finish()
    assert "journal.jsonl" in project.said[0]
    assert load_journal(run.journal.path).committed[0].metrics == {"loss": 2.0}
    assert project.open().is_complete()
    assert not find_journal_problem(run.folder)


def test_params_that_change_meanwhile_are_not_handed_to_dvc(project: Project) -> None:
    run = project.open()
    with run:
        project.params["deep"]["steps"] = 20
        with pytest.raises(
            DriftError, match=r"params.yaml changed while the stage ran: deep.steps: 10 -> 20"
        ):
            run.complete()
    with pytest.raises(DriftError):
        run.publish(project.root / "artifacts" / "demo")
    assert not (project.root / "artifacts").exists()
    project.params["deep"]["steps"] = 10
    assert project.open().is_complete()  # the run itself is sound


@pytest.mark.parametrize("change", ["change", "remove"])
def test_inputs_that_change_meanwhile_spoil_the_run(project: Project, change: str) -> None:
    run = project.open()
    with run:
        if change == "remove":
            (project.root / "data" / "a.txt").unlink()
            (project.root / "data").rmdir()
        else:
            (project.root / "data" / "a.txt").write_text("other")
        with pytest.raises(
            DriftError, match=r"input data (changed|disappeared) while the stage ran"
        ):
            run.complete()
    assert not run.is_complete()
    assert run.work.is_dir()


def test_code_that_changes_meanwhile_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project.open()
    files = {**run.receipt["code"]["files"], "vills/config/checks.py": "0" * 64}
    with run:
        monkeypatch.setattr(
            run_module, "compute_code_state", lambda module: CodeState("0" * 64, files)
        )
        with pytest.raises(
            DriftError, match="code changed while the stage ran: vills/config/checks.py"
        ):
            run.complete()
    assert not run.is_complete()


def test_an_attempt_that_was_taken_over_cannot_complete(project: Project) -> None:
    run = project.open()
    with run:
        (run.folder / "attempts" / "000002.json").write_text("{}")
        with pytest.raises(LostRunError):
            run.complete()
    assert not run.result_path.exists()


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("why"), "failed"), (KeyboardInterrupt(), "killed")]
)
def test_how_an_attempt_ended_is_noted(project: Project, error: BaseException, status: str) -> None:
    run = project.open()
    with pytest.raises(type(error)), run:
        raise error
    end = json.loads((run.folder / "attempts" / "000001.end.json").read_text())
    assert end["status"] == status
    with project.open() as again:
        assert again.lock.attempt == 2
        (again.work / "state.json").write_text("half")
    assert "attempt 2 begins anew" in project.said[-1]
    with project.open():
        assert "attempt 3 continues where the last one ended" in project.said[-1]


def test_a_bare_no_space_error_is_explained(project: Project) -> None:
    run = project.open()
    with pytest.raises(DiskFullError, match=r"No space left for .*What to do: free space"), run:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_artifacts_must_exist(project: Project) -> None:
    run = project.open()
    with run, pytest.raises(FileNotFoundError, match="no artifact"):
        run.complete(artifacts=["nothing.html"])


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("x")
    codes = []
    for kill_at in (0, 2, -1):
        command = [sys.executable, "-c", STAGE, str(tmp_path), str(kill_at)]
        codes.append(subprocess.run(command, check=False, timeout=60).returncode)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    (folder,) = (tmp_path / "runs" / "demo").iterdir()
    assert [path.name for path in (folder / "out").iterdir()] == ["all.txt"]
    assert (folder / "out" / "all.txt").read_text() == "0123"
    assert get_last_attempt(folder / "attempts") == 3


@pytest.mark.slow
def test_two_at_once_make_one_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("x")
    stage = STAGE.replace("with run:", "with run:\n    if run.is_complete(): sys.exit(3)")
    stage = stage.replace(
        "    run.complete()", "    import time; time.sleep(1)\n    run.complete()"
    )
    command = [sys.executable, "-c", stage, str(tmp_path), "-1"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = sorted((process.communicate(timeout=60)[1], process.returncode) for process in both)
    assert sorted(code for _, code in ends) == [0, 3]
    assert sum("waits for attempt 1 by process" in text for text, _ in ends) == 1
    assert os.listdir(tmp_path / "runs" / "demo") != []  # noqa: PTH208
