"""kill -9 of the stage, then of dvc, in every stage: it goes on, and the bits are the same."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.project import Project, build_project

pytestmark = pytest.mark.slow

STAGES = [
    "miniature",
    "curate",
    "lse",
    "pretrain",
    "finetune@market1501",
    "finetune@mars",
    "evaluate@market1501",
    "evaluate@mars",
    "report",
]
PATIENCE = 120.0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("undisturbed")
    project = build_project(folder / "project")
    project.run("dvc", "repro")
    yield project
    shutil.rmtree(folder, ignore_errors=True)


def find_run(project: Project, name: str) -> Path | None:
    """The folder of the one run of a stage, once it exists."""
    stage, _, item = name.partition("@")
    for receipt in (project.folder / "runs").glob(f"{stage}/*/receipt.json"):
        try:
            if json.loads(receipt.read_text())["item"] == item:
                return receipt.parent
        except ValueError:
            continue
    return None


def wait_for(condition: Any, process: "subprocess.Popen[bytes]") -> bool:
    """Poll until the condition holds; False if the process ended first."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return bool(condition())
        time.sleep(0.005)
    raise AssertionError("nothing happened")


def is_working(project: Project, name: str, *, attempt: int) -> bool:
    """Whether an attempt has begun to write something of its own."""
    run = find_run(project, name)
    if run is None or not (run / "attempts" / f"{attempt:06d}.json").exists():
        return False
    return attempt > 1 or any(
        p.is_file() for p in [*(run / "work").rglob("*"), *(run / "out").rglob("*")]
    )


def kill_stage(project: Project, name: str) -> bool:
    """kill -9 of the process that works on a stage, as soon as it has written something."""
    dvc = project.start("dvc", "repro", name)
    wait_for(lambda: is_working(project, name, attempt=1), dvc)
    run = find_run(project, name)
    assert run is not None
    unfinished = not (run / "result.json").exists()
    os.kill(json.loads((run / "attempts" / "000001.json").read_text())["pid"], signal.SIGKILL)
    dvc.wait(PATIENCE)
    return unfinished and not (run / "result.json").exists()


def kill_dvc(project: Project, name: str) -> None:
    """kill -9 of dvc alone, while its stage works; the orphan goes on."""
    dvc = project.start("dvc", "repro", name)
    wait_for(lambda: is_working(project, name, attempt=2), dvc)
    dvc.send_signal(signal.SIGKILL)
    dvc.wait(PATIENCE)


def test_killed_in_every_stage_and_the_same_bits(undisturbed: Project, tmp_path: Path) -> None:
    project = build_project(tmp_path / "project")
    survived = []
    for name in STAGES:
        if not kill_stage(project, name):
            survived.append(name)
        kill_dvc(project, name)
        project.run("dvc", "repro", name)
    assert survived == [], "these were finished before the signal came"
    project.run("dvc", "repro")
    wanted, found = undisturbed.load_lock(), project.load_lock()
    for name in STAGES:
        if name != "report":  # it states how long each run took
            assert found[name]["outs"] == wanted[name]["outs"], f"{name} differs"
    for metrics in (undisturbed.folder / "artifacts" / "evaluate").rglob("results.json"):
        relative = metrics.relative_to(undisturbed.folder)
        assert metrics.read_bytes() == (project.folder / relative).read_bytes()


def test_two_runs_of_one_stage_at_once_give_one_run(tmp_path: Path) -> None:
    project = build_project(tmp_path / "project", overrides=["miniature.num_scenes=1"])
    first = project.start("vills", "run", "miniature")
    second = project.run("vills", "run", "miniature")
    assert first.wait(PATIENCE) == 0
    attempts = list((project.folder / "runs" / "miniature").glob("*/attempts/*[0-9].json"))
    assert len(attempts) == 1
    assert second.returncode == 0
