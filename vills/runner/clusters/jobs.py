"""What a cluster is to the launcher: somebody who takes batches of jobs and says how they are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vills.runner.clusters.resources import Resources

Phase = Literal["pending", "running", "ended", "unknown"]


@dataclass(frozen=True)
class JobState:
    """How a job is, in the cluster's words."""

    phase: Phase
    """unknown: nobody has heard of it (any more); that is no failure."""
    state: str = ""
    """PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, TIMEOUT, NODE_FAIL, ..."""
    reason: str = ""
    """Why it is pending, or its exit code."""


UNKNOWN = JobState("unknown")


@dataclass(frozen=True)
class Batch:
    """Jobs of one stage that are asked for together, one per node."""

    name: str
    """Of no other batch: by it, jobs are found whose ids nobody noted."""
    stage: str
    keys: Sequence[str]
    """Keys of the nodes."""
    after: Sequence[Sequence[str]]
    """For each, the jobs that must have ended well before it starts."""
    resources: Resources
    runs: Path
    """The runs' folder."""
    code: Path
    """Snapshot that the jobs import."""
    environment: Mapping[str, str]
    """Variables of every job."""
    max_parallel: int = 0
    """At most so many at once; 0: no limit of ours."""

    def build_environment(self) -> dict[str, str]:
        """All variables of its jobs: the caller's, its resources', the code that they import."""
        resources = self.resources
        return {
            **self.environment,
            "VILLS_WORKERS": str(resources.cpus_per_task),
            "VILLS_LOADERS": str(resources.loaders),
            **{name: str(value) for name, value in resources.environment.items()},
            "PYTHONPATH": str(self.code.resolve()),
            # `python -m` would look into the working directory first, which may be the checkout
            "PYTHONSAFEPATH": "1",
        }

    @property
    def log(self) -> str:
        """Folder of the jobs' output, relative to `runs`."""
        return f"_logs/{self.name}"


class Cluster(Protocol):
    """Takes batches of jobs."""

    name: str

    def submit(self, batch: Batch) -> list[str]:
        """Ask for the jobs of a batch and come back at once; their ids.

        Raises:
            ClusterError: if the cluster refuses them.
        """

    def load_states(self, jobs: Collection[str]) -> dict[str, JobState]:
        """How each job is; what cannot be found out is UNKNOWN."""

    def cancel(self, jobs: Collection[str]) -> None:
        """End jobs, and those that nobody has started yet."""

    def cancel_batch(self, name: str) -> None:
        """End every job of a batch, whatever its id."""
