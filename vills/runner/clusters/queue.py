"""A queue of our own for people without SLURM: jobs wait, slots free themselves, one at a time.

submitit's local executor starts everything at once. Here one process per runs' folder starts what
has a slot; it ends when nothing is left to do. Killed, it is missed by nobody: the jobs it started
go on, and the next call of the launcher starts another that looks after them.
"""

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from filelock import FileLock

from vills.io import save_own_json
from vills.runner.clusters.jobs import Batch, ClusterError, JobState
from vills.runner.clusters.queue_worker import (
    FOLDER,
    LOCK_NAME,
    SETTINGS_NAME,
    build_local_environment,
    count_slots,
    list_jobs,
    load_state,
    open_process,
    save_note,
)
from vills.runner.work.slurm_job import list_gpus


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
            save_own_json(self._folder / SETTINGS_NAME, {"slots": batch.max_parallel})
        # by names: the number of a job whose file is damaged is not given away again
        names = (path.name[1:].split(".")[0] for path in self._folder.glob("q*.json"))
        first = 1 + max((int(name) for name in names if name.isdecimal()), default=0)
        jobs = [f"q{first + number}" for number in range(len(batch.keys))]
        logs = self._runs / batch.log
        logs.mkdir(parents=True, exist_ok=True)
        slots = count_slots(self._folder, gpus=len(list_gpus()))
        shared = {
            "batch": batch.name,
            "gpus": batch.resources.num_gpus,
            "environment": build_local_environment(batch.build_environment(), slots=slots),
        }
        for job, key, after in zip(jobs, batch.keys, batch.after, strict=True):
            own = {"job": job, "key": key, "after": [*after], "log": f"{logs / job}_0_log.out"}
            save_own_json(self._folder / f"{job}.json", {**shared, **own})
        self.ensure_worker()
        return jobs

    def load_states(self, jobs: Collection[str]) -> dict[str, JobState]:
        """States from the queue's own files; starts the worker anew if it is missed."""
        states = {job: load_state(self._folder, job) for job in jobs}
        if any(state.phase in ("pending", "running") for state in states.values()):
            self.ensure_worker()
        return states

    def cancel(self, jobs: Collection[str]) -> None:
        """Mark these jobs: nobody starts them any more, and the worker ends what runs, politely."""
        known = [job for job in jobs if (self._folder / f"{job}.json").exists()]
        for job in known:
            save_note(self._folder, job, {"state": "CANCELLED"})
        if known:
            self.ensure_worker()

    def cancel_batch(self, name: str) -> None:
        """End the jobs of a batch."""
        self.cancel([job["job"] for job in list_jobs(self._folder) if job["batch"] == name])

    def ensure_worker(self) -> None:
        """Start the process that works on the queue, unless there is one."""
        try:
            with FileLock(self._folder / LOCK_NAME, timeout=0.0):
                pass
        except TimeoutError:
            return
        words = ["vills.runner.clusters.queue_worker", str(self._runs)]
        open_process(words, log=self._folder / "worker.log", cwd=self._runs, env=os.environ)


class ForegroundQueue(LocalQueue):
    """The cluster `debug`: `submit` comes back when everything is done, or at the first failure.

    It leaves no job in the queue, so that there is none to ask about or to cancel.
    """

    name = "debug"

    def submit(self, batch: Batch) -> list[str]:
        """Run the batch.

        Raises:
            ClusterError: when a job fails; what it said stands above.
        """
        environment = {**os.environ, **batch.build_environment()}
        environment.pop("VILLS_CLUSTER", None)
        command = [sys.executable, "-m", "vills.runner.work.job", str(self._runs)]
        for key in batch.keys:
            status = subprocess.run([*command, key], env=environment, check=False).returncode
            if status:
                raise ClusterError(
                    f"{batch.stage} ended with status {status}; its error is printed above. "
                    "What to do: correct it and give the same command again."
                )
        return [f"{batch.name}-{number}" for number in range(len(batch.keys))]
