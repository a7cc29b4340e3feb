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
from pathlib import Path
from typing import Any

from filelock import FileLock

from vills.endings import run_main
from vills.errors import InputError, UserError
from vills.io import find_json, load_json, save_own_json
from vills.runner.clusters.jobs import UNKNOWN, JobState, Phase
from vills.runner.store.machine import is_alive, load_process_identity, read_start
from vills.runner.work.job import NODES
from vills.runner.work.slurm_job import LOCAL_JOB, list_gpus
from vills.trust import check_trusted

FOLDER = "_queue"
LOCK_NAME, STATES_LOCK_NAME, SETTINGS_NAME = ".lock", ".states.lock", ".settings.json"
PHASES: dict[str, Phase] = {"PENDING": "pending", "RUNNING": "running"}
"""Of a job by its state; in any other it has ended."""
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

    def look(self) -> bool:
        """Note who has ended, start what may start; whether anything is going on."""
        jobs = list_jobs(self._folder)
        states = {job["job"]: self._update(job) for job in jobs}
        holding = [name for name, state in states.items() if self._is_held(name, state)]
        held = {gpu for name in holding for gpu in states[name]["gpus"]}
        free = [gpu for gpu in self._gpus if gpu not in held]
        slots = 1 - len(holding)
        with suppress(InputError):  # which whoever submits is told
            slots = count_slots(self._folder, gpus=len(self._gpus)) - len(holding)
        waiting = [job for job in jobs if states[job["job"]]["state"] == "PENDING"]
        for job in waiting:
            name = job["job"]
            ends = {load_note(self._folder, other)["state"] for other in job["after"]}
            # as many as it asks for and there are
            num_gpus = min(job["gpus"], len(self._gpus))
            if ends & {"FAILED", "CANCELLED"}:
                states[name] = self._end(name, "CANCELLED", "a job before it failed")
            elif ends <= {"COMPLETED"} and slots > 0 and len(free) >= num_gpus:
                try:
                    self._start(job, free[:num_gpus])
                except UserError as error:  # the others are to be started all the same
                    states[name] = self._end(name, "FAILED", str(error))
                else:
                    slots, free = slots - 1, free[num_gpus:]
        return bool(holding or waiting)

    def has_work(self) -> bool:
        """Whether a job waits or runs; nothing is started."""
        jobs = [job["job"] for job in list_jobs(self._folder)]
        return any(load_note(self._folder, job)["state"] in PHASES for job in jobs)

    def _is_held(self, name: str, state: Mapping[str, Any]) -> bool:
        """Whether a job keeps its slot and GPUs: also one that is cancelled and still saves."""
        if state["state"] == "CANCELLED" and is_running(state["processes"]):
            return True
        return name in self._children or state["state"] == "RUNNING"

    def _start(self, job: Mapping[str, Any], gpus: Sequence[str]) -> None:
        code = job["environment"].get("PYTHONPATH", self._folder)
        check_trusted(self._runs, self._folder / f"{job['job']}.json", Path(code))
        children = self._children[job["job"]] = open_ranks(job, runs=self._runs, gpus=gpus)
        here = load_process_identity()
        processes = [{**here, "pid": c.pid, "started": read_start(c.pid) or 0} for c in children]
        noted = {"state": "RUNNING", "processes": processes, "gpus": gpus, "started": time.time()}
        save_note(self._folder, job["job"], noted)

    def _update(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is noted of a job, once its end was looked for, or seen to."""
        name = job["job"]
        state = load_note(self._folder, name)
        codes = [child.poll() for child in self._children.get(name, [])]
        if codes and None not in codes:
            del self._children[name]
            if state["state"] == "RUNNING":
                bad = [f"exit {code}" for code in codes if code]
                return self._end(name, "FAILED" if bad else "COMPLETED", "".join(bad[:1]))
        elif state["state"] == "CANCELLED" or any(codes):
            # Where one rank has failed, the others wait for it in a collective.
            self._insist(name, state["processes"])
        elif state["state"] == "RUNNING" and not codes and not is_running(state["processes"]):
            # Its worker was killed: its run says how it ended.
            done = (self._runs / NODES / job["key"] / "run.json").exists()
            return self._end(name, "COMPLETED" if done else "FAILED")
        return state

    def _end(self, name: str, word: str, reason: str = "") -> dict[str, Any]:
        end = {"state": word, "reason": reason, "ended": time.time()}
        return save_note(self._folder, name, end)

    def _insist(self, name: str, processes: Sequence[Mapping[str, Any]]) -> None:
        """Ask processes to end, once; those that still live much later are killed."""
        if name not in self._asked:
            self._asked[name] = time.monotonic()
            cancel_processes(processes)
        elif time.monotonic() - self._asked[name] > FINAL_SECONDS:
            cancel_processes(processes, signal.SIGKILL)


def open_ranks(
    job: Mapping[str, Any], *, runs: Path, gpus: Sequence[str]
) -> "list[subprocess.Popen[bytes]]":
    """Start a job's processes, one per GPU that it got, or one."""
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
    words = ["vills.runner.work.job", str(runs), job["key"]]
    ranks = [{"RANK": str(r), "LOCAL_RANK": str(r)} if world > 1 else {} for r in range(world)]
    log = Path(job["log"])
    return [open_process(words, log=log, cwd=runs, env=shared | rank) for rank in ranks]


def open_process(
    words: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a module in a group of its own: it outlives whoever starts it, and Ctrl-C."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )


def is_running(processes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of these processes lives; one that cannot be seen from here is taken to.

    A machine that has been started anew is the exception: nothing of before lives on it.
    """
    here = load_process_identity()
    return any(
        is_alive(entry) is not False
        and not (entry["host"] == here["host"] and entry["boot_id"] != here["boot_id"])
        for entry in processes
    )


def cancel_processes(processes: Sequence[Mapping[str, Any]], number: int = signal.SIGTERM) -> None:
    """Signal the groups of these processes, as far as they live."""
    for entry in processes:
        if is_alive(entry):
            with suppress(ProcessLookupError):
                os.killpg(entry["pid"], number)


def list_jobs(folder: Path) -> list[dict[str, Any]]:
    """List the jobs that were asked for, in that order."""
    paths = [path for path in folder.glob("q*.json") if path.name.count(".") == 1]
    found = [job for path in paths if (job := find_json(path, "job", "key", "after", "log"))]
    return sorted(found, key=lambda job: int(job["job"][1:]))


def load_note(folder: Path, job: str) -> dict[str, Any]:
    """Load what is noted of a job."""
    path = folder / f"{job}.state.json"
    noted = find_json(path, "state")
    if not noted and (path.exists() or not find_json(folder / f"{job}.json")):
        # what it was started as is not known any more; its run lets no second writer in
        noted = {"state": "FAILED", "reason": f"the queue's file of job {job} is damaged"}
    return {"state": "PENDING", "processes": [], "gpus": [], **noted}


def save_note(folder: Path, job: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Note changes of a job, and return all that is noted of it now.

    How it ended stands: somebody may cancel a job in the very moment of its start, and then what
    it was started as is what has to end.
    """
    with FileLock(folder / STATES_LOCK_NAME, timeout=STATES_PATIENCE):
        before = load_note(folder, job)
        kept = {} if before["state"] in PHASES else {"state": before["state"]}
        noted = {**before, **changes, **kept}
        save_own_json(folder / f"{job}.state.json", noted)
    return noted


def load_state(folder: Path, job: str) -> JobState:
    """Load how a job of the queue is."""
    if not (folder / f"{job}.json").exists():
        return UNKNOWN
    noted = load_note(folder, job)
    word, reason = noted["state"], noted.get("reason", "")
    if word == "PENDING":
        reason = "no free slot, or a job before it"
    elif word == "RUNNING" and not is_running(noted["processes"]):
        # Its worker was killed: the next one finds out how it ended.
        reason = "its result is being checked"
    return JobState(PHASES.get(word, "ended"), word, reason)


def count_slots(folder: Path, *, gpus: int) -> int:
    """Count the jobs at once: what --max-parallel said, else one per GPU, else one."""
    path, remedy = folder / SETTINGS_NAME, "give --max-parallel again"
    return int(load_json(path, "slots", remedy=remedy)["slots"]) if path.exists() else max(1, gpus)


def build_local_environment(environment: dict[str, str], *, slots: int) -> dict[str, str]:
    """Lower the processes of a job to its share of this machine's cores.

    slurm/*.yaml asks for what a node of a cluster has; six loaders on two cores halve a training.
    """
    cores = len(os.sched_getaffinity(0)) // slots
    most = {"VILLS_WORKERS": max(1, cores), "VILLS_LOADERS": max(0, cores - 1)}
    return environment | {name: str(min(int(environment[name]), n)) for name, n in most.items()}


def main(arguments: Sequence[str]) -> int:
    """Work on the queue of a runs' folder until it is idle, unless another process does."""
    runs = Path(arguments[0])
    worker = Worker(runs)
    while True:
        try:
            with FileLock(runs / FOLDER / LOCK_NAME, timeout=LOCK_SECONDS):
                idle = time.monotonic()
                while time.monotonic() - idle < IDLE_SECONDS:
                    idle = time.monotonic() if worker.look() else idle
                    time.sleep(POLL_SECONDS)
        except TimeoutError:
            return 0
        # What was put in while this one was about to leave found the lock still held. Whoever
        # holds the lock now may be starting it already.
        if not worker.has_work():
            return 0


if __name__ == "__main__":
    sys.exit(run_main("queue", lambda: main(sys.argv[1:])))
