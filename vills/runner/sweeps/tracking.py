"""A sweep in the tracker: told before any job starts, and brought up to date as often as one likes.

A tracker that is down, slow or wrong never stops a launch: it is warned of, and later syncs send
everything. MLflow itself is imported in a child process only.
"""

import csv
import re
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.io import save_json
from vills.runner.mlflow.replay import SweepView, SyncResult, describe_error
from vills.runner.mlflow.settings import (
    TrackingSettings,
    find_network_file_system,
    get_database_path,
    holds_run,
    load_tracking_settings,
    refuse_network_database,
)
from vills.runner.mlflow.worker import sync_in_process
from vills.runner.plan.context import LaunchContext
from vills.runner.plan.nodes import Plan
from vills.runner.sweeps.notes import SweepNotes, compute_digest
from vills.runner.sweeps.sweep import Sweep, SweepState
from vills.runner.sweeps.views import IDLE, TABLE_NAME, States, SweepViewer

OPEN_SECONDS, SYNC_SECONDS = 60.0, 300.0
EVERY_SECONDS = 30.0
"""Curves of a sweep that is going on are sent no more often."""
NUMBER = re.compile(r"-?\d{1,12}(\.\d{1,12})?")
OFF = SyncResult(ok=True)
"""Tracking is off: the tracker holds all that it should."""


def print_warning(text: str) -> None:
    """Say something about the tracker on stderr."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class SweepSnapshot:
    """A sweep at one moment."""

    runs: Path
    """The runs' folder."""
    project: Path | None = None
    """The checkout; None inside a job, which does not know it."""
    record: Mapping[str, Any]
    """The sweep as launched."""
    plans: Mapping[str, Plan]
    """By label of the point."""
    states: States
    idle: str = IDLE
    """MLflow's word for points that nobody is at."""

    @property
    def notes(self) -> SweepNotes:
        """What is remembered of this edition."""
        return SweepNotes(self.runs, self.record["name"], self.record["fingerprint"])

    def build_viewer(self) -> SweepViewer:
        """Somebody who says what the tracker is to show."""
        return SweepViewer(
            self.runs,
            self.record,
            plans=self.plans,
            states=self.states,
            origin=self.notes.load_origin(self.project),
            idle=self.idle,
        )


def open_parent(context: LaunchContext, sweep: Sweep, *, say: Callable[[str], None]) -> str:
    """Make database, experiment and the sweep's parent run, before any job may.

    Returns:
        MLflow's id of the parent; empty, after a warning, if the tracker does not want to.

    Raises:
        ConfigError: if the store is a database on a network file system, which jobs on several
            nodes would corrupt.
    """
    settings = load_tracking_settings(context.project)
    if settings is None:
        say("tracking: off (VILLS_TRACKING); the journals keep every point")
        return ""
    check_store(settings, context.runs, say=say)
    record = {
        "name": sweep.name,
        "fingerprint": sweep.fingerprint,
        "overrides": list(sweep.overrides),
        "config": asdict(sweep.config),
        "points": {point.label: {} for point in sweep.points},
    }
    snapshot = SweepSnapshot(
        runs=context.runs, project=context.project, record=record, plans={}, states={}
    )

    def send() -> SyncResult:
        parent = snapshot.build_viewer().build_parent(status="SCHEDULED")
        return sync_in_process(SweepView(parent), settings, patience=OPEN_SECONDS)[0]

    result = _try(snapshot.notes, send)
    if not result.ok:
        say(_explain(result))
    return result.run_id


def sync_sweep(
    context: LaunchContext,
    record: Mapping[str, Any],
    state: SweepState,
    *,
    every: float = EVERY_SECONDS,
    say: Callable[[str], None] = print_warning,
) -> SyncResult:
    """Bring a sweep's parent and children up to date; quick when there is nothing new to say.

    Args:
        context: Of the project.
        record: The sweep as launched.
        state: How far it is.
        every: While it is going on, seconds that must have gone by since the last sync.
        say: Gets a warning, the first time that the tracker refuses for this reason.
    """
    settings = load_tracking_settings(context.project)
    if settings is None:
        return OFF
    snapshot = SweepSnapshot(
        runs=context.runs,
        project=context.project,
        record=record,
        plans=state.plans,
        states=state.states,
    )
    before = snapshot.notes.load_tracked(settings)["reason"]
    result = sync_snapshot(snapshot, settings, every=0.0 if state.is_over() else every)
    if not result.ok and result.reason != before:
        say(_explain(result))
    return result


def sync_snapshot(
    snapshot: SweepSnapshot,
    settings: TrackingSettings,
    *,
    labels: Collection[str] | None = None,
    every: float = 0.0,
    patience: float = SYNC_SECONDS,
    force: bool = False,
) -> SyncResult:
    """Send what the tracker lacks of a sweep. Never raises because of the tracker.

    Args:
        snapshot: The sweep as it is now.
        settings: Where to.
        labels: Points to look at; None: all.
        every: Seconds that must have gone by since the last try.
        patience: Seconds that it may take.
        force: Whether to ask the tracker even of what it was told before.
    """

    def send() -> SyncResult:
        tracked = snapshot.notes.load_tracked(settings)
        if force or not holds_run(settings.uri, tracked["parent"]):
            tracked = {**tracked, "marks": {}, "report": ""}
        viewer = snapshot.build_viewer()
        chosen = [label for label in snapshot.plans if labels is None or label in labels]
        marks = {label: viewer.compute_mark(label) for label in chosen}
        marks[""] = viewer.compute_parent_mark()
        due = [label for label, mark in marks.items() if tracked["marks"].get(label) != mark]
        if not due:
            return SyncResult(ok=True, run_id=tracked["parent"])
        if time.time() - tracked["tried"] < every:
            return SyncResult(ok=not tracked["reason"], reason=tracked["reason"])
        view = viewer.build_view(due)
        result, synced = sync_in_process(view, settings, patience=patience)
        done = {label: marks[label] for label in due if label in synced}
        snapshot.notes.save_tracked(
            {
                **tracked,
                "marks": tracked["marks"] | done,
                "parent": synced.get("", tracked["parent"]),
                "tried": time.time(),
                "reason": result.reason,
            }
        )
        return result

    return _try(snapshot.notes, send)


def log_report(
    context: LaunchContext,
    record: Mapping[str, Any],
    paths: Sequence[Path],
    *,
    say: Callable[[str], None] = print_warning,
) -> SyncResult:
    """Put rendered tables among the artifacts of the parent run, in place of earlier ones.

    The CSV also becomes a table that MLflow's UI shows as one.
    """
    settings = load_tracking_settings(context.project)
    if settings is None:
        return OFF
    snapshot = SweepSnapshot(
        runs=context.runs, project=context.project, record=record, plans={}, states={}
    )
    parts = [part for path in paths for part in (path.name.encode(), path.read_bytes())]
    digest = compute_digest(*parts)

    def send() -> SyncResult:
        tracked = snapshot.notes.load_tracked(settings)
        if tracked["report"] == digest and holds_run(settings.uri, tracked["parent"]):
            return SyncResult(ok=True, run_id=tracked["parent"])
        with tempfile.TemporaryDirectory() as folder:
            tables = [path for path in paths if path.suffix == ".csv"]
            parent = snapshot.build_viewer().build_parent(
                status="",
                files=paths,
                table=_save_table(Path(folder) / TABLE_NAME, tables[0]) if tables else "",
            )
            result, _ = sync_in_process(SweepView(parent), settings, patience=SYNC_SECONDS)
        if result.ok:
            snapshot.notes.save_tracked({**tracked, "report": digest, "parent": result.run_id})
        return result

    result = _try(snapshot.notes, send)
    if not result.ok:
        say(_explain(result))
    return result


def check_store(settings: TrackingSettings, runs: Path, *, say: Callable[[str], None]) -> None:
    """Refuse a store that jobs on several nodes would corrupt; warn of one that they cannot see.

    Raises:
        ConfigError: naming the file system, and what to use in its place.
    """
    try:
        refuse_network_database(settings.uri)
    except OSError as error:
        raise ConfigError(str(error)) from error
    kind = find_network_file_system(runs)
    if kind is not None and get_database_path(settings.uri) is not None:
        say(
            f"tracking: {settings.uri} is on this machine's own disk and the runs are on {kind}: "
            "jobs on other machines cannot see it. `vills track` here sends what they did; "
            "docs/tracking.md says how to start a server."
        )


def _try(notes: SweepNotes, work: Callable[[], SyncResult]) -> SyncResult:
    """Tell the tracker something, alone; whatever happens, the launcher goes on."""
    try:
        with notes.hold_lock():
            return work()
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, a sweep must not feel it
        return SyncResult(ok=False, reason=describe_error(error))


def _explain(result: SyncResult) -> str:
    return (
        f"tracking: the sweep is not up to date in the tracker ({result.reason}); jobs and "
        "results are not touched, and `vills track` sends everything later"
    )


def _save_table(path: Path, source: Path) -> str:
    """CSV -> the JSON of `mlflow.log_table`; columns that say the same everywhere stand last."""
    with source.open(newline="") as file:
        columns, *rows = csv.reader(file)
    order = sorted(range(len(columns)), key=lambda i: len({row[i] for row in rows}) < 2)
    data = [[_read_cell(row[i]) for i in order] for row in rows]
    save_json(path, {"columns": [columns[i] for i in order], "data": data})
    return str(path)


def _read_cell(text: str) -> str | float:
    # the UI sorts numbers as such; a fingerprint of digits is none
    return float(text) if NUMBER.fullmatch(text) else text
