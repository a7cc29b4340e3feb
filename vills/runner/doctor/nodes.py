"""Partitions and their nodes, as sinfo lists them."""

import re
from dataclasses import dataclass, field

from vills.runner.doctor.answers import parse_minutes

_GPUS = re.compile(r"(?:^|,)gpu(?::[^:,()]+)*?:(\d+)")
_DOWN = ("down", "drain", "drng", "drained", "draining", "fail", "unk", "boot", "maint", "inval")


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
        """Whether it takes jobs now or when others have ended."""
        state = self.state.rstrip("#~!%$@^-")
        return not self.state.endswith("*") and not state.rstrip("*").startswith(_DOWN)


@dataclass(slots=True)
class Partition:
    """A partition."""

    name: str
    is_default: bool
    minutes: float | None
    """Longest time limit of a job; None: as long as one likes."""
    nodes: list[NodeFacts] = field(default_factory=list)


def parse_partitions(text: str) -> dict[str, Partition]:
    """Lines of `answers.NODE_FORMAT`, by partition.

    Raises:
        ValueError: for a line of another form.
    """
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        parts = line.split("|")
        if len(parts) != 9:
            raise ValueError(f"sinfo's line {line!r} has {len(parts)} fields, not 9")
        name, marked, limit, node, cpus, memory, gres, state, features = parts
        partition = found.setdefault(
            name, Partition(name, marked.endswith("*"), parse_minutes(limit))
        )
        partition.nodes.append(
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
