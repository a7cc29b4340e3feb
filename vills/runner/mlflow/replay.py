"""Bring MLflow up to date with what lies on disk, as often as one likes, with the same outcome.

Only committed records are sent, with their own times. How many the tracker holds stands in a tag of
the run, so nothing has to be remembered here; records that went out before a crash could note it go
out again, and MLflow's SQL stores drop identical points.

- A stage's run is found by its tags, and created once: under a lock on its folder. Records that
  were committed and then taken back after all make a new generation: a new run of MLflow, and the
  old one is deleted.
- A sweep is a parent run, and below it a child for every point, which shows what the point varies
  as parameters, its cells as metrics, and the curves of its pre-training. A point that two sweeps
  share is a child of each.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.runner.mlflow.client import LOCK_PATIENCE, get_run, open_store, search_runs
from vills.runner.mlflow.entry import (
    GENERATION,
    NO_JOURNAL,
    Entry,
    RunRecord,
    build_run_entry,
    load_run_record,
)
from vills.runner.mlflow.settings import TrackingSettings
from vills.runner.store.journal import JournalRecord
from vills.runner.store.lock import open_file_lock

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


NUM_RECORDS = "vills.records"
"""Tag: how many committed journal records the tracker holds."""
COMPLETED = "vills.completed"
"""Tag: mark of the scores and artifacts that the tracker holds."""
MAX_METRICS, MAX_PARAMS = 1000, 100
MAX_DIGEST = 36
PARENT = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How a sync ended."""

    ok: bool
    """Whether the tracker holds all that it should."""
    reason: str = ""
    """Why not, in one line."""
    run_id: str = ""
    """MLflow's own id of the run."""
    num_points: int = 0
    """Points sent this time."""


def sync_run(
    folder: Path, settings: TrackingSettings, *, committed_only: bool = True
) -> SyncResult:
    """Bring MLflow up to date with a run's folder. Never raises because of the tracker.

    Args:
        folder: `runs/<stage>/<fingerprint>`.
        settings: Where to.
        committed_only: False sends records behind the last checkpoint too; a resume would double
            them, so this is for runs that will not be resumed.
    """
    try:
        with open_file_lock(folder / ".tracking.lock", patience=LOCK_PATIENCE):
            record = load_run_record(folder)
            if record is None:
                return SyncResult(ok=False, reason=f"{folder} has no receipt yet")
            return _sync_record(record, settings, committed_only=committed_only)
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, a run must not feel it
        return SyncResult(ok=False, reason=describe_error(error))


def describe_error(error: Exception) -> str:
    """Return what a tracker said, in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:500]


def _sync_record(
    record: RunRecord, settings: TrackingSettings, *, committed_only: bool
) -> SyncResult:
    entry = build_run_entry(record)
    with open_store(settings) as (client, experiment_id):
        found = search_runs(client, experiment_id, entry.identity)
        run = get_run(client, entry, experiment_id=experiment_id, found=found)
    num_points = replay(client, run, entry, committed_only=committed_only)
    return SyncResult(ok=True, run_id=run.info.run_id, num_points=num_points)


def replay(client: "MlflowClient", run: "Run", entry: Entry, *, committed_only: bool = True) -> int:
    """Send what the run lacks; the number of points that went out.

    Args:
        client: Of the store.
        run: As the store holds it now.
        entry: What it is to show.
        committed_only: False sends records behind the last checkpoint too.
    """
    _send_description(client, run, entry)
    records = entry.journal.committed
    sent = int(run.data.tags.get(NUM_RECORDS, "0"))
    num_points = _send_records(client, run.info.run_id, records[sent:])
    if len(records) > sent:
        client.set_tag(run.info.run_id, NUM_RECORDS, str(len(records)))
    if entry.is_final or not committed_only:
        num_points += _send_records(client, run.info.run_id, entry.journal.pending)
    if entry.completed and run.data.tags.get(COMPLETED) != entry.completed:
        num_points += _send_result(client, run, entry)
    _send_status(client, run, entry)
    return num_points


def _send_description(client: "MlflowClient", run: "Run", entry: Entry) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    tags = {k: v for k, v in entry.tags.items() if run.data.tags.get(k) != v}
    params = {k: v for k, v in entry.params.items() if k not in run.data.params}
    entries = [Param(name, value) for name, value in params.items()]
    for start in range(0, max(len(entries), min(len(tags), 1)), MAX_PARAMS):
        client.log_batch(
            run.info.run_id,
            params=entries[start : start + MAX_PARAMS],
            tags=[RunTag(name, value) for name, value in tags.items()] if start == 0 else [],
        )
    known = {found.dataset.name for found in run.inputs.dataset_inputs} if run.inputs else set()
    datasets = [
        DatasetInput(
            Dataset(
                name,
                digest=read["digest"][:MAX_DIGEST],
                source_type="local",
                source=json.dumps({"uri": read["path"], "sha256": read["digest"]}),
            ),
            [InputTag("mlflow.data.context", entry.context)],
        )
        for name, read in entry.datasets.items()
        if name not in known
    ]
    if datasets:
        client.log_inputs(run.info.run_id, datasets)


def _send_records(client: "MlflowClient", run_id: str, records: Sequence[JournalRecord]) -> int:
    from mlflow.entities import Metric

    points = [
        Metric(name, value, record.time_ms, record.step)
        for record in records
        for name, value in record.metrics.items()
    ]
    for start in range(0, len(points), MAX_METRICS):
        client.log_batch(run_id, metrics=points[start : start + MAX_METRICS])
    return len(points)


def _send_result(client: "MlflowClient", run: "Run", entry: Entry) -> int:
    # A rebuilt run has the same scores at a later time: the tracker keeps the first.
    held = run.data.metrics
    new = {name: value for name, value in entry.scores.items() if held.get(name) != value}
    row = JournalRecord(entry.scored_ms, 0, new)
    num_points = _send_records(client, run.info.run_id, [row])
    for path, folder in entry.artifacts:
        client.log_artifact(run.info.run_id, path, folder or None)
    client.set_tag(run.info.run_id, COMPLETED, entry.completed)
    return num_points


def _send_status(client: "MlflowClient", run: "Run", entry: Entry) -> None:
    if entry.status in ("", run.info.status):
        return
    if entry.status == "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
    else:
        client.set_terminated(run.info.run_id, entry.status, entry.ended_ms)


@dataclass(frozen=True)
class SweepView:
    """A sweep as the tracker is to show it; plain values, so that a process can be told."""

    parent: Entry
    points: Mapping[str, Entry] = field(default_factory=dict)
    """By label, those that are to be brought up to date; none knows the parent's id yet."""


def load_sweep_view(value: Mapping[str, Any]) -> SweepView:
    """Build a view from `asdict` of it."""

    def load(entry: Mapping[str, Any]) -> Entry:
        return Entry(**{**entry, "journal": NO_JOURNAL})

    return SweepView(
        load(value["parent"]), {label: load(entry) for label, entry in value["points"].items()}
    )


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
        with open_store(settings) as (client, experiment_id):
            found = search_runs(client, experiment_id, view.parent.identity)
            parent = get_run(client, view.parent, experiment_id=experiment_id, found=found)
        parent_id = parent.info.run_id
        num_points += replay(client, parent, view.parent)
        note("", parent_id)
        children = search_runs(client, experiment_id, {PARENT: parent_id}) if view.points else []
        for label, entry in view.points.items():
            child = complete_point(entry, parent=parent_id)
            own = [run for run in children if child.identity.items() <= run.data.tags.items()]
            run = get_run(client, child, experiment_id=experiment_id, found=own)
            num_points += replay(client, run, child)
            note(label, run.info.run_id)
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, a sweep must not feel it
        reason = describe_error(error)
        return SyncResult(ok=False, reason=reason, run_id=parent_id, num_points=num_points)
    return SyncResult(ok=True, run_id=parent_id, num_points=num_points)


def complete_point(entry: Entry, *, parent: str) -> Entry:
    """Add to a point's entry its parent, and the curves of the run that it shows."""
    entry = replace(
        entry,
        identity={PARENT: parent, **entry.identity},
        tags={PARENT: parent, **entry.tags},
    )
    record = load_run_record(Path(entry.run)) if entry.run else None
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
