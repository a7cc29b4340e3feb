"""What one node sees; run there by `vills doctor --probe`, prints one line of JSON."""

import fcntl
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import vills
from vills.runner.doctor.files import find_existing, find_mount
from vills.runner.doctor.machine import TORCH, get_shared_memory_gb, read_driver

LOCK, TOKEN = "lock", "token"
SECONDS = 100.0


def look(folder: Path) -> dict[str, Any]:
    """The facts of this node; the asker's `folder` has its token, and the lock that it holds."""
    return {
        "host": socket.gethostname(),
        "slurm_node": os.environ.get("SLURMD_NODENAME", ""),
        "vills": vills.__version__,
        "code": str(Path(vills.__file__).parent),
        "python": sys.version.split()[0],
        "token": (folder / TOKEN).read_text(),
        "kind": find_mount(find_existing(folder), Path("/proc/mounts").read_text()).kind,
        "link": _try_link(folder),
        "lock": _try_lock(folder),
        "scontrol": _try_scontrol(),
        "driver": read_driver(),
        "shm_gb": get_shared_memory_gb(),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "torch": _ask_torch(),
        "lost": [
            name
            for name in ("VILLS_DATA", "VILLS_WEIGHTS")
            if os.environ.get(name) and not os.access(os.environ[name], os.R_OK | os.X_OK)
        ],
    }


def _try_link(folder: Path) -> str:
    """Why a hard link of the asker's token fails; empty if it works."""
    try:
        os.link(folder / TOKEN, folder / f"link-{socket.gethostname()}-{os.getpid()}")
    except OSError as error:
        return str(error.strerror)
    return ""


def _try_lock(folder: Path) -> str:
    """Whether the lock that the asker holds is respected here: held, free, or why unknown."""
    try:
        with (folder / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError as error:
        return str(error.strerror)
    return "free"


def _try_scontrol() -> str:
    """Why scontrol cannot speak of this job; empty if it can."""
    command = ["scontrol", "show", "job", os.environ.get("SLURM_JOB_ID", "")]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return "no scontrol on the PATH"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if result.returncode == 0 else result.stderr.strip() or "it fails"


def _ask_torch() -> dict[str, Any]:
    command = [sys.executable, "-c", TORCH]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"reason": str(error)}
    if result.returncode:
        return {"reason": (result.stderr.strip().splitlines() or ["it fails"])[-1]}
    found: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    print(f"VILLS {json.dumps(look(Path(sys.argv[1])))}", flush=True)
