"""A queue of our own for people without SLURM: jobs wait, slots free themselves, one at a time.

submitit's local executor starts everything at once. Here one process per runs' folder starts what
has a slot; it ends when nothing is left to do. Killed, it is missed by nobody: the jobs it
started go on, and the next call of the launcher starts another that looks after them.
"""

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from vills.io import save_json
from vills.runner.clusters.jobs import UNKNOWN, Batch, JobState
from vills.runner.clusters.queue_jobs import (
    ENDED,
    FOLDER,
    LOCK_NAME,
    SETTINGS_NAME,
    cap_environment,
    count_slots,
    end_processes,
    hold_states,
    is_running,
    list_jobs,
    load_entry,
    load_state,
)
from vills.runner.clusters.scheduler import ClusterError
from vills.runner.store.lock import open_file_lock
from vills.runner.work.slurm_job import list_gpus

LOCK_PATIENCE = 0.0


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
            with open_file_lock(self._folder / LOCK_NAME, patience=LOCK_PATIENCE):
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


class ForegroundQueue:
    """The cluster `debug`: `submit` comes back when everything is done, or at the first failure."""

    name = "debug"

    def __init__(self, runs: "os.PathLike[str]") -> None:
        self._runs = os.fspath(runs)

    def submit(self, batch: Batch) -> list[str]:
        """Run the batch.

        Raises:
            ClusterError: when a job fails; what it said stands above.
        """
        environment = {**os.environ, **batch.build_environment()}
        environment.pop("VILLS_CLUSTER", None)
        for key in batch.keys:
            command = [
                sys.executable,
                "-m",
                "vills.runner.work.job",
                str(batch.runs.resolve()),
                key,
            ]
            status = subprocess.run(command, env=environment, check=False).returncode
            if status:
                raise ClusterError(
                    f"{batch.stage} {key[:12]} ended with status {status}; its error stands above. "
                    "What to do: mend it and give the same command again."
                )
        return [f"{batch.name}-{number}" for number in range(len(batch.keys))]

    def load_states(self, jobs: Collection[str]) -> dict[str, JobState]:
        """Nothing goes on behind your back here."""
        return dict.fromkeys(jobs, UNKNOWN)

    def cancel(self, jobs: Collection[str]) -> None:
        """Ctrl-C does it."""

    def cancel_batch(self, name: str) -> None:
        """Do nothing: a batch that was interrupted has left nothing behind."""
