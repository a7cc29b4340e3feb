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
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.io import load_json, save_json
from vills.runner.mlflow.entry import Entry
from vills.runner.mlflow.replay import SyncResult, catch_errors
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
from vills.runner.store.digest import compute_digest
from vills.runner.store.file_lock import hold_file_lock
from vills.runner.store.lock import print_line
from vills.runner.store.machine import collect_git
from vills.runner.sweeps.entries import (
    IDLE,
    LOGGED_TABLES,
    TABLE_NAME,
    TABLES_FOLDER,
    build_entries,
    build_parent,
)
from vills.runner.sweeps.sweep import FOLDER, SweepState, compute_text_digest

OPEN_SECONDS, SYNC_SECONDS, LOCK_SECONDS = 60.0, 300.0, 60.0
EVERY_SECONDS = 30.0
"""Curves of a sweep that is going on are sent no more often."""
NUMBER = re.compile(r"-?\d{1,12}(\.\d{1,12})?")
OFF = SyncResult(ok=True)
"""Tracking is off: the tracker holds all that it should."""


def open_tracking(
    context: LaunchContext,
    record: Mapping[str, Any],
    state: SweepState,
    *,
    say: Callable[[str], None],
) -> SyncResult:
    """Make database, experiment and the sweep's runs, before any job may.

    Raises:
        ConfigError: if the store is a database on a network file system, which jobs on several
            nodes would corrupt; it names the file system, and what to use in its place.
    """
    settings = load_tracking_settings(context.project)
    if settings is None:
        say("tracking: off (VILLS_TRACKING); the journals keep every point")
        return OFF
    try:
        refuse_network_database(settings.uri)
    except OSError as error:
        raise ConfigError(str(error)) from error
    kind = find_network_file_system(context.runs)
    if kind is not None and get_database_path(settings.uri) is not None:
        say(
            f"tracking: {settings.uri} is on this machine's own disk and the runs are on {kind}: "
            "jobs on other machines cannot see it. `vills track` here sends what they did; "
            "docs/tracking.md says how to start a server."
        )
    return sync_sweep(context, record, state, every=0.0, patience=OPEN_SECONDS, say=say)


def sync_sweep(
    context: LaunchContext,
    record: Mapping[str, Any],
    state: SweepState,
    *,
    every: float = EVERY_SECONDS,
    patience: float = SYNC_SECONDS,
    idle: str = IDLE,
    ask_all: bool = False,
    say: Callable[[str], None] = print_line,
) -> SyncResult:
    """Bring a sweep's parent and children up to date; quick when there is nothing new to say.

    Args:
        context: Of the project.
        record: The sweep as launched.
        state: How far it is.
        every: While it is going on, seconds that must have gone by since the last sync.
        patience: Seconds that it may take.
        idle: MLflow's word for points that nobody is at.
        ask_all: Whether to ask the tracker even of what it was told before.
        say: Gets a warning, the first time that the tracker refuses for this reason.
    """

    @catch_errors
    def send(settings: TrackingSettings) -> SyncResult:
        with _open_notes(context, record, settings) as notes:
            if ask_all or not holds_run(settings.uri, notes["parent"]):
                notes |= {"marks": {}, "report": ""}
            origin = {**notes["origin"], "execution": load_execution(context.runs)}
            parent, *points = build_entries(context.runs, record, state, origin=origin)
            marks = {"": _compute_mark(parent)} | {e.name: _compute_mark(e) for e in points}
            due = {name for name, mark in marks.items() if notes["marks"].get(name) != mark}
            if not due:
                return SyncResult(ok=True, run_id=notes["parent"])
            if time.time() - notes["tried"] < every and not state.is_over():
                return SyncResult(ok=not notes["reason"], reason=notes["reason"])
            if idle != IDLE:  # what it is told so late stays until there is something new
                parent, *points = build_entries(
                    context.runs, record, state, origin=origin, idle=idle
                )
            chosen = [parent, *(entry for entry in points if entry.name in due)]
            result = sync_in_process(chosen, settings, patience=patience)
            notes |= {"tried": time.time(), "reason": result.reason}
            if result.ok:
                notes |= {"parent": result.run_id, "marks": marks}
            return result

    return _tell(context, record, send, say)


def log_report(
    context: LaunchContext,
    record: Mapping[str, Any],
    paths: Sequence[Path],
    *,
    say: Callable[[str], None] = print_line,
) -> SyncResult:
    """Put rendered tables among the artifacts of the parent run, in place of earlier ones.

    The CSV also becomes a table that MLflow's UI shows as one.
    """
    mark = compute_text_digest("".join(f"{path.name} {compute_digest(path)}\n" for path in paths))

    @catch_errors
    def send(settings: TrackingSettings) -> SyncResult:
        with _open_notes(context, record, settings) as notes:
            if notes["report"] == mark and holds_run(settings.uri, notes["parent"]):
                return SyncResult(ok=True, run_id=notes["parent"])
            with tempfile.TemporaryDirectory() as folder:
                artifacts = [(str(path.resolve()), TABLES_FOLDER) for path in paths]
                tags = {}
                for path in [path for path in paths if path.suffix == ".csv"][:1]:
                    artifacts.append((_save_table(Path(folder) / TABLE_NAME, path), ""))
                    tags[LOGGED_TABLES] = json.dumps([{"path": TABLE_NAME, "type": "table"}])
                origin = {**notes["origin"], "execution": load_execution(context.runs)}
                parent = build_parent(
                    record, origin, tags=tags, artifacts=artifacts, completed=mark
                )
                result = sync_in_process([parent], settings, patience=SYNC_SECONDS)
            if result.ok:
                notes |= {"report": mark, "parent": result.run_id}
            return result

    return _tell(context, record, send, say)


def _tell(
    context: LaunchContext,
    record: Mapping[str, Any],
    send: Callable[[TrackingSettings], SyncResult],
    say: Callable[[str], None],
) -> SyncResult:
    """Send something, and warn the first time that it cannot be for this reason."""
    settings = load_tracking_settings(context.project)
    if settings is None:
        return OFF
    before = _load_notes(context, record, settings)["reason"]
    result = send(settings)
    if not result.ok and result.reason != before:
        say(
            f"tracking: the sweep is not up to date in the tracker ({result.reason}); jobs and "
            "results are not touched, and `vills track` sends everything later"
        )
    return result


def _compute_mark(entry: Entry) -> str:
    """Another one as soon as anything that the tracker shows may be another."""
    journal = Path(entry.folder) / "journal.jsonl"
    date = [0, 0]
    if entry.folder and journal.exists():
        found = journal.stat()
        date = [found.st_mtime_ns, found.st_size]
    return compute_text_digest(json.dumps([asdict(entry), date], sort_keys=True))


@contextmanager
def _open_notes(
    context: LaunchContext, record: Mapping[str, Any], settings: TrackingSettings
) -> Iterator[dict[str, Any]]:
    """Yield what the tracker holds of a sweep; changes are kept, and others are kept out meanwhile.

    Raises:
        TimeoutError: if another process tells the tracker about the same sweep for too long.
    """
    path = _get_path(context, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_file_lock(path.with_suffix(".lock"), patience=LOCK_SECONDS):
        notes = _load_notes(context, record, settings)
        before = json.dumps(notes)
        yield notes
        if json.dumps(notes) != before:
            save_json(path, notes)


def _load_notes(
    context: LaunchContext, record: Mapping[str, Any], settings: TrackingSettings
) -> dict[str, Any]:
    """Return what the tracker holds of this edition, as far as anybody noted it.

    `parent` is its run's id, `marks` what its runs were last made from, `tried` the time of the
    last sync, `reason` why that failed, `report` the digest of its tables; `origin` what it was
    launched from.
    """
    path = _get_path(context, record)
    notes = load_json(path) if path.exists() else {}
    if notes.get("edition") != record["fingerprint"]:
        notes = {"edition": record["fingerprint"]}
    # not the URI itself, which may hold a password
    store = compute_text_digest(json.dumps(asdict(settings)))
    if notes.get("store") != store:
        fresh = {"parent": "", "marks": {}, "tried": 0.0, "reason": "", "report": ""}
        notes |= {"store": store, **fresh}
    if "origin" not in notes:
        earlier = path.with_name(f".{record['name']}-origin.json")  # a file of its own, once
        notes["origin"] = load_json(earlier) if earlier.exists() else {}
        if notes["origin"].get("fingerprint") != record["fingerprint"]:
            git = collect_git(context.project)
            notes["origin"] = {key: git[key] for key in ("commit", "dirty")}
            notes["origin"]["created_ms"] = time.time_ns() // 1_000_000
    return notes


def _get_path(context: LaunchContext, record: Mapping[str, Any]) -> Path:
    return context.runs / FOLDER / f".{record['name']}-tracked.json"


def load_execution(runs: Path) -> str:
    """Identity of a runs' folder, kept in its folder of sweeps; made once."""
    path = runs / FOLDER / ".execution.json"
    if not path.exists():
        beside = path.with_name(f".{uuid.uuid4().hex}.json")
        save_json(beside, {"execution": uuid.uuid4().hex})
        with suppress(FileExistsError):  # another process was quicker
            os.link(beside, path)
        beside.unlink()
    return str(load_json(path)["execution"])


def _save_table(path: Path, source: Path) -> str:
    """CSV -> the JSON of `mlflow.log_table`; columns that say the same everywhere stand last."""
    with source.open(newline="") as file:
        columns, *rows = csv.reader(file)
    order = sorted(range(len(columns)), key=lambda i: len({row[i] for row in rows}) < 2)
    # the UI sorts numbers as such; a fingerprint of digits is none
    data = [[float(t) if NUMBER.fullmatch(t := row[i]) else t for i in order] for row in rows]
    save_json(path, {"columns": [columns[i] for i in order], "data": data})
    return str(path)
