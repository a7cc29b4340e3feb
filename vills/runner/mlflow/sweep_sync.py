"""A sweep in MLflow: a parent run, and below it a child run for every point.

A child shows what its point varies as parameters, the point's cells as metrics, and the curves of
its pre-training. A point that two sweeps share is a child of each. Both are found by tags: the
sweep's name and fingerprint and the runs' folder that it lives in, the point's label and
fingerprint and its parent.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vills.runner.mlflow.client import get_run, open_store, search_runs
from vills.runner.mlflow.entry import (
    EXECUTION,
    FINGERPRINT,
    GENERATION,
    Entry,
    clean_name,
    load_run_record,
    shorten_param,
)
from vills.runner.mlflow.replay import SyncResult, describe_error, replay
from vills.runner.mlflow.settings import TrackingSettings

SWEEP, POINT = "vills.sweep", "vills.point"
"""Tags: a parent's name; a child's label."""
PARENT = "mlflow.parentRunId"
LOGGED_TABLES = "mlflow.loggedArtifacts"
"""Tag by which MLflow's UI knows that a file is a table."""
TABLE_NAME, TABLES_FOLDER = "tables.json", "tables"
MAX_TAG = 5000


@dataclass(frozen=True, kw_only=True)
class PointView:
    """A point as the tracker is to show it; plain values, so that it can be sent to a process."""

    label: str
    fingerprint: str
    params: dict[str, str]
    tags: dict[str, str]
    scores: dict[str, float] = field(default_factory=dict)
    """Cells: share by name."""
    scored_ms: int = 0
    """When the last of them was measured."""
    run: str = ""
    """Folder of the run whose curves are shown; empty: none yet."""
    status: str
    created_ms: int
    ended_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class SweepView:
    """A sweep as the tracker is to show it."""

    name: str
    fingerprint: str
    """Of this edition: others have parents of their own."""
    execution: str
    """Of the runs' folder: two clones that launch the same sweep have two parents."""
    params: dict[str, str]
    tags: dict[str, str]
    status: str
    created_ms: int
    ended_ms: int | None = None
    points: list[PointView] = field(default_factory=list)
    """Those that are to be brought up to date."""
    files: list[str] = field(default_factory=list)
    """Rendered tables, which become artifacts of the parent."""
    table: str = ""
    """One more, in MLflow's own form of a table."""


def load_sweep_view(value: Mapping[str, Any]) -> SweepView:
    """Return a view from `asdict` of it."""
    points = [PointView(**entry) for entry in value["points"]]
    return SweepView(**{**value, "points": points})


def sync_view(
    view: SweepView,
    settings: TrackingSettings,
    *,
    note: Callable[[str, str], None] = lambda label, run_id: None,
) -> SyncResult:
    """Bring a sweep's parent and points up to date. Never raises because of the tracker.

    The caller keeps others from doing so for the same sweep at the same time.

    Args:
        view: What is to be shown.
        settings: Where to.
        note: Told of every run that is up to date: label of the point (empty: the parent), id.
    """
    parent_id, num_points = "", 0
    try:
        entry = build_parent_entry(view)
        with open_store(settings) as (client, experiment_id):
            found = search_runs(client, experiment_id, entry.identity)
            parent = get_run(client, entry, experiment_id=experiment_id, found=found)
        parent_id = parent.info.run_id
        num_points += replay(client, parent, entry)
        note("", parent_id)
        if not view.points:
            return SyncResult(ok=True, run_id=parent_id)
        children = search_runs(client, experiment_id, {PARENT: parent_id})
        for point in view.points:
            child = build_point_entry(point, sweep=view.name, parent=parent_id)
            own = [
                run
                for run in children
                if all(run.data.tags.get(name) == value for name, value in child.identity.items())
            ]
            run = get_run(client, child, experiment_id=experiment_id, found=own)
            num_points += replay(client, run, child)
            note(point.label, run.info.run_id)
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, a sweep must not feel it
        reason = describe_error(error)
        return SyncResult(ok=False, reason=reason, run_id=parent_id, num_points=num_points)
    return SyncResult(ok=True, run_id=parent_id, num_points=num_points)


def build_parent_entry(view: SweepView) -> Entry:
    """Return the parent run of a sweep."""
    identity = {SWEEP: view.name, FINGERPRINT: view.fingerprint, EXECUTION: view.execution}
    name = f"sweep {view.name} {view.fingerprint[:8]}"
    tags = {**identity, **view.tags, "mlflow.runName": name, **_build_source(view.name)}
    artifacts = [(Path(file), TABLES_FOLDER) for file in view.files]
    if view.table:
        artifacts.append((Path(view.table), ""))
        tags[LOGGED_TABLES] = f'[{{"path": "{TABLE_NAME}", "type": "table"}}]'
    return Entry(
        name=name,
        identity=identity,
        tags=_clean_tags(tags),
        params=_clean_params(view.params),
        created_ms=view.created_ms,
        completed=_compute_mark([path for path, _ in artifacts]),
        artifacts=tuple(artifacts),
        status=view.status,
        ended_ms=view.ended_ms,
    )


def build_point_entry(point: PointView, *, sweep: str, parent: str) -> Entry:
    """Return the child run of a point."""
    identity = {PARENT: parent, POINT: point.label, FINGERPRINT: point.fingerprint}
    tags = {**identity, **point.tags, "mlflow.runName": point.label, **_build_source(sweep)}
    scores = {clean_name(name): value for name, value in point.scores.items()}
    entry = Entry(
        name=point.label,
        identity=identity,
        tags=_clean_tags(tags),
        params=_clean_params(point.params),
        created_ms=point.created_ms,
        scores=scores,
        scored_ms=point.scored_ms,
        completed=hashlib.sha256(repr(sorted(scores.items())).encode()).hexdigest()
        if scores
        else "",
        status=point.status,
        ended_ms=point.ended_ms,
    )
    record = load_run_record(Path(point.run)) if point.run else None
    if record is None:
        return entry
    # Another execution of the pre-training has other times; its curves begin anew.
    edition = f"{record.receipt['execution']}.{record.journal.generation}"
    return replace(
        entry,
        edition=edition,
        tags={**entry.tags, GENERATION: edition},
        journal=record.journal,
        is_final=record.result is not None,
    )


def _build_source(name: str) -> dict[str, str]:
    return {"mlflow.source.type": "LOCAL", "mlflow.source.name": f"sweeps/launch.py {name}"}


def _clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {clean_name(name): value[:MAX_TAG] for name, value in tags.items() if value}


def _clean_params(params: Mapping[str, str]) -> dict[str, str]:
    return {clean_name(name): shorten_param(value) for name, value in params.items()}


def _compute_mark(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest() if paths else ""
