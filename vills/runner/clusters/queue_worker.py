"""The process that works on the local queue until nothing is left to do.

python -m vills.runner.clusters.queue_worker RUNS
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vills.io import save_json
from vills.runner.clusters.queue_jobs import (
    ENDED,
    FOLDER,
    LOCK_NAME,
    count_slots,
    describe,
    end_processes,
    hold_states,
    is_running,
    list_jobs,
    load_entry,
    start_ranks,
)
from vills.runner.store.lock import open_file_lock
from vills.runner.work.job import NODES
from vills.runner.work.slurm_job import list_gpus

POLL_SECONDS = 0.2
IDLE_SECONDS = 2.0
"""A launcher that submits several batches finds the worker still there."""
LOCK_SECONDS = 2.0
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
        running = [job for job in jobs if self._is_held(job["job"], states[job["job"]])]
        free = count_slots(self._folder, gpus=len(self._gpus)) - len(running)
        held = {gpu for job in running for gpu in states[job["job"]].get("gpus", [])}
        busy = bool(running)
        for job in jobs:
            if "state" in states[job["job"]]:
                continue
            busy = True
            ends = [states.get(other, {}).get("state", "PENDING") for other in job["after"]]
            if any(end in ("FAILED", "CANCELLED") for end in ends):
                self._save(job["job"], {"state": "CANCELLED", "reason": "a job before it failed"})
                states[job["job"]] = {"state": "CANCELLED"}
            elif free > 0 and all(end == "COMPLETED" for end in ends):
                gpus = self._choose_gpus(job, held)
                if gpus is not None:
                    self._start(job, gpus)
                    held |= set(gpus)
                    free -= 1
        return busy

    def has_work(self) -> bool:
        """Whether a job waits or runs; nothing is started."""
        names = [job["job"] for job in list_jobs(self._folder)]
        return any(load_entry(self._folder, n).get("state") not in ENDED for n in names)

    def _is_held(self, name: str, state: dict[str, Any]) -> bool:
        """Whether a job keeps its slot and GPUs: also one that is cancelled and still saves."""
        if name in self._children or state.get("state") == "RUNNING":
            return True
        return state.get("state") == "CANCELLED" and is_running(state.get("processes", []))

    def _choose_gpus(self, job: dict[str, Any], held: set[str]) -> list[str] | None:
        """GPUs for a job: as many as it asks for and there are; None while they are taken."""
        wanted = min(job["gpus"], len(self._gpus))
        free = [gpu for gpu in self._gpus if gpu not in held]
        return free[:wanted] if len(free) >= wanted else None

    def _start(self, job: dict[str, Any], gpus: list[str]) -> None:
        children = start_ranks(job, runs=self._runs, gpus=gpus)
        self._children[job["job"]] = children
        state = {"state": "RUNNING", "processes": describe(children), "gpus": gpus}
        self._save(job["job"], {**state, "started": time.time()})

    def _update(self, job: dict[str, Any]) -> dict[str, Any]:
        name = job["job"]
        state = load_entry(self._folder, name)
        children = self._children.get(name, [])
        codes = [child.poll() for child in children]
        if children and all(code is not None for code in codes):
            del self._children[name]
            if state.get("state") == "RUNNING":
                bad = [code for code in codes if code]
                return self._end(name, state, "FAILED" if bad else "COMPLETED", bad)
        elif state.get("state") == "CANCELLED" or any(code for code in codes):
            # Where one rank has failed, the others wait for it in a collective.
            self._insist(name, state)
        elif state.get("state") == "RUNNING" and not children:
            return self._find_out(job, state)
        return state

    def _find_out(self, job: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """Judge a job whose worker was killed: its run says how it ended."""
        if is_running(state["processes"]):
            return state
        done = (self._runs / NODES / job["key"] / "run.json").exists()
        return self._end(job["job"], state, "COMPLETED" if done else "FAILED", [])

    def _insist(self, name: str, state: dict[str, Any]) -> None:
        """Ask processes to end, once; those that still live much later are killed."""
        processes = state.get("processes", [])
        if name not in self._asked:
            self._asked[name] = time.monotonic()
            end_processes(processes)
        elif time.monotonic() - self._asked[name] > FINAL_SECONDS:
            end_processes(processes, signal.SIGKILL)

    def _end(
        self, name: str, state: dict[str, Any], word: str, codes: Sequence[int | None]
    ) -> dict[str, Any]:
        reason = f"exit {codes[0]}" if codes else ""
        ended = {**state, "state": word, "reason": reason, "ended": time.time()}
        self._save(name, ended)
        return ended

    def _save(self, name: str, state: dict[str, Any]) -> None:
        # Somebody may have cancelled it in this very moment; that stands.
        with hold_states(self._folder):
            before = load_entry(self._folder, name)
            if before.get("state") not in ENDED:
                save_json(self._folder / f"{name}.state.json", state)
            elif state.get("state") == "RUNNING":
                # what it was started as is what has to end
                save_json(self._folder / f"{name}.state.json", {**state, **before})
                end_processes(state["processes"])


def main(arguments: Sequence[str]) -> int:
    """Work on the queue of a runs' folder, unless another process does."""
    runs = Path(arguments[0])
    worker = Worker(runs)
    while True:
        try:
            with open_file_lock(runs / FOLDER / LOCK_NAME, patience=LOCK_SECONDS):
                worker.run()
        except TimeoutError:
            return 0
        # What was put in while this one was about to leave found the lock still held. Whoever
        # holds the lock now may be starting it already.
        if not worker.has_work():
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
