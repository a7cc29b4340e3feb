"""A job that has ended tells the tracker about the points that it belongs to, without a launcher.

Only files are looked at: a hundred jobs that each asked squeue would be a nuisance, and it may not
be there on a compute node. What a job cannot see (that another one was cancelled), the launcher's
next look corrects.
"""

from collections.abc import Mapping
from pathlib import Path

from vills.launch.plan.board import NodeState, State
from vills.launch.plan.nodes import Plan
from vills.launch.plan.registry import NODES, Registry
from vills.launch.sweeps.sweep import FOLDER, list_records, load_plans, load_record
from vills.launch.sweeps.tracking import Sight, print_warning, sync_sight
from vills.runs.interrupt import interrupt_at_once
from vills.runs.lock import RunLock, get_last_attempt
from vills.tracking.files import load_json
from vills.tracking.mlflow_sync import describe_error
from vills.tracking.settings import TrackingSettings, load_tracking_settings

PATIENCE_SECONDS = 60.0
"""Devices stand idle meanwhile."""


def track_points(runs: Path, key: str) -> None:
    """Bring every sweep's points up to date that a node is part of. Never raises.

    A signal ends this and not the job, whose work is done or lost already.
    """
    try:
        with interrupt_at_once():
            code = runs / load_json(runs / NODES / key / "spec.json")["code"]
            settings = load_tracking_settings(code)
            if settings is None:
                return
            for name in list_records(runs):
                # a record may be long, and most jobs are part of one sweep
                if f'"{key}"' in (runs / FOLDER / f"{name}.json").read_text():
                    _track(runs, name, key, settings)
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, a job must not feel it
        print_warning(f"tracking: {describe_error(error)}; `vills track` sends it later")


def _track(runs: Path, name: str, key: str, settings: TrackingSettings) -> None:
    record = load_record(runs, name)
    assert record is not None
    plans = load_plans(record)
    labels = [
        label for label, plan in plans.items() if any(node.key == key for node in plan.values())
    ]
    sight = Sight(runs=runs, record=record, plans=plans, states=look_at_files(runs, plans))
    result = sync_sight(sight, settings, labels=labels, patience=PATIENCE_SECONDS)
    if not result.ok:
        print_warning(f"tracking: sweep {name}: {result.reason}; `vills track` sends it later")


def look_at_files(runs: Path, plans: Mapping[str, Plan]) -> dict[str, NodeState]:
    """States of nodes without asking a cluster: a job that was asked for and says nothing waits."""
    registry = Registry(runs)
    states: dict[str, NodeState] = {}
    for plan in plans.values():
        for node in plan.values():
            if node.key not in states:
                run = registry.find_run(node, plan)
                states[node.key] = _judge(registry, node.key, run, registry.is_done(node, plan))
    return states


def _judge(registry: Registry, key: str, run: Path | None, is_done: bool) -> NodeState:
    attempts = get_last_attempt(run / "attempts") if run is not None else 0
    if is_done:
        return NodeState("done", run=run, attempts=attempts)
    submissions = registry.load_submissions(key)
    last = submissions[-1] if submissions else None
    error = registry.load_error(key)
    state: State
    if run is not None and RunLock(run / "attempts").find_holder():
        state = "running"
    elif error:
        state = "failed"
    else:
        state = "queued" if last is not None else "to do"
    job, cluster = (last.job, last.cluster) if last is not None else ("", "")
    return NodeState(state, error, cluster=cluster, job=job, run=run, attempts=attempts)
