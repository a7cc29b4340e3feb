"""This machine: GPUs, shared memory, open files."""

import json
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vills.runner.doctor.answers import Answer
from vills.runner.doctor.finding import Finding

MIN_FILES = 4096
MIN_SHARED_GB = 1.0
# NCCL's version can be read without a device, torch's count of devices needs the driver.
TORCH = """\
import json, torch
nccl = ""
try:
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
except Exception as error:
    nccl = ""
print(json.dumps({
    "torch": torch.__version__, "cuda": torch.version.cuda or "", "nccl": nccl,
    "devices": torch.cuda.device_count() if torch.cuda.is_available() else 0,
}))
"""
DRIVER = Path("/proc/driver/nvidia/version")
_GROUP = "machine"


def build_torch_question() -> list[str]:
    """A child process that imports torch, so that a slow or broken one costs its patience only."""
    return [sys.executable, "-c", TORCH]


def read_driver() -> str:
    """Version of NVIDIA's driver; empty without one."""
    try:
        words = DRIVER.read_text().split("Kernel Module")[1].split()
    except (OSError, IndexError):
        return ""
    return next((word for word in words if word[:1].isdigit()), "of an unknown version")


def check_devices(torch: Answer, *, driver: str, on_cluster: bool) -> Iterator[Finding]:
    """Torch, CUDA, NCCL and the driver fit each other."""
    if not torch.ok:
        found = f"importing torch: {torch.reason}"
        remedy = "import it by hand; on a slow file system `vills doctor --probe` waits longer"
        yield Finding(_GROUP, "GPU", "unknown", found, remedy)
        return
    facts = json.loads(torch.text.strip().splitlines()[-1])
    yield from describe_devices(
        _GROUP, facts, driver=driver, wanted=0, here="login node" if on_cluster else "machine"
    )


def describe_devices(
    group: str, facts: Mapping[str, Any], *, driver: str, wanted: int, here: str
) -> Iterator[Finding]:
    """What torch sees on a machine called `here`, of which `wanted` devices were asked for."""
    versions = f"torch {facts['torch']}, CUDA {facts['cuda'] or 'none'}"
    if facts["devices"]:
        nccl = facts["nccl"] or "unknown"
        found = f"{facts['devices']} devices; {versions}, NCCL {nccl}, driver {driver or '?'}"
        if facts["nccl"]:
            yield Finding(group, f"GPU of {here}", "ok", found)
        else:
            remedy = "several GPUs need it: install torch's own CUDA build"
            yield Finding(group, f"GPU of {here}", "fault", found, remedy)
    elif driver or wanted:
        why = f"driver {driver}" if driver else "no driver visible"
        yield Finding(
            group,
            f"GPU of {here}",
            "fault",
            f"torch sees no device ({why}; {versions})",
            "compare torch's CUDA with the driver's (nvidia-smi): a driver older than it, a torch "
            "for CPUs, an empty CUDA_VISIBLE_DEVICES or a container without --nv hides them",
        )
    elif here == "login node":
        remedy = "usual there: `vills doctor --probe` looks on the nodes"
        yield Finding(group, f"GPU of {here}", "note", f"none ({versions})", remedy)
    else:
        remedy = "everything runs on CPUs, slowly; the paper's sizes need GPUs"
        yield Finding(group, f"GPU of {here}", "note", f"none ({versions})", remedy)


def check_shared_memory(size_gb: float, *, loaders: int, here: str = "") -> Iterator[Finding]:
    """Loader processes hand batches over through /dev/shm."""
    group, name = ("nodes" if here else _GROUP), f"/dev/shm{here}"
    found = f"{size_gb:.2f} GB for {loaders} loaders a process"
    remedy = (
        "start the container with --shm-size=8g (or --ipc=host), or set loaders: 0 in slurm/*.yaml"
    )
    if not loaders or size_gb >= MIN_SHARED_GB:
        yield Finding(group, name, "ok", found)
    else:
        yield Finding(group, name, "fault" if size_gb < 0.1 else "note", found, remedy)


def get_shared_memory_gb() -> float:
    """Size of /dev/shm, GB."""
    stats = os.statvfs("/dev/shm")
    return stats.f_frsize * stats.f_blocks / 1e9


def check_open_files(soft: int) -> Iterator[Finding]:
    """Loaders, shards and sockets are open files; jobs inherit the limit of who submits."""
    found = "no limit" if soft == resource.RLIM_INFINITY else f"{soft}"
    if soft == resource.RLIM_INFINITY or soft >= MIN_FILES:
        yield Finding(_GROUP, "open files (ulimit -n)", "ok", found)
    else:
        remedy = f"`ulimit -n {MIN_FILES}` before launching: jobs inherit it"
        yield Finding(_GROUP, "open files (ulimit -n)", "note", found, remedy)
