"""Two nodes that want one run: host names and process ids of one mean nothing on the other."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import slurm_site
from tests.project import Project
from tests.slurm_files import NAMESPACES
from tests.slurm_site import get_step, list_attempts, load_outputs, wait_until

pytestmark = pytest.mark.slurm

NODE = 'hostname "$1"; shift; exec "$@"'
IMPATIENT = """
import sys
from vills.runner.work import slurm_job
slurm_job.PATIENCE_SECONDS = 0.0
from vills.__main__ import main
sys.exit(main(["run", "pretrain"]))
"""


def start_on(
    project: Project, host: str, *command: str, env: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a command as on a node of its own; its process is the only child of what comes back."""
    return project.start(*NAMESPACES, "sh", "-c", NODE, "node", host, *command, env=env)


def find_child(process: "subprocess.Popen[bytes]") -> int:
    """The process on its node, by the number that it has here."""
    pid = process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def wait_for_step(project: Project, step: int) -> Path:
    """Wait until the only pre-training has come so far."""

    def find() -> list[Path]:
        return sorted((project.folder / "runs" / "pretrain").glob("*"))

    wait_until(lambda: any(get_step(run) >= step for run in find()), f"step {step}")
    (run,) = find()
    assert not (run / "result.json").exists(), "it was too quick"
    return run


def list_dates(folder: Path) -> dict[Path, int]:
    """When each file below a folder was written last."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_second_writer_is_refused(prepared: Project, tmp_path: Path) -> None:
    project = slurm_site.copy_project(prepared, tmp_path / "p")
    project.run("vills", "configure", "profile=tiny_sets", "pretrain.max_steps=40", "--force")
    first = start_on(project, "alpha", "vills", "run", "pretrain")
    run = wait_for_step(project, 2)
    # in an allocation, where nobody waits for ever
    env = {"SLURM_JOB_ID": "99"}
    second = start_on(project, "beta", sys.executable, "-c", IMPATIENT, env=env)
    assert second.wait(120) == 75
    assert not (run / "result.json").exists(), "it was too quick to be held"
    told = (project.folder / "background.log").read_text()
    assert "is being written by attempt 1 by process 1 on alpha" in told
    assert first.wait(240) == 0
    assert [end["status"] for end in list_attempts(run)] == ["finished"]


def test_an_orphan_that_was_given_up_commits_nothing(prepared: Project, tmp_path: Path) -> None:
    project = slurm_site.copy_project(prepared, tmp_path / "p")
    project.run("vills", "configure", "profile=tiny_sets", "pretrain.max_steps=20", "--force")
    orphan = start_on(project, "alpha", "vills", "run", "pretrain")
    run = wait_for_step(project, 2)
    os.kill(find_child(orphan), signal.SIGSTOP)
    # Seen from another node it is silent; its last sign of life is made as old as that takes.
    attempt = run / "attempts" / "000001.json"
    old = attempt.stat().st_mtime - 600
    os.utime(attempt, (old, old))
    project.run(*NAMESPACES, "sh", "-c", NODE, "node", "beta", "vills", "run", "pretrain")
    before = list_dates(run / "work")
    outputs, journal = load_outputs(run), (run / "journal.jsonl").read_bytes()
    os.kill(find_child(orphan), signal.SIGCONT)
    assert orphan.wait(120) != 0
    assert "was taken over by attempt 2" in (project.folder / "background.log").read_text()
    assert list_dates(run / "work") == before
    assert (run / "journal.jsonl").read_bytes() == journal
    assert load_outputs(run) == outputs
    assert json.loads((run / "result.json").read_text())["attempt"] == 2
