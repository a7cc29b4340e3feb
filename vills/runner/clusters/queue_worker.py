"""The process that works on the local queue until nothing is left to do, and the queue's files.

python -m vills.runner.clusters.queue_worker RUNS

_queue/JOB.json         what to start, and which jobs must have ended well before
_queue/JOB.state.json   RUNNING with its processes, then COMPLETED, FAILED or CANCELLED
"""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vills.io import load_json, save_json
from vills.runner.clusters.jobs import UNKNOWN, JobState
from vills.runner.store.file_lock import hold_file_lock
from vills.runner.store.machine import ProcessIdentity, load_process_identity, read_start
from vills.runner.work.job import NODES
from vills.runner.work.slurm_job import LOCAL_JOB, list_gpus

FOLDER = "_queue"
LOCK_NAME, STATES_LOCK_NAME, SETTINGS_NAME = ".lock", ".states.lock", ".settings.json"
ENDED = ("COMPLETED", "FAILED", "CANCELLED")
STATES_PATIENCE, LOCK_SECONDS, POLL_SECONDS = 60.0, 2.0, 0.2
IDLE_SECONDS = 2.0
"""A launcher that submits several batches finds the worker still there."""
FINAL_SECONDS = 60.0
"""A cancelled job has so long for its checkpoint."""


class Worker:
    """Looks at the queue again and again."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._folder = runs / FOLDER
        self._children: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._gpus = list_gpus()
        self._asked: dict[str, float] = {}
        """Job -> when its processes were asked to end."""

    def run(self) -> None:
        """Work until the queue has been idle for a while."""
        idle = time.monotonic()
        while time.monotonic() - idle < IDLE_SECONDS:
            if self.look():
                idle = time.monotonic()
            time.sleep(POLL_SECONDS)

    def look(self) -> bool:
        """Note who has ended, start what may start; whether anything is going on."""
        jobs = list_jobs(self._folder)
        states = {job["job"]: self._update(job) for job in jobs}
        holding = [name for name, state in states.items() if self._is_held(name, state)]
        held = {gpu for name in holding for gpu in states[name].get("gpus", [])}
        free = [gpu for gpu in self._gpus if gpu not in held]
        slots = count_slots(self._folder, gpus=len(self._gpus)) - len(holding)
        waiting = [job for job in jobs if "state" not in states[job["job"]]]
        for job in waiting:
            ends = {states.get(other, {}).get("state") for other in job["after"]}
            # as many as it asks for and there are
            num_gpus = min(job["gpus"], len(self._gpus))
            if ends & {"FAILED", "CANCELLED"}:
                end = {"state": "CANCELLED", "reason": "a job before it failed"}
                states[job["job"]] = end
                save_entry(self._folder, job["job"], end)
            elif ends <= {"COMPLETED"} and slots > 0 and len(free) >= num_gpus:
                self._start(job, free[:num_gpus])
                slots, free = slots - 1, free[num_gpus:]
        return bool(holding or waiting)

    def has_work(self) -> bool:
        """Whether a job waits or runs; nothing is started."""
        names = [job["job"] for job in list_jobs(self._folder)]
        return any(load_entry(self._folder, n).get("state") not in ENDED for n in names)

    def _is_held(self, name: str, state: Mapping[str, Any]) -> bool:
        """Whether a job keeps its slot and GPUs: also one that is cancelled and still saves."""
        if name in self._children or state.get("state") == "RUNNING":
            return True
        return state.get("state") == "CANCELLED" and is_running(state.get("processes", []))

    def _start(self, job: Mapping[str, Any], gpus: Sequence[str]) -> None:
        children = self._children[job["job"]] = start_ranks(job, runs=self._runs, gpus=gpus)
        here = asdict(load_process_identity())
        processes = [{**here, "pid": c.pid, "started": read_start(c.pid) or 0} for c in children]
        noted = {"state": "RUNNING", "processes": processes, "gpus": gpus, "started": time.time()}
        if save_entry(self._folder, job["job"], noted).get("state") in ENDED:
            end_processes(processes)

    def _update(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is noted of a job, once its end was looked for, or seen to."""
        name = job["job"]
        state = load_entry(self._folder, name)
        word = state.get("state")
        codes = [child.poll() for child in self._children.get(name, [])]
        if codes and None not in codes:
            del self._children[name]
            if word == "RUNNING":
                bad = [code for code in codes if code]
                return self._end(name, state, bool(bad), f"exit {bad[0]}" if bad else "")
        elif word == "CANCELLED" or any(codes):
            # Where one rank has failed, the others wait for it in a collective.
            self._insist(name, state.get("processes", []))
        elif word == "RUNNING" and not codes and not is_running(state["processes"]):
            # Its worker was killed: its run says how it ended.
            done = (self._runs / NODES / job["key"] / "run.json").exists()
            return self._end(name, state, not done, "")
        return state

    def _end(self, name: str, state: dict[str, Any], failed: bool, reason: str) -> dict[str, Any]:
        end = {"state": "FAILED" if failed else "COMPLETED", "reason": reason, "ended": time.time()}
        save_entry(self._folder, name, end)
        return {**state, **end}

    def _insist(self, name: str, processes: Sequence[Mapping[str, Any]]) -> None:
        """Ask processes to end, once; those that still live much later are killed."""
        if name not in self._asked:
            self._asked[name] = time.monotonic()
            end_processes(processes)
        elif time.monotonic() - self._asked[name] > FINAL_SECONDS:
            end_processes(processes, signal.SIGKILL)


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
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
    with Path(job["log"]).open("ab") as log:
        return [
            subprocess.Popen(
                [sys.executable, "-m", "vills.runner.work.job", str(runs), job["key"]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=shared | ({"RANK": rank, "LOCAL_RANK": rank} if world > 1 else {}),
                cwd=runs,
                start_new_session=True,
            )
            for rank in map(str, range(world))
        ]


def is_running(processes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of these processes lives; one that cannot be seen from here is taken to.

    A machine that has been started anew is the exception: nothing of before lives on it.
    """
    here = load_process_identity()
    return any(
        ProcessIdentity(**entry).is_alive() is not False
        and not (entry["host"] == here.host and entry["boot_id"] != here.boot_id)
        for entry in processes
    )


def end_processes(processes: Sequence[Mapping[str, Any]], number: int = signal.SIGTERM) -> None:
    """Signal the groups of these processes, as far as they live."""
    for entry in processes:
        if ProcessIdentity(**entry).is_alive():
            with suppress(ProcessLookupError):
                os.killpg(entry["pid"], number)


def list_jobs(folder: Path) -> list[dict[str, Any]]:
    """List the jobs that were asked for, in that order."""
    found = [load_json(path) for path in folder.glob("q*.json") if path.name.count(".") == 1]
    return sorted(found, key=lambda job: int(job["job"][1:]))


def load_entry(folder: Path, job: str) -> dict[str, Any]:
    """Load what is noted of a job; nothing as long as it waits."""
    path = folder / f"{job}.state.json"
    return load_json(path) if path.exists() else {}


def save_entry(folder: Path, job: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Note changes of a job, and return what was noted before.

    How it ended stands: somebody may cancel a job in the very moment of its start, and then what
    it was started as is what has to end.
    """
    with hold_file_lock(folder / STATES_LOCK_NAME, patience=STATES_PATIENCE):
        before = load_entry(folder, job)
        over = before.get("state") in ENDED
        merged = {**changes, **before} if over else {**before, **changes}
        save_json(folder / f"{job}.state.json", merged)
    return before


def load_state(folder: Path, job: str) -> JobState:
    """Load how a job of the queue is."""
    if not (folder / f"{job}.json").exists():
        return UNKNOWN
    entry = load_entry(folder, job)
    state = entry.get("state", "PENDING")
    if state == "PENDING":
        return JobState("pending", state, "no free slot, or a job before it")
    if state == "RUNNING":
        # Its worker was killed: the next one finds out how it ended.
        reason = "" if is_running(entry["processes"]) else "its end is being looked into"
        return JobState("running", state, reason)
    return JobState("ended", state, entry.get("reason", ""))


def count_slots(folder: Path, *, gpus: int) -> int:
    """Count the jobs at once: what --max-parallel said, else one per GPU, else one."""
    path = folder / SETTINGS_NAME
    return int(load_json(path)["slots"]) if path.exists() else max(1, gpus)


def cap_environment(environment: dict[str, str], *, slots: int) -> dict[str, str]:
    """Lower the processes of a job to its share of this machine's cores.

    slurm/*.yaml asks for what a node of a cluster has; six loaders on two cores halve a training.
    """
    cores = len(os.sched_getaffinity(0)) // slots
    most = {"VILLS_WORKERS": max(1, cores), "VILLS_LOADERS": max(0, cores - 1)}
    return environment | {name: str(min(int(environment[name]), n)) for name, n in most.items()}


def main(arguments: Sequence[str]) -> int:
    """Work on the queue of a runs' folder, unless another process does."""
    runs = Path(arguments[0])
    worker = Worker(runs)
    while True:
        try:
            with hold_file_lock(runs / FOLDER / LOCK_NAME, patience=LOCK_SECONDS):
                worker.run()
        except TimeoutError:
            return 0
        # What was put in while this one was about to leave found the lock still held. Whoever
        # holds the lock now may be starting it already.
        if not worker.has_work():
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
