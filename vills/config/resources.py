"""What a stage's jobs ask of a cluster: slurm/STAGE.yaml, with overrides of the command line.

None of it stands in params.yaml: moving to another machine, or giving a job more time, changes no
result and so no fingerprint.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from vills.config.checks import (
    LINE,
    ConfigError,
    Length,
    Limits,
    Line,
    Name,
    Text,
    Words,
    build_error,
    check_fields,
    check_range,
    check_words,
)
from vills.config.compose import Schema
from vills.config.environment import read_folder
from vills.config.kinds import SHELL, Form

FOLDER = "slurm"
PREFIX = "slurm."
"""Overrides of these files on the command line: slurm.pretrain.nodes=2."""


TIME_FORMS = "minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, as SLURM has them"


def parse_time_limit(text: str) -> int:
    """Minutes of a time limit in one of SLURM's forms, rounded up as SLURM does.

    Raises:
        ValueError: for anything else; UNLIMITED too, since jobs are told to stop before the limit.
    """
    found = re.fullmatch(
        r"(?:(?P<d>\d+)-(?P<dh>\d+)(?::(?P<dm>[0-5]?\d)(?::(?P<ds>[0-5]?\d))?)?"
        r"|(?P<h>\d+):(?P<hm>[0-5]?\d):(?P<hs>[0-5]?\d)"
        r"|(?P<m>0|[1-9]\d*)|(?P<mm>\d+):(?P<ms>[0-5]?\d))",
        text,
        re.ASCII,
    )
    if found is None:
        raise ValueError(text)
    seconds = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    parts = {name: int(value) for name, value in found.groupdict().items() if value}
    return math.ceil(sum(seconds[name[-1]] * value for name, value in parts.items()) / 60)


WORD = Words(
    r"[A-Za-z0-9_.,:@+=%/&|*()\[\]-]+",
    "letters, digits and _ . , : @ + = % / & | * ( ) [ ] -, no blanks: it becomes a word of sbatch",
    500,
)
OPTION = Words("[a-z][a-z0-9_-]*", "an option's long name, without --", 64, may_be_empty=False)
VARIABLE = Words(
    "[A-Za-z_][A-Za-z0-9_]*",
    "letters, digits and _, no digit first: a shell exports it",
    128,
    may_be_empty=False,
)
OWN_VARIABLES = ("VILLS_WORKERS", "VILLS_LOADERS", "PYTHONPATH", "PYTHONSAFEPATH")
"""What jobs get from elsewhere."""
SlurmWord = Annotated[str, WORD]


@dataclass
class EstimateConfig:
    """What --plan computes costs from; it changes nothing else."""

    images_per_gpu_second: Annotated[
        dict[Name, Annotated[float, Limits(1e-6, 1e9)]], Length(0, 100)
    ] = field(default_factory=dict)
    """pretrain: images a second on one GPU (or CPU process) by the encoder's width."""
    minutes: Annotated[dict[Name, Annotated[float, Limits(0, 1e7)]], Length(0, 1000)] = field(
        default_factory=dict
    )
    """Other stages: minutes of a run by data set; `default` for the others."""
    source: Text = ""
    """Where these numbers come from; printed below the plan."""

    def __post_init__(self) -> None:
        check_fields("slurm.*.estimate", self, remedy=_REMEDY)


@dataclass
class Resources:
    """One stage's jobs."""

    nodes: Annotated[int, Limits(1, 100_000)] = 1
    """Nodes of a job."""
    gpus_per_node: Annotated[int, Limits(0, 1024)] = 0
    """GPUs of each node; 0: none is requested."""
    tasks_per_node: Annotated[int, Limits(0, 4096)] = 0
    """Processes of each node; 0: one per GPU, or one process without GPUs."""
    cpus_per_task: Annotated[int, Limits(1, 4096)] = 1
    """CPUs of a process."""
    mem_gb: Annotated[int, Limits(0, 1_000_000)] = 0
    """Memory of each node, GB; 0: the partition's own rule."""
    timeout_min: Annotated[int, Form(parse_time_limit, TIME_FORMS), Limits(1, 527_040)] = 60
    """Time limit of a job, minutes, or 12:00:00, 2-00, ... as SLURM writes them. A run may take
    several jobs."""
    signal_seconds: Annotated[int, Limits(1, 65_535)] = 120
    """Seconds before the limit at which a job is told to stop; it then checkpoints and is requeued.
    Choose it longer than one step and one checkpoint take."""
    partition: SlurmWord = ""
    """Partition(s); empty: the cluster's default."""
    account: SlurmWord = ""
    """Account, if the cluster needs one."""
    qos: SlurmWord = ""
    """Quality of service, if the cluster needs one."""
    constraint: SlurmWord = ""
    """Features of the nodes, e.g. a40."""
    extra: Annotated[dict[Annotated[str, OPTION], Any], Length(0, 100)] = field(
        default_factory=dict
    )
    """Any other option of sbatch by its long name, e.g. exclude: node7."""
    setup: Annotated[list[Annotated[Line, SHELL]], Length(0, 1000)] = field(default_factory=list)
    """Shell lines that run before the job's command, e.g. module load cuda."""
    loaders: Annotated[int, Limits(0, 1024)] = 0
    """Processes that load batches, for each training process."""
    environment: Annotated[dict[Annotated[str, VARIABLE], Line], Length(0, 1000)] = field(
        default_factory=dict
    )
    """Variables of the job, e.g. NCCL_SOCKET_IFNAME: ib0."""
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    """For --plan."""

    def __post_init__(self) -> None:
        check_fields("slurm.*", self, remedy=_REMEDY)
        for name in OWN_VARIABLES:
            if name in self.environment:
                allowed = "other variables: this one follows from cpus_per_task, loaders and code"
                raise build_error("slurm.*.environment key", name, allowed, _REMEDY)
        for name, value in self.extra.items():
            _check_option(f"slurm.*.extra.{name}", value)
        limit = 60 * self.timeout_min - 1
        check_range("slurm.*.signal_seconds", self.signal_seconds, high=limit, remedy=_REMEDY)

    @property
    def num_tasks(self) -> int:
        """Processes of a job on one node."""
        return self.tasks_per_node or max(1, self.gpus_per_node)

    @property
    def num_gpus(self) -> int:
        """GPUs of a job."""
        return self.nodes * self.gpus_per_node


def _check_option(field: str, value: object) -> None:
    """Refuse a value that sbatch's script cannot hold: anything but a switch, a number, a line."""
    if isinstance(value, str):
        check_words(field, value, LINE, _REMEDY)
    elif not isinstance(value, bool | int) or abs(value) > 10**9:
        allowed = "true, false, a whole number up to 10^9, or text of one line"
        raise build_error(field, value, allowed, _REMEDY)


_SCHEMA = Schema(name="resources", kind=Resources, noun="field of slurm/STAGE.yaml")
_REMEDY = "change slurm/STAGE.yaml, or give slurm.STAGE.FIELD=VALUE on the command line"


def load_resources(project: Path, stage: str, overrides: Sequence[str] = ()) -> Resources:
    """Read slurm/STAGE.yaml (below VILLS_SLURM, if that is set), with `overrides` on top.

    Args:
        project: The project's folder.
        stage: Stage of the DAG; one without a file gets the defaults.
        overrides: `slurm.STAGE.FIELD=VALUE`; those of other stages are left alone.

    Raises:
        ConfigError: if a key, a type or a value is refused.
    """
    path = (read_folder("VILLS_SLURM") or project / FOLDER) / f"{stage}.yaml"
    own = f"{PREFIX}{stage}."
    changes = [text.removeprefix(own) for text in overrides if text.startswith(own)]
    origin = f"{FOLDER}/{path.name}"
    plain = _SCHEMA.read(path, origin=origin) if path.exists() else {}
    try:
        return _SCHEMA.build(plain, changes, origin=origin)
    except ConfigError as error:
        raise ConfigError(str(error).replace("slurm.*", f"slurm.{stage}")) from error
