"""A queue of our own for people without SLURM: jobs wait, slots free themselves, one at a time.

    _queue/JOB.json         what to start, and which jobs must have ended well before
    _queue/JOB.state.json   RUNNING with its process, then COMPLETED, FAILED or CANCELLED

submitit's local executor starts everything at once. Here one process per runs' folder starts what
has a slot; it ends when nothing is left to do. Killed, it is missed by nobody: the jobs it
started go on, and the next call of the launcher starts another that looks after them.
"""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vills.io import load_json, save_json
from vills.runner.clusters.jobs import UNKNOWN, Batch, JobState
from vills.runner.clusters.queue_process import ENDED, end_processes, is_running
from vills.runner.store.file_lock import hold_file_lock

FOLDER = "_queue"
LOCK_NAME, SETTINGS_NAME = ".lock", ".settings.json"
STATES_LOCK_NAME = ".states.lock"
LOCK_PATIENCE, STATES_PATIENCE = 0.0, 60.0


class LocalQueue:
    """The queue below one runs' folder."""

    name = "local"

    def __init__(self, runs: Path) -> None:
        self._runs = runs.resolve()
        self._folder = self._runs / FOLDER

    def submit(self, batch: Batch) -> list[str]:
        """Put a batch into the queue, and see that somebody works on it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if batch.max_parallel:
            save_json(self._folder / SETTINGS_NAME, {"slots": batch.max_parallel})
        first = 1 + max((int(job["job"][1:]) for job in list_jobs(self._folder)), default=0)
        jobs = [f"q{first + number}" for number in range(len(batch.keys))]
        (self._runs / batch.log).mkdir(parents=True, exist_ok=True)
        environment = cap_environment(
            batch.build_environment(), slots=count_slots(self._folder, gpus=len(list_gpus()))
        )
        for job, key, after in zip(jobs, batch.keys, batch.after, strict=True):
            content: dict[str, Any] = {
                "job": job,
                "batch": batch.name,
                "key": key,
                "after": list(after),
                "gpus": batch.resources.num_gpus,
                "log": str(self._runs / batch.log / f"{job}_0_log.out"),
                "environment": environment,
            }
            save_json(self._folder / f"{job}.json", content)
        self.ensure_worker()
        return jobs

    def load_states(self, jobs: Collection[str]) -> dict[str, JobState]:
        """States from the queue's own files; starts the worker anew if it is missed."""
        states = {job: load_state(self._folder, job) for job in jobs}
        if any(state.phase in ("pending", "running") for state in states.values()):
            self.ensure_worker()
        return states

    def cancel(self, jobs: Collection[str]) -> None:
        """End these jobs, politely."""
        for job in jobs:
            if not (self._folder / f"{job}.json").exists():
                continue
            # What is not started is marked first, so that nobody starts it any more.
            with hold_states(self._folder):
                state = load_entry(self._folder, job)
                if state.get("state") in ENDED:
                    continue
                save_json(self._folder / f"{job}.state.json", {**state, "state": "CANCELLED"})
            end_processes(state.get("processes", []))
            if is_running(state.get("processes", [])):
                self.ensure_worker()  # which insists

    def cancel_batch(self, name: str) -> None:
        """End the jobs of a batch."""
        jobs = list_jobs(self._folder) if self._folder.is_dir() else []
        self.cancel([job["job"] for job in jobs if job["batch"] == name])

    def ensure_worker(self) -> None:
        """Start the process that works on the queue, unless there is one."""
        try:
            with hold_file_lock(self._folder / LOCK_NAME, patience=LOCK_PATIENCE):
                pass
        except TimeoutError:
            return
        with (self._folder / "worker.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "vills.runner.clusters.queue_worker", str(self._runs)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._runs,
                start_new_session=True,  # it outlives the launcher, and Ctrl-C
            )


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
    with hold_file_lock(folder / STATES_LOCK_NAME, patience=STATES_PATIENCE):
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


def list_gpus() -> list[str]:
    """Names of the GPUs that this machine lets us use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    installed = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(installed.iterdir())))] if installed.is_dir() else []


def _is_job(path: Path) -> bool:
    return not path.name.startswith(".") and not path.name.endswith(".state.json")


def load_entry(folder: Path, job: str) -> dict[str, Any]:
    """What is noted of a job; empty as long as it waits."""
    path = folder / f"{job}.state.json"
    return load_json(path) if path.exists() else {}
