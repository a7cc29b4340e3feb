"""What the doctor knows: what SLURM's tools answer, and the project, each asked or read once."""

import csv
import getpass
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from vills.config.load import load_params
from vills.config.params import Params
from vills.errors import UserError
from vills.pipeline import STAGES
from vills.runner.clusters import Answer, run_command
from vills.runner.clusters.jobs import Resources, load_resources
from vills.runner.clusters.slurm import parse_config
from vills.runner.doctor import Finding, run_check
from vills.runner.mlflow.settings import MOUNTS
from vills.runner.work.stage import get_runs_root

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
class NodeFacts:
    """What a node has."""

    name: str
    cpus: int
    memory: int
    """MB."""
    gpus: int
    state: str
    features: frozenset[str]

    @property
    def is_up(self) -> bool:
        """Whether it takes jobs now or when others have ended; `*` is a node that is silent."""
        return "*" not in self.state and not self.state.startswith(_DOWN)


@dataclass(slots=True)
class Partition:
    """A partition."""

    name: str
    is_default: bool
    minutes: float | None
    """Longest time limit of a job; None: as long as one likes."""
    nodes: list[NodeFacts] = field(default_factory=list)


@dataclass(slots=True)
class ClusterFacts:
    """What was asked once of SLURM, and the project."""

    folder: Path
    runs: Path
    mounts: str
    """Text of /proc/mounts."""
    answers: dict[str, Answer] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, Partition] = field(default_factory=dict)
    stages: dict[str, Resources] = field(default_factory=dict)
    params: Params | None = None

    @property
    def on_cluster(self) -> bool:
        """Whether SLURM is set up here; its programs alone are no cluster."""
        return any(self.answers[name].ok for name in ("sbatch", "squeue", "sinfo", "sacct"))

    @property
    def num_nodes(self) -> int:
        """Nodes of the cluster; one without a cluster, two where they cannot be counted."""
        return (count_nodes(self.partitions) or 2) if self.on_cluster else 1

    def choose_partitions(self, resources: Resources) -> list[Partition]:
        """Those that a stage names, or the cluster's default."""
        names = resources.partition.split(",") if resources.partition else []
        return [p for p in self.partitions.values() if (p.name in names if names else p.is_default)]

    def choose_rules(self, resources: Resources) -> list[tuple[str, dict[str, str]]]:
        """QOS and associations that hold for a stage's jobs, each with a name for people."""
        enforced = self.config.get("AccountingStorageEnforce", "limits").lower()
        if not any(word in enforced for word in ("limits", "safe", "all")):
            return []
        qos, assoc = (parse_table(self.answers[name].text) for name in ("qos", "assoc"))
        own = [row for row in assoc if resources.account in ("", row.get("Account", ""))]
        defaults = {row.get("Def QOS", "") for row in own} - {""}
        names = {resources.qos} if resources.qos else defaults or {"normal"}
        chosen = [(f"qos {row['Name']}", row) for row in qos if row.get("Name") in names]
        return chosen + [(f"account {row.get('Account', '?')}", row) for row in own]

    def get_checkpoint_minutes(self, stage: str) -> float | None:
        """None for stages without checkpoints: they keep what is finished, or are short."""
        if self.params is None or stage not in ("pretrain", "finetune"):
            return None
        return self.params.operation.checkpoint_minutes

    def get_grace_seconds(self, resources: Resources) -> int | None:
        """Return what a preempted job has before its end; None if nothing preempts it."""
        kind = self.config.get("PreemptType", "")
        found: list[float] = []
        if kind.endswith("partition_prio"):
            names = resources.partition.split(",") if resources.partition else []
            for line in filter(str.strip, self.answers["partitions"].text.splitlines()):
                row = dict(word.split("=", 1) for word in line.split() if "=" in word)
                chosen = row["PartitionName"] in names if names else row.get("Default") == "YES"
                if chosen and row.get("PreemptMode", "") != "OFF":
                    found.append(int(row["GraceTime"]))
        elif kind.endswith("qos"):
            for row in parse_table(self.answers["qos"].text):
                if row["Name"] == (resources.qos or "normal"):
                    found.append(60 * (parse_minutes(row.get("GraceTime", "")) or 0.0))
        return int(min(found)) if found else None


def load_facts(folder: Path) -> tuple[ClusterFacts, list[Finding]]:
    """Ask all tools beside each other and read the project's files meanwhile.

    Returns:
        What is known, and findings about what could not be read.
    """
    text = MOUNTS.read_text(errors="replace") if MOUNTS.exists() else ""
    facts = ClusterFacts(folder=folder, runs=get_runs_root(folder), mounts=text)
    user = getpass.getuser()
    commands = {name: text.format(user=user).split() for name, text in QUESTIONS.items()}
    commands["torch"] = TORCH_COMMAND
    # All at once: a slow tool costs no more than its patience.
    with ThreadPoolExecutor(max_workers=len(commands)) as pool:
        asked = {n: pool.submit(run_command, c, seconds=SECONDS) for n, c in commands.items()}
        findings = run_check("jobs", "slurm/*.yaml", _read_stages, facts)
        findings += run_check("project", "params.yaml", _read_params, facts)
        facts.answers = {name: future.result() for name, future in asked.items()}
    facts.config = parse_config(facts.answers["scontrol"].text)
    findings += run_check("jobs", "partitions", _read_partitions, facts)
    return facts, findings


def _read_stages(facts: ClusterFacts) -> Iterator[Finding]:
    for stage in STAGES:
        try:
            facts.stages[stage] = load_resources(facts.folder, stage)
        except UserError as error:
            yield Finding(f"{stage}: file", "fault", str(error), f"mend slurm/{stage}.yaml")


def _read_params(facts: ClusterFacts) -> Iterator[Finding]:
    try:
        facts.params = load_params(facts.folder)
    except UserError as error:
        remedy = "mend params.yaml; what depends on it is not looked at"
        yield Finding("params.yaml", "fault", str(error), remedy)


def _read_partitions(facts: ClusterFacts) -> Iterator[Finding]:
    facts.partitions = parse_partitions(facts.answers["sinfo"].text)
    if not facts.partitions and facts.answers["sbatch"].ok:
        found = f"sinfo lists none ({facts.answers['sinfo'].reason or 'empty'})"
        remedy = "compare slurm/*.yaml with the cluster's pages by hand"
        yield Finding("partitions", "unknown", found, remedy)


def parse_partitions(text: str) -> dict[str, Partition]:
    """Lines of NODE_FORMAT, by partition.

    Raises:
        ValueError: for a line of another form.
    """
    found: dict[str, Partition] = {}
    for line in filter(str.strip, text.splitlines()):
        parts = line.split("|")
        if len(parts) != 9:
            raise ValueError(f"sinfo's line {line!r} has {len(parts)} fields, not 9")
        name, marked, limit, node, cpus, memory, gres, state, features = parts
        partition = Partition(name, marked.endswith("*"), parse_minutes(limit))
        found.setdefault(name, partition).nodes.append(
            NodeFacts(
                name=node,
                cpus=int(cpus.rstrip("+")),
                memory=int(memory.rstrip("+")),
                gpus=sum(int(number) for number in _GPUS.findall(gres)),
                state=state,
                features=frozenset(features.split(",")),
            )
        )
    return found


def count_nodes(partitions: dict[str, Partition]) -> int:
    """Distinct nodes of the cluster."""
    return len({node.name for partition in partitions.values() for node in partition.nodes})


def parse_table(text: str) -> list[dict[str, str]]:
    """Rows of `--parsable2` output with its header."""
    return list(csv.DictReader(text.splitlines(), delimiter="|", restval=""))


def parse_tres(text: str) -> dict[str, int]:
    """`cpu=16,gres/gpu=4` by name; what is not a plain number (100G) is left out."""
    pairs = (item.partition("=") for item in text.split(",") if "=" in item)
    return {name.strip(): int(value) for name, _, value in pairs if value.strip().isdigit()}


def parse_minutes(text: str) -> float | None:
    """`2-00:00:00`, `1:00:00`, `30:00`, `30` as minutes; None where nothing limits.

    Raises:
        ValueError: for anything else.
    """
    if text.strip().lower() in ("infinite", "unlimited", "none", "n/a", ""):
        return None
    days, dash, rest = text.strip().rpartition("-")
    numbers = [int(part) for part in rest.split(":")]
    if dash:  # D-HH[:MM[:SS]]
        hours, minutes, seconds = (numbers + [0, 0])[:3]
    elif len(numbers) == 1:
        hours, minutes, seconds = 0, numbers[0], 0
    else:  # [HH:]MM:SS
        hours, minutes, seconds = ([0] + numbers)[-3:]
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60
