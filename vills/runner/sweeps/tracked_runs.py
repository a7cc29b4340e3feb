"""A sweep's record and its nodes' states -> what the tracker is to show of it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vills.config.pretrain import PretrainConfig
from vills.config.sweep import ColumnConfig
from vills.digests import compute_digest
from vills.runner.mlflow.tracked_run import (
    EXECUTION,
    FINGERPRINT,
    PARENT,
    POINT,
    SWEEP,
    Artifacts,
    TrackedRun,
    build_tags,
    convert_name,
    convert_params,
)
from vills.runner.plan.registry import Registry
from vills.runner.plan.states import NodeState
from vills.runner.store.result import load_result
from vills.runner.sweeps.report import find_scores
from vills.runner.sweeps.sweep import Point, Sweep, SweepState, compute_text_digest

IDLE = "SCHEDULED"
LOGGED_TABLES = "mlflow.loggedArtifacts"
"""Tag by which MLflow's UI knows that a file is a table."""
TABLE_NAME = "tables.json"
SHOWN = (
    *(field.name for field in fields(PretrainConfig) if field.name.endswith("_weight")),
    *("areas", "modalities", "model.resampler", "model.width", "epochs", "seed"),
)
"""Parameters of the pre-training that every child has, so that children can be compared."""
STATUS = {
    "done": "FINISHED",
    "running": "RUNNING",
    "queued": "SCHEDULED",
    "failed": "FAILED",
    "cancelled": "KILLED",
    "lost": "KILLED",
}
"""MLflow's word for a node's state; at the others nobody is, so that what else there is decides."""


def build_tracked_runs(
    runs: Path,
    state: SweepState,
    *,
    origin: Mapping[str, Any],
    idle: str = IDLE,
    artifacts: Artifacts = (),
) -> list[TrackedRun]:
    """Return a sweep's parent, to which `artifacts` go, then its points in the order of the tables.

    `origin` has the `execution` of the runs' folder, and `commit`, `dirty`, `created_ms` of the
    launch; `idle` is MLflow's word for a point that nobody is at.
    """
    registry = Registry(runs)
    points = [_build_point(registry, state, point, origin, idle) for point in state.sweep.points]
    statuses = [point.status for point in points]
    return [_build_parent(state.sweep, origin, statuses, artifacts), *points]


def _build_point(
    registry: Registry, state: SweepState, point: Point, origin: Mapping[str, Any], idle: str
) -> TrackedRun:
    nodes = {name: state.states[node.key] for name, node in point.plan.items()}
    asked = {name: registry.load_submissions(node.key) for name, node in point.plan.items()}
    jobs = {name: [entry.job for entry in entries if entry.job] for name, entries in asked.items()}
    tags = {
        POINT: point.label,
        FINGERPRINT: point.fingerprint,
        SWEEP: state.sweep.name,
        EXECUTION: origin["execution"],
        "vills.label": state.sweep.config.points[point.name].label,
        "vills.state": _say_state(nodes),
        "vills.jobs": json.dumps({name: ids for name, ids in jobs.items() if ids}),
        "vills.attempts": json.dumps({n: s.attempts for n, s in nodes.items() if s.attempts}),
        "vills.lacking": ", ".join(point.lacking),
        **{f"vills.run.{name}": s.run.name for name, s in nodes.items() if s.run is not None},
    }
    names = _name_cells(state.sweep.config.list_columns(point.name))
    cells = [
        (convert_name(names[key]), *cell)
        for key, cell in find_scores(state, point).items()
        if not isinstance(cell, str)
    ]
    scores = {name: value for name, value, _ in cells}
    ended = [int(load_result(run)["finished_ms"]) for run in {c[2] for c in cells}]
    run = nodes["pretrain"].run if "pretrain" in nodes else None
    return TrackedRun(
        name=point.label,
        identity=(PARENT, POINT, FINGERPRINT),
        tags=build_tags(tags, name=point.label, source=f"sweeps/launch.py {state.sweep.name}"),
        params=_build_point_params(point),
        # The tracker lists the newest first: so points stand there as in the tables.
        created_ms=origin["created_ms"] - state.sweep.points.index(point),
        status=_judge([STATUS.get(found.state, "") for found in nodes.values()]) or idle,
        folder=str(run.resolve()) if run and (run / "receipt.json").exists() else "",
        scores=scores,
        completed=compute_text_digest(repr(sorted(scores.items()))) if scores else "",
        finished_ms=max(ended, default=0),
    )


def _build_parent(
    sweep: Sweep, origin: Mapping[str, Any], statuses: Sequence[str], artifacts: Artifacts
) -> TrackedRun:
    config = sweep.config
    titles = [table.title for table in config.tables.values()]
    name = f"sweep {sweep.name} {sweep.fingerprint[:8]}"
    note = [f"**{config.title}**", "", *(f"- {title}" for title in titles)]
    note += ["", f"`{config.command}`", "", f"At the paper's scale: {config.cost}."]
    counts = sorted(Counter(statuses).items())
    files = [Path(path) for path, _ in artifacts]
    tables = [{"path": TABLE_NAME, "type": "table"} for path in files if path.name == TABLE_NAME]
    tags = {
        SWEEP: sweep.name,
        FINGERPRINT: sweep.fingerprint,
        EXECUTION: origin["execution"],
        "vills.title": config.title,
        "vills.cost": config.cost,
        "vills.command": config.command,
        "vills.cluster": sweep.cluster,
        "vills.git_commit": origin["commit"],
        "vills.git_dirty": origin["dirty"],
        "vills.points": ", ".join(f"{num} {word.lower()}" for word, num in counts),
        "mlflow.note.content": "\n".join(note),
        LOGGED_TABLES: json.dumps(tables) if tables else "",
    }
    params = {
        "title": config.title,
        "tables": ", ".join(titles),
        "overrides": " ".join(sweep.overrides),
        "seeds": ", ".join(map(str, config.seeds)) or "of params.yaml",
        "num_points": len(sweep.points),
    }
    contents = "".join(f"{path.name} {compute_digest(path)}\n" for path in files)
    return TrackedRun(
        name=name,
        identity=(SWEEP, FINGERPRINT, EXECUTION),
        tags=build_tags(tags, name=name, source=f"sweeps/launch.py {sweep.name}"),
        params=convert_params(params),
        created_ms=origin["created_ms"],
        status=_judge(statuses),
        artifacts=artifacts,
        completed=compute_text_digest(contents) if files else "",
    )


def _judge(statuses: Sequence[str]) -> str:
    """MLflow's word for all of something, from its words for the parts; empty: nobody is at it."""
    order = ("RUNNING", "SCHEDULED", "FAILED", "KILLED", "")
    return next((word for word in order if word in statuses), "FINISHED")


def _say_state(nodes: Mapping[str, NodeState]) -> str:
    """Return the first node that is not done, in a line."""
    for name, found in nodes.items():
        if found.state != "done":
            return f"{name} {found.state}" + (f": {found.detail}" if found.detail else "")
    return "done" if nodes else "params.yaml lacks the evaluations that it needs"


def _build_point_params(point: Point) -> dict[str, str]:
    """Return what was overridden, and what children are compared by."""
    node = point.plan.get("pretrain")
    params: dict[str, Any] = {}
    for override in point.overrides:
        key, _, text = override.lstrip("+~").partition("=")
        params[key] = text
    for name in (*(key.removeprefix("pretrain.") for key in params), *SHOWN):
        value: Any = node.step.sections["pretrain"] if node else {}
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            params[f"pretrain.{name}"] = value  # as resolved: 1 and 1.0 are one value
    return convert_params(params)


def _name_cells(columns: Mapping[str, ColumnConfig]) -> dict[str, str]:
    """Return a metric's name for every column: `market1501/mAP`, longer where two would be one."""
    candidates = {
        key: (
            f"{column.evaluate}/{column.metric}",
            f"{column.evaluate}/{column.protocol}/{column.metric}",
            f"{column.evaluate}/{column.protocol}/{column.row}/{column.metric}",
            f"{column.evaluate}/{key}",
        )
        for key, column in columns.items()
    }
    counts = Counter(name for names in candidates.values() for name in names)
    # a name may be given twice by one column, whose row says nothing new
    return {
        key: next((name for name in names if counts[name] == 1), names[-1])
        for key, names in candidates.items()
    }
