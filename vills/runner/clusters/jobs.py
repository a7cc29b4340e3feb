"""Jobs: what a stage's ask for, in what batches, how they are; and a cluster, which takes them.

What they ask for stands in slurm/STAGE.yaml, never in params.yaml: moving to another machine, or
giving a job more time, changes no result and so no fingerprint.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vills.config.checks import ConfigError, check_choice, check_range
from vills.errors import UserError
from vills.pipeline import STAGES
from vills.runner.mlflow.settings import load_tracking_settings
from vills.runner.store.machine import run_command

CLUSTERS = ("slurm", "local", "debug")
VARIABLE = "VILLS_CLUSTER"
FOLDER = "slurm"
PREFIX = "slurm."
"""Overrides of these files on the command line: slurm.pretrain.nodes=2."""
PASSED_ON = ("VILLS_DATA", "VILLS_WEIGHTS", "VILLS_TRACKING", "VILLS_WORKER_START")
"""Variables of the caller that a job needs: sites may give jobs an empty environment."""


@dataclass
class EstimateConfig:
    """What --plan reckons with; it changes nothing else."""

    images_per_gpu_second: dict[str, float] = field(default_factory=dict)
    """pretrain: images a second on one GPU (or CPU process) by the encoder's width."""
    minutes: dict[str, float] = field(default_factory=dict)
    """Other stages: minutes of a run by data set; `default` for the others."""
    source: str = ""
    """Where these figures come from; stands below the plan."""


@dataclass
class Resources:
    """One stage's jobs."""

    nodes: int = 1
    """Nodes of a job."""
    gpus_per_node: int = 0
    """GPUs of each node; 0: none is asked for."""
    tasks_per_node: int = 0
    """Processes of each node; 0: one per GPU, or one."""
    cpus_per_task: int = 1
    """CPUs of a process."""
    mem_gb: int = 0
    """Memory of each node, GB; 0: the partition's own rule."""
    timeout_min: int = 60
    """Time limit of a job, minutes. A run may take many of them."""
    signal_seconds: int = 120
    """So long before the limit a job is told to stop; it then checkpoints and goes back into the
    queue. Longer than a step and a checkpoint take."""
    partition: str = ""
    """Partition(s); empty: the cluster's default."""
    account: str = ""
    """Account, where the cluster wants one."""
    qos: str = ""
    """Quality of service, where the cluster wants one."""
    constraint: str = ""
    """Features of the nodes, e.g. a40."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other option of sbatch by its long name, e.g. exclude: node7."""
    setup: list[str] = field(default_factory=list)
    """Lines of shell before the job's own command, e.g. module load cuda."""
    loaders: int = 0
    """Processes that load batches beside each training process."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of the job, e.g. NCCL_SOCKET_IFNAME: ib0."""
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    """For --plan."""

    def __post_init__(self) -> None:
        for name in ("nodes", "cpus_per_task", "timeout_min", "signal_seconds"):
            check_range(f"slurm: {name}", getattr(self, name), low=1, remedy=_REMEDY)
        for name in ("gpus_per_node", "tasks_per_node", "mem_gb", "loaders"):
            check_range(f"slurm: {name}", getattr(self, name), low=0, remedy=_REMEDY)
        limit = 60 * self.timeout_min - 1
        check_range("slurm: signal_seconds", self.signal_seconds, high=limit, remedy=_REMEDY)

    @property
    def num_tasks(self) -> int:
        """Processes of a job on one node."""
        return self.tasks_per_node or max(1, self.gpus_per_node)

    @property
    def num_gpus(self) -> int:
        """GPUs of a job."""
        return self.nodes * self.gpus_per_node


_REMEDY = "mend slurm/STAGE.yaml, or slurm.STAGE.FIELD=VALUE on the command line"


def load_resources(project: Path, stage: str, overrides: Sequence[str] = ()) -> Resources:
    """Read slurm/STAGE.yaml (below VILLS_SLURM, if that is set), with `overrides` on top.

    Args:
        project: The project's folder.
        stage: Stage of the DAG; one without a file gets the defaults.
        overrides: `slurm.STAGE.FIELD=VALUE`; those of other stages are left alone.

    Raises:
        ConfigError: if a key, a type or a value is refused.
    """
    path = Path(os.environ.get("VILLS_SLURM") or project / FOLDER) / f"{stage}.yaml"
    own = f"{PREFIX}{stage}."
    changes = [text.removeprefix(own) for text in overrides if text.startswith(own)]
    try:
        loaded = OmegaConf.load(path) if path.is_file() else OmegaConf.create()
        merged = OmegaConf.merge(Resources, loaded, OmegaConf.from_dotlist(changes))
        resources = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, YAMLError) as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from error
        reason = str(error).splitlines()[0]
        known = ", ".join(Resources.__dataclass_fields__)
        raise ConfigError(
            f"{path.name}: {reason}. Allowed: {known}. What to do: mend {path}."
        ) from error
    assert isinstance(resources, Resources)
    return resources


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
                f"one of {', '.join(STAGES)}. What to do: write slurm.pretrain.nodes=2, say."
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
        ConfigError: if the tracker's address carries a password.
    """
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    for name in ("VILLS_DATA", "VILLS_WEIGHTS"):
        if name in variables:
            variables[name] = str(Path(variables[name]).resolve())
    variables["VILLS_RUNS"] = str(runs.resolve())
    settings = load_tracking_settings(project)
    if settings is not None:
        if urlsplit(settings.uri).password:
            # a job's files and its script can be read by other people
            raise ConfigError(
                "MLFLOW_TRACKING_URI holds a password, which would be written into every job. "
                "Allowed: an address without one. What to do: export MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD, or write them into ~/.mlflow/credentials."
            )
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
    check_choice("cluster", chosen, CLUSTERS, f"mend --cluster or {VARIABLE}")
    return chosen
