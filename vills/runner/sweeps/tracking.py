"""A sweep in the tracker: told before any job starts, and brought up to date as often as one likes.

    _sweeps/.NAME-tracked.json   what the tracker holds, so that a sync with no news costs nothing
    _sweeps/.NAME-tracked.lock   held by whoever brings the tracker up to date
    _sweeps/.execution.json      identity of this runs' folder: two clones have two parents

All of it can be thrown away: the tracker is then asked what it holds. A tracker that is down, slow
or wrong never stops a launch: it is warned of, and later syncs send everything. MLflow itself is
imported in a child process only.
"""

import csv
import json
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from vills.config.tracking import (
    TrackingSettings,
    check_network_database,
    has_run,
    load_tracking_settings,
)
from vills.git import describe_git
from vills.io import find_json, load_json, parse_sqlite_uri, save_json, save_own_json
from vills.mounts import find_network_file_system
from vills.runner.mlflow.replay import SyncResult, run_safely
from vills.runner.mlflow.tracked_run import Artifacts, TrackedRun
from vills.runner.mlflow.worker import print_line, sync_in_process
from vills.runner.plan.context import LaunchContext
from vills.runner.sweeps.sweep import FOLDER, Sweep, SweepState, compute_text_digest
from vills.runner.sweeps.tracked_runs import IDLE, TABLE_NAME, build_tracked_runs

OPEN_SECONDS, SYNC_SECONDS, LOCK_SECONDS = 10.0, 60.0, 60.0
EVERY_SECONDS = 30.0
"""Curves of a sweep that is going on are sent no more often."""
NUMBER = re.compile(r"-?\d{1,12}(\.\d{1,12})?")


def open_tracking(
    context: LaunchContext, state: SweepState, *, say: Callable[[str], None]
) -> SyncResult:
    """Make database, experiment and the sweep's parent run, before any job may.

    Raises:
        ConfigError: if the store is a database on a network file system, which jobs on several
            nodes would corrupt; it names the file system, and what to use in its place.
    """
    settings = load_tracking_settings(context.project)
    if settings is None:
        say("tracking: off (VILLS_TRACKING); the journals have every point")
        return SyncResult(ok=True)
    check_network_database(settings.uri)
    kind = find_network_file_system(context.runs)
    if kind is not None and parse_sqlite_uri(settings.uri) is not None:
        say(
            f"tracking: {settings.uri} is on this machine's own disk and the runs are on {kind}: "
            "jobs on other machines cannot see it. `vills track` here sends their curves; "
            "docs/tracking.md says how to start a server."
        )
    return sync_sweep(context, state, every=0.0, only_parent=True, patience=OPEN_SECONDS, say=say)


def sync_sweep(
    context: LaunchContext,
    state: SweepState,
    *,
    every: float = EVERY_SECONDS,
    only_parent: bool = False,
    idle: str = IDLE,
    artifacts: Artifacts = (),
    patience: float | None = SYNC_SECONDS,
    say: Callable[[str], None] = print_line,
) -> SyncResult:
    """Bring a sweep's parent and children up to date; quick when there is nothing new to say.

    It takes no longer than `patience` seconds; None: as long as the tracker does. While the sweep
    is going on, `every` seconds must have gone by since the last sync. `idle` is MLflow's word for
    points that nobody is at; with another than SCHEDULED the tracker is asked even of what it was
    told before. `artifacts` are the parent's. `say` gets a warning, once for each reason.
    """
    settings = load_tracking_settings(context.project)
    if settings is None:
        return SyncResult(ok=True)  # the tracker holds all that it should
    path = context.runs / FOLDER / f".{state.sweep.name}-tracked.json"
    before = _load_notes(path, context, state.sweep, settings)["reason"]

    @run_safely
    def send() -> SyncResult:
        path.parent.mkdir(parents=True, exist_ok=True)
        # kept from others who tell the tracker about the same sweep
        with FileLock(path.with_suffix(".lock"), timeout=-1 if patience is None else LOCK_SECONDS):
            notes = _load_notes(path, context, state.sweep, settings)
            origin = {**notes["origin"], "execution": load_execution(context.runs)}
            tracked_runs = build_tracked_runs(context.runs, state, origin=origin)
            marks = {run.name: _compute_mark(run) for run in tracked_runs}
            is_known = idle == IDLE and has_run(settings.uri, notes["parent"])
            known = notes["marks"] if is_known else {}
            wanted = [tracked_runs[0].name] if only_parent else marks
            due = {name: marks[name] for name in wanted if known.get(name) != marks[name]}
            if not due and not artifacts:
                return SyncResult(ok=True, run_id=notes["parent"])
            if time.time() - notes["tried"] < every and not state.is_over():
                return SyncResult(ok=not notes["reason"], reason=notes["reason"])
            # What it is told of idle points and files stays until there is something new.
            parent, *points = build_tracked_runs(
                context.runs, state, origin=origin, idle=idle, artifacts=artifacts
            )
            chosen = [parent, *(point for point in points if point.name in due)]
            result = sync_in_process(chosen, settings, patience=patience)
            notes |= {"tried": time.time(), "reason": result.reason}
            if result.ok:
                notes |= {"parent": result.run_id, "marks": known | due}
            save_own_json(path, notes)
            return result

    result = send()
    if not result.ok and (artifacts or result.reason != before):
        say(
            f"tracking: the sweep is not up to date in the tracker ({result.reason}); jobs and "
            "results are not affected, and `vills track` sends everything later"
        )
    return result


def sync_report(
    context: LaunchContext,
    state: SweepState,
    paths: Sequence[Path],
    *,
    say: Callable[[str], None] = print_line,
) -> SyncResult:
    """Put rendered tables among the artifacts of the parent run, in place of earlier ones.

    The CSV also becomes a table that MLflow's UI shows as one.
    """
    with tempfile.TemporaryDirectory() as folder:
        artifacts = [(str(path.resolve()), "tables") for path in paths]
        for path in [path for path in paths if path.suffix == ".csv"]:
            artifacts.append((_save_table(Path(folder) / TABLE_NAME, path), ""))
        return sync_sweep(context, state, every=0.0, artifacts=artifacts, say=say)


def _compute_mark(run: TrackedRun) -> str:
    """Another one as soon as anything that the tracker shows may be another."""
    journal = Path(run.folder, "journal.jsonl")
    found = journal.stat() if run.folder and journal.exists() else None
    date = [found.st_mtime_ns, found.st_size] if found else []
    return compute_text_digest(json.dumps([asdict(run), date], sort_keys=True))


def _load_notes(
    path: Path, context: LaunchContext, sweep: Sweep, settings: TrackingSettings
) -> dict[str, Any]:
    """Return what the tracker holds of this edition, as far as anybody noted it.

    `parent` is its run's id, `marks` what its runs were last made from, `tried` the time of the
    last sync, `reason` why that failed; `origin` what it was launched from.
    """
    notes = find_json(path)  # without it, the tracker is asked what it holds
    if notes.get("edition") != sweep.fingerprint:
        notes = {"edition": sweep.fingerprint}
    # not the URI itself, which may hold a password
    store = compute_text_digest(json.dumps(settings.public))
    if notes.get("store") != store:
        notes |= {"store": store, "parent": "", "marks": {}, "tried": 0.0, "reason": ""}
    if "origin" not in notes:
        earlier = path.with_name(f".{sweep.name}-origin.json")  # a file of its own, once
        notes["origin"] = find_json(earlier)
        if notes["origin"].get("fingerprint") != sweep.fingerprint:
            git, now = describe_git(context.project), time.time_ns() // 1_000_000
            notes["origin"] = {"created_ms": now, **{key: git[key] for key in ("commit", "dirty")}}
    return notes


def load_execution(runs: Path) -> str:
    """Identity of a runs' folder, kept in its folder of sweeps; made once."""
    path = runs / FOLDER / ".execution.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):
        if not path.exists():
            save_own_json(path, {"execution": uuid.uuid4().hex})
    remedy = "remove the file; the tracker then shows the sweeps of this folder a second time"
    return str(load_json(path, "execution", remedy=remedy)["execution"])


def _save_table(path: Path, source: Path) -> str:
    """CSV -> the JSON of `mlflow.log_table`; columns that say the same everywhere stand last."""
    with source.open(newline="") as file:
        columns, *rows = csv.reader(file)
    order = sorted(range(len(columns)), key=lambda i: len({row[i] for row in rows}) < 2)
    # the UI sorts numbers as such; a fingerprint of digits is none
    data = [[float(t) if NUMBER.fullmatch(t := row[i]) else t for i in order] for row in rows]
    save_json(path, {"columns": [columns[i] for i in order], "data": data})
    return str(path)
