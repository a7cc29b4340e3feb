"""Jobs: in what batches they are asked for, how they are; and a cluster, which takes them."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vills.config.checks import ConfigError, check_choice
from vills.config.resources import PREFIX, Resources
from vills.config.tracking import load_tracking_settings
from vills.errors import UserError
from vills.pipeline import STAGES
from vills.programs import run_command
from vills.secrets import check_public

CLUSTERS = ("slurm", "local", "debug")
VARIABLE = "VILLS_CLUSTER"
PASSED_ON = (
    *("VILLS_DATA", "VILLS_WEIGHTS", "VILLS_TRACKING", "VILLS_WORKER_START"),
    "VILLS_TRUSTED_GROUP",
)
"""Variables of the caller that a job needs: sites may give jobs an empty environment."""


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse overrides that no stage would read.

    Raises:
        ConfigError: listing the stages.
    """
    for text in overrides:
        stage, _, rest = text.removeprefix(PREFIX).partition(".")
        if stage not in STAGES or "=" not in rest:
            raise ConfigError(
                f"override {text!r} is not allowed. Allowed: slurm.STAGE.FIELD=VALUE, STAGE being "
                f"one of {', '.join(STAGES)}. What to do: write slurm.pretrain.nodes=2, for "
                "example."
            )


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
        for name, value in resources.environment.items():
            check_public(f"slurm/{self.stage}.yaml: environment.{name}", value)
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


def read_environment(project: Path, *, runs: Path) -> dict[str, str]:
    """Read the variables of every job: those of the caller, the runs' folder, the tracker.

    Raises:
        UserError: if the tracker's address carries a password, or the runs' folder cannot be.
    """
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    for name in ("VILLS_DATA", "VILLS_WEIGHTS"):
        if name in variables:
            variables[name] = str(Path(variables[name]).resolve())
    if os.pathsep in str(runs.resolve()):
        raise ConfigError(
            f"the folder of runs is {runs.resolve()}: PYTHONPATH, by which jobs find their code, "
            f"cannot name a path with {os.pathsep}. Allowed: any other path. What to do: set "
            "VILLS_RUNS to another folder."
        )
    variables["VILLS_RUNS"] = str(runs.resolve())
    settings = load_tracking_settings(project)
    if settings is not None:
        # a job's files and its script can be read by other people
        check_public("MLFLOW_TRACKING_URI", settings.uri)
        variables["MLFLOW_TRACKING_URI"] = settings.uri
        variables["MLFLOW_EXPERIMENT_NAME"] = settings.experiment
    return variables


class ClusterError(UserError, RuntimeError):
    """A cluster refused something, or a job left no result; the message carries their words."""


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


def select_cluster(name: str = "") -> str:
    """`name`, else VILLS_CLUSTER, else slurm where sbatch is, else the local queue.

    Raises:
        ConfigError: if there is no such cluster.
    """
    chosen = name or os.environ.get(VARIABLE, "")
    if not chosen:
        return "slurm" if run_command(["sbatch", "--version"]).ok else "local"
    check_choice("cluster", chosen, CLUSTERS, f"correct --cluster or {VARIABLE}")
    return chosen
