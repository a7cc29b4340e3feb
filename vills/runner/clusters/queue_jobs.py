"""Jobs of the local queue: their files, their states, and their processes.

    _queue/JOB.json         what to start, and which jobs must have ended well before
    _queue/JOB.state.json   RUNNING with its process, then COMPLETED, FAILED or CANCELLED

Processes are started as ranks, recognised again (also by another worker), ended as a whole.
"""

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.runner.clusters.jobs import UNKNOWN, JobState
from vills.runner.store.lock import open_file_lock
from vills.runner.store.machine import is_alive, load_process_identity, read_start
from vills.runner.work.slurm_job import LOCAL_JOB

FOLDER = "_queue"
LOCK_NAME, SETTINGS_NAME = ".lock", ".settings.json"
STATES_LOCK_NAME = ".states.lock"
STATES_PATIENCE = 60.0
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


def start_ranks(
    job: Mapping[str, Any], *, runs: Path, gpus: Sequence[str]
) -> "list[subprocess.Popen[bytes]]":
    """Start a job's processes, one per GPU that it got, or one; each in a group of its own."""
    world = max(1, len(gpus))
    shared = {**os.environ, **job["environment"], "VILLS_LAUNCH": uuid.uuid4().hex}
    shared[LOCAL_JOB] = job["job"]
    shared.pop("VILLS_CLUSTER", None)
    if gpus:
        shared["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if world > 1:
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_find_port())}
    processes = []
    with Path(job["log"]).open("ab") as log:
        for rank in range(world):
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "vills.runner.work.job", str(runs), job["key"]],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**shared, **(ranks if world > 1 else {})},
                    cwd=runs,
                    start_new_session=True,
                )
            )
    return processes


def describe(processes: "Sequence[subprocess.Popen[bytes]]") -> list[dict[str, Any]]:
    """Identities by which the processes are recognised, also by another worker."""
    here = load_process_identity()
    return [
        {**here, "pid": process.pid, "started": read_start(process.pid) or 0}
        for process in processes
    ]


def is_running(identities: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of these processes lives; one that cannot be seen from here is taken to.

    A machine that has been started anew is the exception: nothing of before lives on it.
    """
    here = load_process_identity()
    return any(
        is_alive(entry) is not False
        # this machine was started anew since
        and not (entry["host"] == here["host"] and entry["boot_id"] != here["boot_id"])
        for entry in identities
    )


def end_processes(identities: Sequence[Mapping[str, Any]], number: int = signal.SIGTERM) -> None:
    """Signal the groups of these processes, as far as they live."""
    for entry in identities:
        if is_alive(entry):
            with suppress(ProcessLookupError):
                os.killpg(entry["pid"], number)


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def load_state(folder: Path, job: str) -> JobState:
    """How a job of the queue is."""
    if not (folder / f"{job}.json").exists():
        return UNKNOWN
    content = load_entry(folder, job)
    state = content.get("state", "PENDING")
    if state == "PENDING":
        return JobState("pending", state, "no free slot, or a job before it")
    if state == "RUNNING":
        alive = is_running(content["processes"])
        # Its worker was killed: the next one finds out how it ended.
        return JobState("running", state, "" if alive else "its end is being looked into")
    return JobState("ended", state, content.get("reason", ""))


@contextmanager
def hold_states(folder: Path) -> Iterator[None]:
    """Keep others from changing a job's state between a look at it and a change of it."""
    with open_file_lock(folder / STATES_LOCK_NAME, patience=STATES_PATIENCE):
        yield


def list_jobs(folder: Path) -> list[dict[str, Any]]:
    """Jobs that were asked for, in that order."""
    found = [load_json(path) for path in folder.glob("*.json") if _is_job(path)]
    return sorted(found, key=lambda job: int(job["job"][1:]))


def count_slots(folder: Path, *, gpus: int) -> int:
    """Jobs at once: what --max-parallel said, else one per GPU, else one."""
    path = folder / SETTINGS_NAME
    if path.exists():
        return int(load_json(path)["slots"])
    return max(1, gpus)


def cap_environment(environment: dict[str, str], *, slots: int) -> dict[str, str]:
    """Lower the processes of a job to its share of this machine's cores.

    slurm/*.yaml asks for what a node of a cluster has; six loaders on two cores halve a training.
    """
    cores = len(os.sched_getaffinity(0)) // slots
    most = {"VILLS_WORKERS": max(1, cores), "VILLS_LOADERS": max(0, cores - 1)}
    return environment | {name: str(min(int(environment[name]), n)) for name, n in most.items()}


def _is_job(path: Path) -> bool:
    return not path.name.startswith(".") and not path.name.endswith(".state.json")


def load_entry(folder: Path, job: str) -> dict[str, Any]:
    """Return what is noted of a job; empty as long as it waits."""
    path = folder / f"{job}.state.json"
    return load_json(path) if path.exists() else {}
