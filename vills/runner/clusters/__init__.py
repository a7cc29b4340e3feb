"""Who computes (SLURM, or a queue of our own), how one is chosen, and how a tool is asked."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vills.config.checks import check_choice
from vills.runner.clusters.jobs import ClusterError

CLUSTERS = ("slurm", "local", "debug")
VARIABLE = "VILLS_CLUSTER"


@dataclass(frozen=True, slots=True)
class Answer:
    """Output of a command, or why there is none."""

    text: str = ""
    """Its output; empty if it failed."""
    reason: str = ""
    """Why it gave none; empty if it did."""
    missing: bool = False
    """There is no such command."""

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return not self.reason


def run_command(
    command: Sequence[str],
    *,
    check: bool = False,
    cwd: Path | None = None,
    seconds: float = 60.0,
) -> Answer:
    """Run a command; it is stopped after `seconds`.

    Raises:
        ClusterError: with `check`, if it is not there or fails; with all of its own words.
    """
    missing = False
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
        )
        if result.returncode == 0:
            return Answer(text=result.stdout)
        words = (result.stderr or result.stdout).strip() or f"exit status {result.returncode}"
    except subprocess.TimeoutExpired:
        words = f"no answer in {seconds:g} s"
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        words = f"no {command[0]} on the PATH" if missing else str(error)
    if check:
        raise ClusterError(f"`{' '.join(command)}` failed: {words}. What to do: `vills doctor`.")
    return Answer(reason=words.splitlines()[-1], missing=missing)


def select_cluster(name: str = "") -> str:
    """`name`, else VILLS_CLUSTER, else slurm where sbatch is, else the local queue.

    Raises:
        ConfigError: if there is no such cluster.
    """
    chosen = name or os.environ.get(VARIABLE, "")
    if not chosen:
        return "slurm" if run_command(["sbatch", "--version"]).ok else "local"
    check_choice("cluster", chosen, CLUSTERS, f"mend --cluster or {VARIABLE}")
    return chosen
