"""What one can do with a sweep: plan it, launch it, look at it, end it, collect it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError, check_choice
from vills.runner.plan.board import OVER, NodeState
from vills.runner.plan.context import Desk
from vills.runner.plan.estimate import Estimate, estimate_node
from vills.runner.plan.nodes import Node, Plan
from vills.runner.plan.stale import find_stale_reasons, shorten
from vills.runner.plan.submit import Wanted
from vills.runner.sweeps.sweep import (
    Point,
    Sweep,
    build_sweep,
    load_plans,
    load_point_params,
    load_record,
    save_record,
)
from vills.runner.sweeps.tracking import open_parent, sync_sweep

POLL_SECONDS = 5.0


@dataclass(frozen=True)
class SweepState:
    """A sweep and how far all its nodes are."""

    plans: Mapping[str, Plan]
    """By label of the point."""
    states: Mapping[str, NodeState]
    """By key of the node."""
    stale: Mapping[str, str]
    """Key of a node -> why it is computed again."""
    estimates: Mapping[str, Estimate]
    """Key of a node that is not done -> what it takes."""
    lacking: Mapping[str, Sequence[str]]
    """Label of a point -> evaluations that params.yaml has no entry for."""

    def is_done(self, label: str) -> bool:
        """Whether all nodes of a point are done."""
        return all(self.states[node.key].state == "done" for node in self.plans[label].values())

    def is_over(self) -> bool:
        """Whether nothing is going on and nothing will."""
        return not any(state.is_active for state in self.states.values())


def plan_sweep(desk: Desk, file: str, overrides: Sequence[str]) -> tuple[Sweep, SweepState]:
    """Look at a sweep as the project is now; nothing is asked for."""
    sweep = build_sweep(desk.project, file, overrides, planner=desk.planner, runs=desk.runs)
    check_points(sweep)
    _, board = desk.open_board()
    states = board.look([point.plan for point in sweep.points])
    return sweep, SweepState(
        {point.label: point.plan for point in sweep.points},
        states,
        _find_stale(desk, sweep, states),
        _estimate(desk, sweep, states),
        {point.label: point.lacking for point in sweep.points if point.lacking},
    )


def launch_sweep(
    desk: Desk,
    file: str,
    overrides: Sequence[str],
    *,
    cluster: str,
    max_parallel: int = 0,
    retry: bool = False,
    say: Callable[[str], None] = print,
) -> tuple[Sweep, SweepState]:
    """Ask for all that is missing, and come back; called again, it attaches to what is going on."""
    with desk.hold_lock():
        sweep, state = plan_sweep(desk, file, overrides)
        record = load_record(desk.runs, sweep.name)
        same = record is not None and record["fingerprint"] == sweep.fingerprint
        if not same or record is None or not record["parent"]:
            parent = open_parent(desk, sweep, say=say)
            save_record(desk.runs, sweep, cluster=cluster, parent=parent)
        registry, _ = desk.open_board()
        submitter = desk.open_submitter(registry, cluster, max_parallel=max_parallel, say=say)
        asked = submitter.submit(
            [_want(desk, point) for point in sweep.points], state.states, retry=retry
        )
    return (sweep, state) if not asked else plan_sweep(desk, file, overrides)


def look_at_sweep(desk: Desk, name: str) -> tuple[dict[str, Any], SweepState]:
    """How far a sweep is as it was launched, whatever the project has become since.

    Raises:
        ConfigError: if nothing was launched under that name.
    """
    record = load_record(desk.runs, name)
    if record is None:
        raise ConfigError(
            f"sweep {name!r} was not launched here ({desk.runs}). What to do: "
            f"python sweeps/launch.py {name}"
        )
    plans = load_plans(record)
    _, board = desk.open_board()
    states = board.look(list(plans.values()))
    lacking = {label: point["lacking"] for label, point in record["points"].items()}
    return record, SweepState(plans, states, {}, {}, {k: v for k, v in lacking.items() if v})


def wait_for_sweep(
    desk: Desk, name: str, *, show: Callable[[SweepState], None], every: float = POLL_SECONDS
) -> SweepState:
    """Look again and again until nothing is going on any more."""
    while True:
        record, state = look_at_sweep(desk, name)
        show(state)
        sync_sweep(desk, record, state)
        if state.is_over():
            return state
        time.sleep(every)


def cancel_sweep(desk: Desk, name: str, *, points: Sequence[str] = ()) -> list[str]:
    """End the jobs of a sweep (of these points); a node that another sweep wants too is ended.

    Raises:
        ConfigError: if there is no such point.
    """
    _, state = look_at_sweep(desk, name)
    for label in points:
        check_choice(f"point of {name}", label, state.plans, "name one of them")
    chosen = [plan for label, plan in state.plans.items() if not points or label in points]
    jobs: dict[str, set[str]] = {}
    for plan in chosen:
        for node in plan.values():
            found = state.states[node.key]
            if found.is_active and found.job:
                jobs.setdefault(found.cluster, set()).add(found.job)
    for cluster, ids in jobs.items():
        desk.clusters[cluster].cancel(ids)
    return sorted(job for ids in jobs.values() for job in ids)


def find_logs(desk: Desk, name: str, *, point: str, stage: str = "") -> list[Path]:
    """Output of the jobs of a point, in the order of the DAG.

    Raises:
        ConfigError: if there is no such point, or no such stage of it.
    """
    _, state = look_at_sweep(desk, name)
    check_choice(f"point of {name}", point, state.plans, "name one of them")
    plan = state.plans[point]
    known = dict.fromkeys(word for node in plan.values() for word in (node.step.stage, node.name))
    if stage:
        check_choice(f"stage of {point}", stage, known, "name one of them")
    registry, _ = desk.open_board()
    paths: list[Path] = []
    for node in plan.values():
        if stage and stage not in (node.step.stage, node.name):
            continue
        for entry in registry.load_submissions(node.key):
            paths += sorted((desk.runs / entry.log).glob(f"{entry.job}_*_log.*"))
    return paths


def check_points(sweep: Sweep) -> None:
    """Refuse a sweep of which no cell can be filled.

    Raises:
        ConfigError: saying what params.yaml lacks.
    """
    if not any(point.plan for point in sweep.points):
        lacking = sorted({entry for point in sweep.points for entry in point.lacking})
        raise ConfigError(
            f"sweep {sweep.name}: params.yaml has none of {', '.join(lacking)}. Allowed: at least "
            "one. What to do: add the data sets, or begin with a profile: `vills configure "
            "profile=miniature`."
        )


def _want(desk: Desk, point: Point) -> Wanted:
    def load() -> Any:
        return load_point_params(desk.project, point.overrides, seed=point.seed)

    return Wanted(point.plan, load, f"sweep point {point.label}")


def _find_stale(desk: Desk, sweep: Sweep, states: Mapping[str, NodeState]) -> dict[str, str]:
    record = load_record(desk.runs, sweep.name)
    if record is None:
        return {}
    earlier = record["before"] if record["fingerprint"] == sweep.fingerprint else record
    stale: dict[str, str] = {}
    for point in sweep.points:
        for name, node in point.plan.items():
            if states[node.key].state == "done" or node.key in stale:
                continue
            reasons = find_stale_reasons(
                node, name, runs=desk.runs, earlier=earlier, point=point.label
            )
            if reasons:
                stale[node.key] = shorten(reasons)
    return stale


def _estimate(desk: Desk, sweep: Sweep, states: Mapping[str, NodeState]) -> dict[str, Estimate]:
    return {
        node.key: estimate_node(node, point.plan, desk.get_resources(node.step.stage))
        for point in sweep.points
        for node in point.plan.values()
        if states[node.key].state != "done"
    }


def count_states(nodes: Sequence[Node], states: Mapping[str, NodeState]) -> dict[str, int]:
    """How many nodes are in each state."""
    counts: dict[str, int] = {}
    for node in nodes:
        counts[states[node.key].state] = counts.get(states[node.key].state, 0) + 1
    return counts


def list_over(state: SweepState) -> dict[str, tuple[str, NodeState]]:
    """Nodes whose job is over without a result: key -> (label of a point, state)."""
    found: dict[str, tuple[str, NodeState]] = {}
    for label, plan in state.plans.items():
        for node in plan.values():
            if state.states[node.key].state in OVER:
                found.setdefault(node.key, (f"{label}: {node.name}", state.states[node.key]))
    return found
