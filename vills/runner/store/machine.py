"""This machine: its programs, processes that can be recognised again, versions, git."""

import hashlib
import os
import platform
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from vills.io import load_json

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# dvc.lock changes with every stage of `dvc repro`, and what it says is in the inputs' digests.
GIT_PATHS = ("--", ".", ":(exclude)dvc.lock")
GIT_NAME, DIFF_NAME = "git.json", "code.diff"
"""What a snapshot of the code says about the checkout that it was taken from."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Output of a command, or why there is none."""

    text: str = ""
    """Its output; empty if it failed."""
    reason: str = ""
    """Why it gave none, in a line; empty if it did."""
    words: str = ""
    """All that it said then."""
    missing: bool = False
    """There is no such command."""

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return not self.reason


def run_command(
    command: Sequence[str], *, cwd: Path | None = None, seconds: float = 60.0
) -> Answer:
    """Run a command; it is stopped after `seconds`."""
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
    except subprocess.TimeoutExpired:
        return Answer(reason=f"no answer in {seconds:g} s")
    except FileNotFoundError:
        return Answer(reason=f"no {command[0]} on the PATH", missing=True)
    except OSError as error:
        return Answer(reason=str(error))
    if result.returncode == 0:
        return Answer(text=result.stdout)
    words = (result.stderr or result.stdout).strip() or f"exit status {result.returncode}"
    return Answer(reason=words.splitlines()[-1], words=words)


def load_process_identity() -> dict[str, Any]:
    """Describe this process so that it is known among those of all hosts and boots.

    `host` is for people. `pid` counts in its `pid_namespace`: two containers on one host do not see
    each other's processes. `boot_id` is the running kernel's; empty where it tells none. `started`
    is in clock ticks since boot: a reused pid has another. `slurm_restart` says how often SLURM has
    started `slurm_job` again; empty before the first time.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "boot_id": boot.read_text().strip() if boot.exists() else "",
        "pid_namespace": str(namespace.readlink()) if namespace.is_symlink() else "",
        "started": read_start(os.getpid()) or 0,
        "slurm_job": os.environ.get("SLURM_JOB_ID", ""),
        "slurm_restart": os.environ.get("SLURM_RESTART_COUNT", ""),
    }


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Look whether a process still runs; None when that cannot be seen from here.

    It does not where SLURM has started its job anew, as this one: no job runs twice at once.
    """
    here = load_process_identity()
    same_job = bool(here["slurm_job"]) and process.get("slurm_job") == here["slurm_job"]
    if same_job and process.get("slurm_restart", "") != here["slurm_restart"]:
        return False
    there = [process.get(name) == here[name] for name in ("boot_id", "pid_namespace")]
    if not here["boot_id"] or not all(there):
        return None
    return bool(read_start(process["pid"]) == process["started"])


def describe_machine() -> dict[str, Any]:
    """Describe the machine; no part of a fingerprint."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "slurm_job": os.environ.get("SLURM_JOB_ID", ""),
    }


def list_packages() -> dict[str, str]:
    """List the version of every installed distribution, without importing any."""
    found = ((item.metadata["Name"], item.version) for item in metadata.distributions())
    return {name: version for name, version in sorted(found) if name}


def describe_git(folder: Path) -> dict[str, Any]:
    """Describe the checkout around `folder`: commit, dirty flag, digest of the difference.

    Without git, or outside a checkout, the commit is None. A snapshot of the code carries the
    description of the checkout that it was taken from.
    """
    if (folder / GIT_NAME).is_file():
        return load_json(folder / GIT_NAME)
    commit = _run_git(folder, "rev-parse", "HEAD")
    if not commit:
        return {"commit": None, "dirty": None, "diff_digest": None}
    status = _run_git(folder, "status", "--porcelain", *GIT_PATHS)
    digest = hashlib.sha256(load_git_diff(folder).encode()).hexdigest() if status else None
    return {"commit": commit.strip(), "dirty": bool(status), "diff_digest": digest}


def load_git_diff(folder: Path) -> str:
    """Read what tracked files changed since the commit."""
    if (folder / GIT_NAME).is_file():
        diff = folder / DIFF_NAME
        return diff.read_text() if diff.is_file() else ""
    return _run_git(folder, "diff", "--no-ext-diff", "--binary", "HEAD", *GIT_PATHS)


def _run_git(folder: Path, *arguments: str) -> str:
    """Return what git says; empty without git, or outside a checkout."""
    # optional locks off: a status that refreshes the index would collide with the user's own git
    return run_command(["git", "--no-optional-locks", *arguments], cwd=folder).text


def read_start(pid: int) -> int | None:
    """Read a live process's start time; None for one that is gone or waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])
