"""A sweep's record and its nodes' states -> what the tracker is to show of it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vills.config.sweep import ColumnConfig, SweepConfig
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
from vills.runner.plan.nodes import Plan
from vills.runner.plan.registry import Registry
from vills.runner.plan.states import NodeState
from vills.runner.store.result import load_result
from vills.runner.sweeps.cells import find_scores
from vills.runner.sweeps.sweep import SweepState, compute_text_digest

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
    runs: Path,
    record: Mapping[str, Any],
    state: SweepState,
    *,
    origin: Mapping[str, Any],
    idle: str = IDLE,
) -> list[Entry]:
    """Return a sweep's parent, then its points in the order of the tables.

    Args:
        runs: The runs' folder.
        record: The sweep as launched.
        state: How far it is.
        origin: `execution` of the runs' folder; `commit`, `dirty`, `created_ms` of the launch.
        idle: MLflow's word for a point that nobody is at.
    """
    registry, source = Registry(runs), f"sweeps/launch.py {record['name']}"
    points = []
    for number, (label, plan) in enumerate(state.plans.items()):
        nodes = {name: state.states[node.key] for name, node in plan.items()}
        jobs = {
            name: [entry.job for entry in registry.load_submissions(node.key) if entry.job]
            for name, node in plan.items()
        }
        tags = {
            POINT: label,
            FINGERPRINT: record["points"][label]["fingerprint"],
            SWEEP: record["name"],
            EXECUTION: origin["execution"],
            "vills.label": record["config"].points[record["points"][label]["name"]].label,
            "vills.state": _say_state(nodes),
            "vills.jobs": json.dumps({name: ids for name, ids in jobs.items() if ids}),
            "vills.attempts": json.dumps({n: s.attempts for n, s in nodes.items() if s.attempts}),
            "vills.lacking": ", ".join(record["points"][label]["lacking"]),
            **{f"vills.run.{name}": s.run.name for name, s in nodes.items() if s.run is not None},
        }
        scores, scored_ms = _collect_scores(record, state, label)
        run = nodes["pretrain"].run if "pretrain" in nodes else None
        point = Entry(
            name=label,
            identity=(PARENT, POINT, FINGERPRINT),
            tags=build_tags(tags, name=label, source=source),
            params=_build_point_params(record["points"][label], plan),
            # The tracker lists the newest first: so points stand there as in the tables.
            created_ms=origin["created_ms"] - number,
            status=judge([STATUS[found.state] for found in nodes.values()]) or idle,
            folder=str(run.resolve()) if run and (run / "receipt.json").exists() else "",
            scores=scores,
            completed=compute_text_digest(repr(sorted(scores.items()))) if scores else "",
            finished_ms=scored_ms,
        )
        points.append(point)
    statuses = [point.status for point in points]
    counts = ", ".join(f"{num} {word.lower()}" for word, num in sorted(Counter(statuses).items()))
    parent = build_parent(record, origin, status=judge(statuses), tags={"vills.points": counts})
    return [parent, *points]


def build_parent(
    record: Mapping[str, Any],
    origin: Mapping[str, Any],
    *,
    status: str = "",
    tags: Mapping[str, str] | None = None,
    artifacts: Sequence[tuple[str, str]] = (),
    completed: str = "",
) -> Entry:
    """Return the parent alone; an empty status is left as it is."""
    config: SweepConfig = record["config"]
    titles = [table.title for table in config.tables.values()]
    name = f"sweep {record['name']} {record['fingerprint'][:8]}"
    note = [f"**{config.title}**", "", *(f"- {title}" for title in titles)]
    note += ["", f"`{config.command}`", "", f"At the paper's scale: {config.cost}."]
    all_tags = {
        SWEEP: record["name"],
        FINGERPRINT: record["fingerprint"],
        EXECUTION: origin["execution"],
        "vills.title": config.title,
        "vills.cost": config.cost,
        "vills.command": config.command,
        "vills.cluster": record["cluster"],
        "vills.git_commit": origin["commit"],
        "vills.git_dirty": origin["dirty"],
        "mlflow.note.content": "\n".join(note),
        **(tags or {}),
    }
    params = {
        "title": config.title,
        "tables": ", ".join(titles),
        "overrides": " ".join(record["overrides"]),
        "seeds": ", ".join(map(str, config.seeds)) or "of params.yaml",
        "num_points": len(record["points"]),
    }
    return Entry(
        name=name,
        identity=(SWEEP, FINGERPRINT, EXECUTION),
        tags=build_tags(all_tags, name=name, source=f"sweeps/launch.py {record['name']}"),
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


def _say_state(nodes: Mapping[str, NodeState]) -> str:
    """Return the first node that is not done, in a line."""
    for name, found in nodes.items():
        if found.state != "done":
            return f"{name} {found.state}" + (f": {found.detail}" if found.detail else "")
    return "done" if nodes else "params.yaml lacks its evaluations"


def _build_point_params(point: Mapping[str, Any], plan: Plan) -> dict[str, str]:
    """Return what was overridden, and what children are compared by."""
    pretrain = plan["pretrain"].step.sections["pretrain"] if "pretrain" in plan else {}
    params: dict[str, Any] = {}
    for override in point["overrides"]:
        key, _, value = override.lstrip("+~").partition("=")
        params[key] = value
    for name in (*(key.removeprefix("pretrain.") for key in params), *SHOWN):
        value = pretrain
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            params[f"pretrain.{name}"] = value  # as resolved: 1 and 1.0 are one value
    return clean_params(params)


def _collect_scores(
    record: Mapping[str, Any], state: SweepState, label: str
) -> tuple[dict[str, float], int]:
    """Return a point's cells by metric, and when the last of them was measured."""
    columns = record["config"].list_columns(record["points"][label]["name"])
    names = _name_cells(columns)
    cells = find_scores(record, state, label)
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
