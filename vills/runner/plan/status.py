"""`vills status`: which run each stage of params.yaml names now, and how far it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vills.config.load import load_params
from vills.runner.plan.context import Desk
from vills.runner.plan.nodes import build_steps


@dataclass(frozen=True)
class StageStatus:
    """One stage (of one data set)."""

    name: str
    """As DVC writes it."""
    fingerprint: str
    """Of its run; the planned key while an input is still to be made."""
    state: str
    """How far it is, in words."""


def compute_status(project: Path) -> list[StageStatus]:
    """The state of every stage, in the order of the DAG. Works on an empty clone."""
    desk = Desk(project)
    plan = desk.planner.build_plan(build_steps(load_params(project)))
    registry, board = desk.open_board()
    states = board.look([plan])
    return [
        StageStatus(
            name,
            registry.find_fingerprint(node, plan) or node.key,
            " ".join(part for part in (states[node.key].state, states[node.key].detail) if part),
        )
        for name, node in plan.items()
    ]


def format_status(statuses: Sequence[StageStatus]) -> str:
    """A line per stage."""
    width = max(len(status.name) for status in statuses)
    return "\n".join(f"{s.name:{width}}  {s.fingerprint[:12]}  {s.state}" for s in statuses)
