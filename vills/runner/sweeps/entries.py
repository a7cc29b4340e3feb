"""A sweep's record and its nodes' states -> what the tracker is to show of it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vills.config.sweep import ColumnConfig
from vills.runner.mlflow.entry import (
    EXECUTION,
    FINGERPRINT,
    POINT,
    SWEEP,
    Entry,
    build_tags,
    clean_name,
    clean_params,
)
from vills.runner.mlflow.replay import PARENT
from vills.runner.plan.registry import Registry
from vills.runner.plan.states import NodeState
from vills.runner.store.result import load_result
from vills.runner.sweeps.cells import find_scores
from vills.runner.sweeps.sweep import Point, Sweep, SweepState, compute_text_digest

IDLE = "SCHEDULED"
LOGGED_TABLES = "mlflow.loggedArtifacts"
"""Tag by which MLflow's UI knows that a file is a table."""
TABLE_NAME, TABLES_FOLDER = "tables.json", "tables"
SHOWN = (
    *("feature_weight", "masking_weight", "koleo_weight", "alignment_weight"),
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
    # Nobody is at it and nobody was asked to be: what else there is decides.
    **dict.fromkeys(("to do", "waits", "stopped"), ""),
}
"""MLflow's word for a node's state."""


def build_entries(
    runs: Path, state: SweepState, *, origin: Mapping[str, Any], idle: str = IDLE
) -> list[Entry]:
    """Return a sweep's parent, then its points in the order of the tables.

    Args:
        runs: The runs' folder.
        state: The sweep as launched, and how far it is.
        origin: `execution` of the runs' folder; `commit`, `dirty`, `created_ms` of the launch.
        idle: MLflow's word for a point that nobody is at.
    """
    sweep, registry = state.sweep, Registry(runs)
    points = []
    for number, point in enumerate(sweep.points):
        nodes = {name: state.states[node.key] for name, node in point.plan.items()}
        jobs = {
            name: [entry.job for entry in registry.load_submissions(node.key) if entry.job]
            for name, node in point.plan.items()
        }
        tags = {
            POINT: point.label,
            FINGERPRINT: point.fingerprint,
            SWEEP: sweep.name,
            EXECUTION: origin["execution"],
            "vills.label": sweep.config.points[point.name].label,
            "vills.state": _say_state(nodes),
            "vills.jobs": json.dumps({name: ids for name, ids in jobs.items() if ids}),
            "vills.attempts": json.dumps({n: s.attempts for n, s in nodes.items() if s.attempts}),
            "vills.lacking": ", ".join(point.lacking),
            **{f"vills.run.{name}": s.run.name for name, s in nodes.items() if s.run is not None},
        }
        scores, scored_ms = _collect_scores(state, point)
        run = nodes["pretrain"].run if "pretrain" in nodes else None
        entry = Entry(
            name=point.label,
            identity=(PARENT, POINT, FINGERPRINT),
            tags=_build_tags(sweep, tags, name=point.label),
            params=_build_point_params(point),
            # The tracker lists the newest first: so points stand there as in the tables.
            created_ms=origin["created_ms"] - number,
            status=judge([STATUS[found.state] for found in nodes.values()]) or idle,
            folder=str(run.resolve()) if run and (run / "receipt.json").exists() else "",
            scores=scores,
            completed=compute_text_digest(repr(sorted(scores.items()))) if scores else "",
            finished_ms=scored_ms,
        )
        points.append(entry)
    statuses = [entry.status for entry in points]
    counts = ", ".join(f"{num} {word.lower()}" for word, num in sorted(Counter(statuses).items()))
    parent = build_parent(sweep, origin, status=judge(statuses), tags={"vills.points": counts})
    return [parent, *points]


def build_parent(
    sweep: Sweep,
    origin: Mapping[str, Any],
    *,
    status: str = "",
    tags: Mapping[str, str] | None = None,
    artifacts: Sequence[tuple[str, str]] = (),
    completed: str = "",
) -> Entry:
    """Return the parent alone; an empty status is left as it is."""
    config = sweep.config
    titles = [table.title for table in config.tables.values()]
    name = f"sweep {sweep.name} {sweep.fingerprint[:8]}"
    note = [f"**{config.title}**", "", *(f"- {title}" for title in titles)]
    note += ["", f"`{config.command}`", "", f"At the paper's scale: {config.cost}."]
    all_tags = {
        SWEEP: sweep.name,
        FINGERPRINT: sweep.fingerprint,
        EXECUTION: origin["execution"],
        "vills.title": config.title,
        "vills.cost": config.cost,
        "vills.command": config.command,
        "vills.cluster": sweep.cluster,
        "vills.git_commit": origin["commit"],
        "vills.git_dirty": origin["dirty"],
        "mlflow.note.content": "\n".join(note),
        **(tags or {}),
    }
    params = {
        "title": config.title,
        "tables": ", ".join(titles),
        "overrides": " ".join(sweep.overrides),
        "seeds": ", ".join(map(str, config.seeds)) or "of params.yaml",
        "num_points": len(sweep.points),
    }
    return Entry(
        name=name,
        identity=(SWEEP, FINGERPRINT, EXECUTION),
        tags=_build_tags(sweep, all_tags, name=name),
        params=clean_params(params),
        created_ms=origin["created_ms"],
        status=status,
        artifacts=artifacts,
        completed=completed,
    )


def judge(statuses: Sequence[str]) -> str:
    """MLflow's word for all of something, from its words for the parts; empty: nobody is at it."""
    order = ("RUNNING", "SCHEDULED", "FAILED", "KILLED", "")
    return next((word for word in order if word in statuses), "FINISHED")


def _build_tags(sweep: Sweep, tags: Mapping[str, Any], *, name: str) -> dict[str, str]:
    return build_tags(tags, name=name, source=f"sweeps/launch.py {sweep.name}")


def _say_state(nodes: Mapping[str, NodeState]) -> str:
    """Return the first node that is not done, in a line."""
    for name, found in nodes.items():
        if found.state != "done":
            return f"{name} {found.state}" + (f": {found.detail}" if found.detail else "")
    return "done" if nodes else "params.yaml lacks its evaluations"


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
    return clean_params(params)


def _collect_scores(state: SweepState, point: Point) -> tuple[dict[str, float], int]:
    """Return a point's cells by metric, and when the last of them was measured."""
    names = _name_cells(state.sweep.config.list_columns(point.name))
    cells = find_scores(state, point)
    found = {names[key]: cell for key, cell in cells.items() if not isinstance(cell, str)}
    ended = [int(load_result(run)["finished_ms"]) for run in {run for _, run in found.values()}]
    return {clean_name(name): value for name, (value, _) in found.items()}, max(ended, default=0)


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
