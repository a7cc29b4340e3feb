"""This machine: processes that can be recognised again, versions."""

import os
import platform
import socket
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ROUNDING_VARIABLES = (
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG"),
    *("MKL_CBWR", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_DEFAULT_FPMATH_MODE"),
)
"""What changes the last digits of numbers, as another processor would."""


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
        "rounding": {name: os.environ[name] for name in ROUNDING_VARIABLES if name in os.environ},
        "slurm_job": os.environ.get("SLURM_JOB_ID", ""),
    }


def list_packages() -> dict[str, str]:
    """List the version of every installed distribution, without importing any."""
    found = ((item.metadata["Name"], item.version) for item in metadata.distributions())
    return {name: version for name, version in sorted(found) if name}


def read_start(pid: int) -> int | None:
    """Read a live process's start time; None for one that is gone or waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])
