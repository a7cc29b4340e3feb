"""What the doctor knows: what SLURM's tools answer, and the project, each asked or read once."""

import csv
import getpass
import math
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from vills.config.load import load_params
from vills.config.params import Params
from vills.config.resources import Resources, load_resources
from vills.config.sweep import list_sweeps, load_sweep
from vills.errors import UserError
from vills.io import get_runs_root
from vills.pipeline import STAGES
from vills.programs import Answer, run_command
from vills.runner.clusters.slurm import parse_config
from vills.runner.doctor import Finding, run_check

SECONDS = 3.0
"""Of patience with a tool: with the rest of the examination under five."""
NODE_FORMAT = "%R|%P|%l|%N|%c|%m|%G|%t|%f"
"""Partition, the same with * if it is the default, time limit, node, CPUs, MB, gres, state,
features. sinfo is asked, since it is there where scontrol is not."""
QUESTIONS = {
    "sbatch": "sbatch --version",
    "squeue": "squeue --noheader --me --format=%i",
    "scontrol": "scontrol show config",
    "partitions": "scontrol show partition --oneliner",
    "sacct": "sacct --allocations --noheader --parsable2 --starttime=now-1hours",
    "sinfo": f"sinfo --noheader --Node --all --format={NODE_FORMAT}",
    "qos": "sacctmgr --parsable2 show qos "
    "format=Name,GraceTime,MaxWall,MaxTRES,MaxTRESPU,GrpTRES,MaxJobsPU,MaxSubmitPU",
    "assoc": "sacctmgr --parsable2 show assoc user={user} "
    "format=Account,Partition,QOS,DefaultQOS,MaxWall,MaxTRES,GrpTRES,MaxJobs,MaxSubmit",
}
"""Commands by what they are asked for; none changes anything."""
# NCCL's version can be read without a device, torch's count of devices needs the driver.
TORCH = """\
import json, torch
try:
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
except Exception:
    nccl = ""
print(json.dumps({
    "torch": torch.__version__, "cuda": torch.version.cuda or "", "nccl": nccl,
    "devices": torch.cuda.device_count() if torch.cuda.is_available() else 0,
}))
"""
TORCH_COMMAND = [sys.executable, "-c", TORCH]
"""A child process that imports torch, so that a slow or broken one costs its patience only."""
_GPUS = re.compile(r"(?:^|,)gpu(?::[^:,()]+)*?:(\d+)")
_DOWN = ("down", "drain", "drng", "fail", "unk", "boot", "maint", "inval")


@dataclass(frozen=True, slots=True)
class Node:
    """A node as one of its partitions has it: a line of NODE_FORMAT."""

    is_default: bool
    """Whether the partition is the cluster's default."""
    minutes: float
    """Longest time limit of a job in the partition; infinite: as long as one likes."""
    name: str
    cpus: int
    memory: int
    """MB."""
    gpus: int
    is_up: bool
    """Whether it takes jobs now or when others have ended."""
    features: frozenset[str]


@dataclass(slots=True)
class ClusterFacts:
    """What was asked once of SLURM, and the project."""

    folder: Path
    runs: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, list[Node]] = field(default_factory=dict)
    stages: dict[str, Resources] = field(default_factory=dict)
    sweeps: dict[str, int] = field(default_factory=dict)
    """Jobs of a stage by sweep: points times seeds."""
    params: Params | None = None

    @property
    def on_cluster(self) -> bool:
        """Whether SLURM is set up here; its programs alone are no cluster."""
        return any(self.answers[name].ok for name in ("sbatch", "squeue", "sinfo", "sacct"))

    @property
    def num_nodes(self) -> int:
        """Nodes of the cluster; one without a cluster, two where they cannot be counted."""
        nodes = {node.name for nodes in self.partitions.values() for node in nodes}
        return (len(nodes) or 2) if self.on_cluster else 1

    def choose_partitions(self, resources: Resources) -> dict[str, list[Node]]:
        """Those that a stage names, or the cluster's default, with their nodes."""
        names = resources.partition.split(",") if resources.partition else []
        default = [name for name, nodes in self.partitions.items() if nodes[0].is_default]
        return {n: nodes for n, nodes in self.partitions.items() if n in (names or default)}


def find_existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.exists()).resolve()


def load_facts(folder: Path) -> tuple[ClusterFacts, list[Finding]]:
    """Ask all tools beside each other and read the project's files meanwhile.

    Returns:
        What is known, and findings about what could not be read.
    """
    facts = ClusterFacts(folder=folder, runs=get_runs_root(folder))
    user = getpass.getuser()
    commands = {name: text.format(user=user).split() for name, text in QUESTIONS.items()}
    commands["torch"] = TORCH_COMMAND
    # All at once: a slow tool costs no more than its patience.
    with ThreadPoolExecutor(max_workers=len(commands)) as pool:
        asked = {n: pool.submit(run_command, c, seconds=SECONDS) for n, c in commands.items()}
        findings = run_check("jobs", "slurm/*.yaml", _read_jobs, facts)
        findings += run_check("project", "params.yaml", _read_params, facts)
        facts.answers = {name: future.result() for name, future in asked.items()}
    facts.config = parse_config(facts.answers["scontrol"].text)
    findings += run_check("jobs", "partitions", _read_partitions, facts)
    return facts, findings


def _read_jobs(facts: ClusterFacts) -> Iterator[Finding]:
    for stage in STAGES:
        try:
            facts.stages[stage] = load_resources(facts.folder, stage)
        except UserError as error:
            yield Finding(f"{stage}: file", "fault", str(error), f"mend slurm/{stage}.yaml")
    for name in list_sweeps(facts.folder / "sweeps"):
        try:
            sweep = load_sweep(name, folder=facts.folder / "sweeps")
        except UserError:
            continue  # launching it says why
        facts.sweeps[name] = len(sweep.points) * max(1, len(sweep.seeds))


def _read_params(facts: ClusterFacts) -> Iterator[Finding]:
    try:
        facts.params = load_params(facts.folder)
    except UserError as error:
        remedy = "correct params.yaml; what depends on it is not checked"
        yield Finding("params.yaml", "fault", str(error), remedy)


def _read_partitions(facts: ClusterFacts) -> Iterator[Finding]:
    facts.partitions = parse_partitions(facts.answers["sinfo"].text)
    if not facts.partitions and facts.answers["sbatch"].ok:
        found = f"sinfo lists none ({facts.answers['sinfo'].reason or 'empty'})"
        remedy = "compare slurm/*.yaml with the cluster's documentation by hand"
        yield Finding("partitions", "unknown", found, remedy)


def parse_partitions(text: str) -> dict[str, list[Node]]:
    """Lines of NODE_FORMAT, by partition.

    Raises:
        ValueError: for a line of another form.
    """
    found: dict[str, list[Node]] = {}
    for line in filter(str.strip, text.splitlines()):
        parts = line.split("|")
        if len(parts) != 9:
            raise ValueError(f"sinfo's line {line!r} has {len(parts)} fields, not 9")
        partition, marked, limit, name, cpus, memory, gres, state, features = parts
        node = Node(
            is_default=marked.endswith("*"),
            minutes=parse_minutes(limit),
            name=name,
            cpus=int(cpus.rstrip("+")),
            memory=int(memory.rstrip("+")),
            gpus=sum(map(int, _GPUS.findall(gres))),
            is_up="*" not in state and not state.startswith(_DOWN),  # *: it is silent
            features=frozenset(features.split(",")),
        )
        found.setdefault(partition, []).append(node)
    return found


def parse_table(text: str) -> list[dict[str, str]]:
    """Rows of `--parsable2` output with its header."""
    return list(csv.DictReader(text.splitlines(), delimiter="|", restval=""))


def parse_tres(text: str) -> dict[str, int]:
    """`cpu=16,gres/gpu=4` by name; what is not a plain number (100G) is left out."""
    pairs = (item.partition("=") for item in text.split(",") if "=" in item)
    return {name.strip(): int(value) for name, _, value in pairs if value.strip().isdigit()}


def parse_minutes(text: str) -> float:
    """`2-00:00:00`, `1:00:00`, `30:00`, `30` as minutes; infinite where nothing limits.

    Raises:
        ValueError: for anything else.
    """
    if text.strip().lower() in ("infinite", "unlimited", "none", "n/a", ""):
        return math.inf
    days, dash, rest = text.strip().rpartition("-")
    numbers = [int(part) for part in rest.split(":")]
    if not dash and len(numbers) < 3:  # MM[:SS]
        numbers = [0, *numbers]
    hours, minutes, seconds = (numbers + [0, 0])[:3]
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60
