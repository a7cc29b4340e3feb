"""Processes of the local queue: started as ranks, recognised again, ended as a whole."""

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vills.runner.store.machine import ProcessIdentity, load_process_identity, read_start
from vills.runner.work.slurm_job import LOCAL_JOB

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
    here = asdict(load_process_identity())
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
        ProcessIdentity(**entry).is_alive() is not False
        # this machine was started anew since
        and not (entry["host"] == here.host and entry["boot_id"] != here.boot_id)
        for entry in identities
    )


def end_processes(identities: Sequence[Mapping[str, Any]], number: int = signal.SIGTERM) -> None:
    """Signal the groups of these processes, as far as they live."""
    for entry in identities:
        if ProcessIdentity(**entry).is_alive():
            with suppress(ProcessLookupError):
                os.killpg(entry["pid"], number)


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
