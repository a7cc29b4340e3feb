"""A project in an empty folder: what a user's clone has, and the commands that a user types."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vills.config.load import save_params

ROOT = Path(__file__).parent.parent
PARTS = ("vills", "slurm", "sweeps", "dvc.yaml", ".dvcignore", ".gitignore", "data")
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Project:
    """A copy of the checkout with its own params.yaml; its own code is what runs."""

    folder: Path

    def run(
        self, *command: str, check: bool = True, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Give a command and return its output, stdout and stderr together."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self.build_environment(env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        assert not check or result.returncode == 0, f"{command} failed:\n{result.stdout[-4000:]}"
        return result

    def start(
        self, *command: str, env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Give a command and do not wait."""
        with (self.folder / "background.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.build_environment(env or {}),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def build_environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The user's environment in the activated virtual environment; no tracker unless asked."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("VILLS_", "MLFLOW_"))}
        return {
            **kept,
            "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}",
            "PYTHONPATH": str(self.folder),
            "DVC_NO_ANALYTICS": "1",
            "VILLS_TRACKING": "off",
            **extra,
        }

    def load_lock(self) -> dict[str, Any]:
        """dvc.lock by stage."""
        return dict(yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"])

    def list_ran(self, output: str) -> list[str]:
        """Stages that `dvc repro` ran, in order, but for `check`."""
        marks = [line for line in output.splitlines() if line.startswith("Running stage '")]
        return [name for line in marks if (name := line.split("'")[1]) != "check"]


def build_project(folder: Path, *, profile: str = "tiny", overrides: Sequence[str] = ()) -> Project:
    """Copy the checkout's work tree and make it a git and DVC repository."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    save_params(folder, profile=profile, overrides=overrides)
    project = Project(folder)
    project.run("git", "init", "--quiet")
    project.run("dvc", "init", "--quiet")
    project.run("dvc", "config", "core.analytics", "false")
    project.run("git", "add", ".")
    author = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    project.run("git", *author, "commit", "--quiet", "-m", "project")
    return project
