"""A project whose jobs a test bed's SLURM runs: what a researcher types, and what is left of it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.project import ROOT, Project
from tests.slurm_bed import SlurmBed

JOB = {"cpus_per_task": 1, "timeout_min": 10, "signal_seconds": 60}
"""What a stage's jobs ask of the bed."""
STAGES = ("miniature", "curate", "lse", "pretrain", "finetune", "evaluate")
PATIENCE = 600.0
LAMBDA_GRID = ("masking_off", "masking_1")


@dataclass(frozen=True)
class Site:
    """A project and the cluster that it lies on."""

    project: Project
    bed: SlurmBed

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.project.folder

    @property
    def runs(self) -> Path:
        """Where its runs are."""
        return self.folder / "runs"

    def run(
        self, *command: str, check: bool = True, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Give a command in the project's folder, with this cluster's sbatch."""
        return self.project.run(*command, check=check, env={**self.bed.env, **(env or {})})

    def start(
        self, *command: str, env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Give a command and do not wait."""
        return self.project.start(*command, env={**self.bed.env, **(env or {})})

    def launch(
        self, *words: str, check: bool = True, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """`python sweeps/launch.py` with these words."""
        return self.run(sys.executable, "sweeps/launch.py", *words, check=check, env=env)

    def sbatch(
        self, *options: str, env: Mapping[str, str] | None = None, script: str = "slurm/pretrain.sh"
    ) -> str:
        """`sbatch slurm/pretrain.sh` in the project's folder; the job's id."""
        fixed = ("sbatch", "--parsable", "--output=out-%j.log", "--time=10")
        return self.run(*fixed, *options, script, env=env).stdout.split()[-1]

    def get_output(self, job: str) -> str:
        """What a job of `sbatch` has printed in all its runs."""
        path = self.folder / f"out-{job}.log"
        return path.read_text() if path.exists() else ""

    def finish(self, job: str) -> None:
        """Wait until a job is over, and see that it went well."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
        state = self.bed.wait(job, over, timeout=PATIENCE)
        assert state == "COMPLETED", f"{state}\n{self.get_output(job)}"

    def save_sweep(self, name: str, points: Mapping[str, Sequence[str]]) -> str:
        """A sweep of one's own over Market-1501; the path of its file, as launch.py takes it."""
        column = {"head": "M", "evaluate": "market1501", "protocol": "market1501", "metric": "mAP"}
        content = {
            "defaults": ["sweep_schema", "_self_"],
            "title": "A test",
            "command": f"python sweeps/launch.py {name}.yaml",
            "cost": "nothing",
            "tables": {"table": {"title": "A test", "columns": {"market_map": column}}},
            "points": {
                key: {"label": key, "overrides": list(overrides)}
                for key, overrides in points.items()
            },
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return f"{name}.yaml"

    def save_job(self, stage: str, **fields: Any) -> None:
        """Change what a stage's jobs ask for."""
        (self.folder / "slurm" / f"{stage}.yaml").write_text(yaml.safe_dump({**JOB, **fields}))

    def wait_for_sweep(self, name: str, *, seconds: float = PATIENCE) -> str:
        """Wait until nothing of a sweep is going on; the last table of `status`."""
        end = time.monotonic() + seconds
        while True:
            text = self.launch("status", name).stdout
            summary = text[: text.index("\n")]
            if "runs)" not in summary and "queued" not in summary and " runs" not in summary[20:]:
                return text
            assert time.monotonic() < end, text
            time.sleep(1)

    def list_runs(self, stage: str) -> list[Path]:
        """Folders of a stage's runs, complete or not."""
        return sorted(path.parent for path in (self.runs / stage).glob("*/receipt.json"))

    def get_run(self, stage: str) -> Path:
        """The folder of the only run of a stage."""
        (run,) = self.list_runs(stage)
        return run


def build_site(
    folder: Path, bed: SlurmBed, *, like: Project, overrides: Sequence[str] = ()
) -> Site:
    """A copy of a project on a bed's cluster, with other parameters if wanted."""
    site = Site(copy_project(like, folder), bed)
    if overrides:
        site.run("vills", "configure", "profile=tiny_sets", *overrides, "--force")
    return site


def copy_project(project: Project, folder: Path) -> Project:
    """A copy of a project with all its runs."""
    shutil.copytree(project.folder, folder, symlinks=True)
    return Project(folder)


def save_jobs(folder: Path) -> None:
    """Let all stages ask for what a bed has."""
    for stage in STAGES:
        (folder / "slurm" / f"{stage}.yaml").write_text(yaml.safe_dump(JOB))


def list_steps(run: Path) -> dict[int, float]:
    """Total loss by step, as the journal has it: after a rewind, of the attempt that counts."""
    steps: dict[int, float] = {}
    for line in load_journal(run):
        if "loss/total" in line.get("metrics", {}):
            steps[line["step"]] = line["metrics"]["loss/total"]
    return steps


def load_journal(run: Path) -> list[dict[str, Any]]:
    """Complete lines of a run's journal."""
    path = run / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def get_step(run: Path) -> int:
    """The last step that the journal speaks of."""
    return max((line.get("step", 0) for line in load_journal(run)), default=0)


def load_outputs(run: Path) -> dict[str, str]:
    """Digest of every output of a complete run."""
    return dict(json.loads((run / "result.json").read_text())["outputs"])


def list_attempts(run: Path) -> list[dict[str, Any]]:
    """How each attempt ended: its end note, or an empty one."""
    found = []
    for path in sorted((run / "attempts").glob("*[0-9].json")):
        if not path.name.endswith(".end.json"):
            end = path.with_suffix(".end.json")
            found.append(json.loads(end.read_text()) if end.exists() else {})
    return found


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE) -> None:
    """Poll until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in {seconds} s"
        time.sleep(0.1)


def list_grid(*points: str) -> list[str]:
    """Words that cut lambda_grid to these points."""
    content = yaml.safe_load((ROOT / "sweeps" / "lambda_grid.yaml").read_text())
    return [f"~points.{name}" for name in content["points"] if name not in points]


def list_submissions(site: Site, stage: str) -> list[list[str]]:
    """Ids of the jobs that were asked for, by node of a stage."""
    found = []
    for path in sorted((site.runs / "_nodes").glob("*/jobs.json")):
        spec = json.loads((path.parent / "spec.json").read_text())
        if spec["stage"] == stage:
            found.append([entry["job"] for entry in json.loads(path.read_text())["jobs"]])
    return found
