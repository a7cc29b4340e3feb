"""Jobs one after the other in front of you, each in a process of its own, on your terminal."""

import os
import subprocess
import sys
from collections.abc import Collection

from vills.runner.clusters.jobs import UNKNOWN, Batch, JobState
from vills.runner.clusters.scheduler import ClusterError


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
        """A batch that was interrupted has left nothing behind."""
