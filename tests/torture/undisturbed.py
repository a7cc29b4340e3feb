"""A project whose stages have run undisturbed, copies of it, and what must come out of them."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.project import Project, build_project
from vills.runner.store.journal import load_journal

STAGES: tuple[str, ...] = (
    *("miniature", "curate", "lse", "pretrain", "finetune@market1501", "finetune@mars"),
    *("evaluate@market1501", "evaluate@mars", "report"),
)
HOOK = Path(__file__).parent / "hook"
PATIENCE = 300.0
ELSEWHERE = {
    **{"TZ": "Asia/Kolkata", "LC_ALL": "C", "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "3"},
    **{"USER": "somebody", "LOGNAME": "somebody", "VILLS_WORKERS": "3"},
}
"""A machine that differs in all that no out may depend on; so do its umask and its folders."""


@dataclass(frozen=True)
class Undisturbed:
    """The project, and how many file operations each stage made in it."""

    project: Project
    counts: Mapping[str, tuple[int, int]]
    """Of `vills run`, and of `dvc repro` around it."""

    def copy(self, to: Path, *, without: str = "") -> Project:
        """Copy the project; `without` one stage, as if it had not begun yet."""
        folder = self.project.folder
        left_out = {folder / ".dvc" / "cache", folder / ".dvc" / "tmp"}
        if without:
            left_out |= {folder / out for out in self.list_outs(without)}
            left_out.add(find_run(self.project, without))
        shutil.copytree(
            folder,
            to,
            symlinks=True,
            ignore=lambda where, names: [n for n in names if Path(where) / n in left_out],
        )
        if without:
            lock = yaml.safe_load((to / "dvc.lock").read_text())
            del lock["stages"][without]
            (to / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
        return Project(to)

    def list_outs(self, stage: str) -> list[str]:
        """Paths of what a stage publishes, below the project."""
        return [out["path"] for out in self.project.load_lock()[stage]["outs"]]

    def find_difference(self, project: Project, stage: str) -> str:
        """What a stage left in a copy that differs from what it left here; empty: nothing."""
        run = find_run(self.project, stage)
        assert run is not None
        wanted, found = (
            describe_results(where, stage, outs=self.list_outs(stage), fingerprint=run.name)
            for where in (self.project, project)
        )
        names = [name for name in wanted | found if wanted.get(name) != found.get(name)]
        return ", ".join(names[:5])


def build_undisturbed(folder: Path) -> Undisturbed:
    """Run every stage once, or take what an earlier call left in `folder`."""
    project, path = Project(folder), folder.with_name("operations.json")
    counts: dict[str, tuple[int, int]] = json.loads(path.read_text()) if path.exists() else {}
    if not path.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        build_project(folder).run("dvc", "repro", "check")
    for stage in [name for name in STAGES if name not in counts]:
        log = folder.with_name("log")
        log.unlink(missing_ok=True)
        status, output = run(project, "dvc", "repro", "--single-item", stage, log=log)
        assert status == 0, output
        both = log.read_bytes()
        counts[stage] = both.count(b"v"), len(both)
        path.write_text(json.dumps(counts))
    return Undisturbed(project, counts)


def run(
    project: Project,
    *command: str,
    log: Path | None = None,
    kill: str = "",
    whom: str = "group",
    elsewhere: bool = False,
    seconds: float = PATIENCE,
) -> tuple[int | None, str]:
    """Give a command in a process group of its own, which may be killed; status and output.

    The status is None where it did not end in time. Nothing of the group is left, but for an orphan
    that goes on (`whom` = leader).
    """
    surroundings = ELSEWHERE if elsewhere else {}
    env = project.build_environment({"HOME": str(project.folder.parent), **surroundings})
    if log is not None:
        env |= {"TORTURE_LOG": str(log), "TORTURE_ROOT": str(project.folder), "TORTURE_WHOM": whom}
        env["PYTHONPATH"] = f"{HOOK}{os.pathsep}{env['PYTHONPATH']}"
        env |= {"TORTURE_KILL": kill} if kill else {}
    output = project.folder.with_name(f"{project.folder.name}.output")
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=project.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            umask=0o077 if elsewhere else -1,
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
    if whom != "leader" or status is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return status, output.read_text(errors="replace")


def find_run(project: Project, stage: str) -> Path | None:
    """The folder of the one run of a stage, once it has its receipt."""
    name, _, item = stage.partition("@")
    for receipt in (project.folder / "runs" / name).glob("*/receipt.json"):
        if json.loads(receipt.read_text())["item"] == item:
            return receipt.parent
    return None


def describe_results(
    project: Project, stage: str, *, outs: Sequence[str], fingerprint: str
) -> dict[str, Any]:
    """Digests of what a stage published and of its run's outputs, and its journal's values."""
    folder = project.folder
    run = folder / "runs" / stage.partition("@")[0] / fingerprint
    found: dict[str, Any] = {"runs": sorted(path.name for path in run.parent.glob("*"))}
    for root in (run / "out", *(folder / out for out in outs)):
        for path in [root, *root.rglob("*")]:
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    content = load_journal(run / "journal.jsonl")
    found["journal"] = [
        (record.step, record.metrics) for record in (*content.committed, *content.pending)
    ]
    return found
