"""What one can do with a sweep: plan it, launch it, look at it, end it, collect it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from vills.config.checks import ConfigError, check_choice
from vills.runner.plan.context import LaunchContext, Submitter
from vills.runner.plan.estimate import Estimate, compute_estimate
from vills.runner.plan.nodes import find_stale_reasons, render_first
from vills.runner.plan.states import OVER, NodeState
from vills.runner.sweeps.sweep import (
    SweepState,
    build_sweep,
    load_earlier,
    load_point_params,
    load_record,
    save_record,
)
from vills.runner.sweeps.tracking import open_tracking


def build_sweep_plan(context: LaunchContext, file: str, overrides: Sequence[str]) -> SweepState:
    """Look at a sweep as the project is now; nothing is asked for.

    Raises:
        ConfigError: if no cell can be filled; it says what params.yaml lacks.
    """
    sweep = build_sweep(
        context.project, file, overrides, planner=context.planner, runs=context.runs
    )
    if not sweep.nodes:
        raise ConfigError(
            f"sweep {sweep.name}: params.yaml has none of {', '.join(sweep.lacking)}. Allowed: at "
            "least one. What to do: add the data sets, or start from a profile: `vills configure "
            "profile=miniature`."
        )
    states = context.compute_states([point.plan for point in sweep.points])
    earlier = load_earlier(context.runs, sweep)
    stale: dict[str, str] = {}
    estimates: dict[str, Estimate] = {}
    for point in sweep.points:
        for name, node in point.plan.items():
            if states[node.key].state == "done":
                continue
            resources = context.get_resources(node.step.stage)
            estimates[node.key] = compute_estimate(node, point.plan, resources)
            reasons = find_stale_reasons(
                node, name, runs=context.runs, earlier=earlier, point=point.label
            )
            if reasons:
                stale.setdefault(node.key, render_first(reasons))
    return SweepState(sweep, states, stale, estimates)


def launch_sweep(
    context: LaunchContext,
    file: str,
    overrides: Sequence[str],
    *,
    cluster: str,
    max_parallel: int = 0,
    retry: bool = False,
    say: Callable[[str], None] = print,
) -> SweepState:
    """Ask for all that is missing, and come back; called again, it attaches to what is going on."""
    with context.hold_lock():
        state = build_sweep_plan(context, file, overrides)
        sweep = replace(state.sweep, cluster=cluster)
        open_tracking(context, replace(state, sweep=sweep), say=say)
        save_record(context.runs, sweep)
        load = partial(load_point_params, context.project)
        wanted = [
            (p.plan, partial(load, p.overrides, seed=p.seed), f"sweep point {p.label}")
            for p in sweep.points
        ]
        submitter = Submitter(context, cluster, max_parallel, say)
        asked = submitter.submit(wanted, state.states, retry=retry)
    return build_sweep_plan(context, file, overrides) if asked else state


def load_sweep_state(context: LaunchContext, name: str) -> SweepState:
    """How far a sweep is as it was launched, whatever the project has become since.

    Raises:
        ConfigError: if nothing was launched under that name.
    """
    sweep = load_record(context.runs, name)
    if sweep is None:
        raise ConfigError(
            f"sweep {name!r} was not launched here ({context.runs}). What to do: "
            f"python sweeps/launch.py {name}"
        )
    return SweepState(sweep, context.compute_states([point.plan for point in sweep.points]))


def cancel_sweep(context: LaunchContext, name: str, *, points: Sequence[str] = ()) -> list[str]:
    """End the jobs of a sweep (of these points); a node that another sweep wants too is ended.

    Raises:
        ConfigError: if there is no such point.
    """
    state = load_sweep_state(context, name)
    for label in points:
        check_choice(f"point of {name}", label, state.plans, "name one of them")
    chosen = [plan for label, plan in state.plans.items() if not points or label in points]
    found = [state.states[node.key] for plan in chosen for node in plan.values()]
    asked = {(entry.cluster, entry.job) for entry in found if entry.is_active and entry.job}
    for cluster in sorted({cluster for cluster, _ in asked}):
        context.clusters[cluster].cancel({job for name, job in asked if name == cluster})
    return sorted(job for _, job in asked)


def find_logs(context: LaunchContext, name: str, *, point: str, stage: str = "") -> list[Path]:
    """Output of the jobs of a point, in the order of the DAG.

    Raises:
        ConfigError: if there is no such point, or no such stage of it.
    """
    state = load_sweep_state(context, name)
    check_choice(f"point of {name}", point, state.plans, "name one of them")
    plan = state.plans[point]
    known = dict.fromkeys(word for node in plan.values() for word in (node.step.stage, node.name))
    if stage:
        check_choice(f"stage of {point}", stage, known, "name one of them")
    registry = context.open_registry()
    return [
        path
        for node in plan.values()
        if not stage or stage in (node.step.stage, node.name)
        for entry in registry.load_submissions(node.key)
        for path in sorted((context.runs / entry.log).glob(f"{entry.job}_*_log.*"))
    ]


def list_over(state: SweepState) -> dict[str, tuple[str, NodeState]]:
    """Nodes whose job is over without a result: key -> (label of a point, state)."""
    found: dict[str, tuple[str, NodeState]] = {}
    for label, plan in state.plans.items():
        for node in plan.values():
            if state.states[node.key].state in OVER:
                found.setdefault(node.key, (f"{label}: {node.name}", state.states[node.key]))
    return found
