"""Bring MLflow up to date with what lies on disk, as often as one likes, with the same outcome.

Only committed records are sent, with their own times. What the tracker holds stands in a tag of
the run, which goes with the points in one request, so nothing has to be remembered here. A request
that is sent again is harmless: MLflow's SQL stores drop identical points.

- Records that were committed and then taken back after all make a new generation: a new run of
  MLflow, and the old one is deleted.
- A sweep is a parent run, and below it a child for every point, which shows what the point varies
  as parameters, its cells as metrics, and the curves of its pre-training. A point that two sweeps
  share is a child of each.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from filelock import FileLock

from vills.config.tracking import TrackingSettings
from vills.progress import Progress
from vills.runner.mlflow.choose import CROSSED, find_runs, get_run, is_later
from vills.runner.mlflow.settings import LOCK_PATIENCE, Store, describe_error, open_store
from vills.runner.mlflow.tracked_run import (
    EXECUTION,
    FINGERPRINT,
    GENERATION,
    PARENT,
    STAGE,
    TrackedRun,
    load_tracked_run,
)
from vills.runner.store.journal import JournalRecord

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

MAX_DIGEST = 36
MAX_POINTS = 999
"""Points that MLflow takes in one request, beside a tag."""
NUM_RECORDS = "vills.records"
"""Tag: how many committed journal records the tracker holds, and the time of the last one."""
COMPLETED = "vills.completed"
"""Tag: mark of the scores and artifacts that the tracker holds."""
MAX_TRIES = 5
"""Looks at a tracker that others write to at the same time."""
OPEN = ("RUNNING", "SCHEDULED")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How a sync ended."""

    ok: bool
    """Whether the tracker holds all that it should."""
    reason: str = ""
    """Why not, in one line."""
    run_id: str = ""
    """MLflow's own id of the run; of a sweep, its parent's."""
    num_points: int = 0
    """Points sent this time."""
    notes: Sequence[str] = ()
    """What is not shown on purpose, and why."""


def run_safely(work: Callable[P, SyncResult]) -> Callable[P, SyncResult]:
    """Make whatever is raised a reason: neither a run nor a launcher must feel what trackers do."""

    @wraps(work)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> SyncResult:
        try:
            return work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a tracker may raise anything
            return SyncResult(ok=False, reason=describe_error(error))

    return wrapped


@run_safely
def sync_run(
    folder: Path,
    settings: TrackingSettings,
    *,
    store: Store | None = None,
    patience: float = LOCK_PATIENCE,
    progress: Progress = lambda *_: None,
) -> SyncResult:
    """Bring MLflow up to date with `runs/<stage>/<fingerprint>`. Never raises.

    Args:
        folder: The run's.
        settings: Where to send it.
        store: That place, if it is open already.
        patience: Seconds to wait for another process that sends it; -1: as long as it takes.
        progress: Told how many of the records that were lacking have been taken.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing")  # the lock would make it
    with FileLock(folder / ".tracking.lock", timeout=patience):
        tracked = load_tracked_run(folder)
        if tracked is None:
            return SyncResult(ok=False, reason=f"{folder} has no receipt yet")
        return sync_tracked_runs([tracked], settings, store=store, progress=progress)


@run_safely
def sync_tracked_runs(
    tracked_runs: Sequence[TrackedRun],
    settings: TrackingSettings,
    *,
    store: Store | None = None,
    progress: Progress = lambda *_: None,
) -> SyncResult:
    """Bring a run, and all others as its children, up to date. Never raises."""
    store = store or open_store(settings)
    from mlflow.exceptions import MlflowException

    for _ in range(MAX_TRIES - 1):
        try:
            return _sync(store, tracked_runs, progress)
        except MlflowException as error:
            if error.error_code not in CROSSED:
                raise
    return _sync(store, tracked_runs, progress)


def _sync(store: Store, tracked_runs: Sequence[TrackedRun], progress: Progress) -> SyncResult:
    parent, *points = tracked_runs
    results = [_replay(store, parent, None, progress)]
    parent_id = results[0].run_id
    if points and not results[0].notes:
        children = find_runs(store, {PARENT: parent_id}, deleted=True)
        for point in points:
            child = _complete_point(point, parent_id=parent_id)
            found = [
                run for run in children if child.get_identity().items() <= run.data.tags.items()
            ]
            results.append(_replay(store, child, found, progress))
    notes = tuple(note for result in results for note in result.notes)
    num_points = sum(result.num_points for result in results)
    return SyncResult(ok=True, run_id=parent_id, num_points=num_points, notes=notes)


def _complete_point(tracked: TrackedRun, *, parent_id: str) -> TrackedRun:
    """Give a point its parent, and the curves of the run that it shows."""
    tags = {PARENT: parent_id, **tracked.tags}
    source = load_tracked_run(Path(tracked.folder)) if tracked.folder else None
    if source is None:
        return replace(tracked, tags=tags)
    # Another execution of the pre-training has other times; its curves begin anew.
    edition = f"{source.tags[EXECUTION]}.{source.edition}"
    tags[GENERATION] = edition
    return replace(tracked, tags=tags, edition=edition, records=source.records)


def _find_reason(run: "Run", tracked: TrackedRun) -> str:
    """Say why nothing is sent to a run on purpose; empty: it is sent to."""
    held = run.data.tags
    if run.info.lifecycle_stage != "active":
        command = f"mlflow runs restore --run-id {run.info.run_id}"
        return f"was deleted in the tracker, and stays so (`{command}` brings it back)"
    is_behind = COMPLETED in held and STAGE in held and not tracked.completed
    if is_behind or is_later(run, tracked.edition):
        return "is further in the tracker than in this folder of runs, and stays so"
    return ""


def _replay(
    store: Store, tracked: TrackedRun, found: Sequence["Run"] | None, progress: Progress
) -> SyncResult:
    """Send what the tracker lacks of a run; `found`: those with its identity, if known."""
    from mlflow.entities import Param, RunTag

    client, _ = store
    run = get_run(store, tracked, found)
    run_id, held = run.info.run_id, run.data
    if reason := _find_reason(run, tracked):
        return SyncResult(ok=True, run_id=run_id, notes=(f"{tracked.name} {reason}",))
    client.log_batch(
        run_id,
        params=[Param(k, v) for k, v in tracked.params.items() if k not in held.params],
        tags=[RunTag(k, v) for k, v in tracked.tags.items() if held.tags.get(k) != v],
    )
    _send_datasets(client, run, tracked)
    num_points = _send_records(client, run, tracked, progress)
    if tracked.completed and held.tags.get(COMPLETED) != tracked.completed:
        # A rebuilt run has the same scores at a later time: the tracker keeps the first.
        new = {name: v for name, v in tracked.scores.items() if held.metrics.get(name) != v}
        points = _build_points([JournalRecord(tracked.finished_ms, 0, new)])
        client.log_batch(run_id, metrics=points)
        num_points += len(points)
        for path, folder in tracked.artifacts:
            client.log_artifact(run_id, path, folder or None)
        client.set_tag(run_id, COMPLETED, tracked.completed)
    if tracked.status not in ("", run.info.status):
        if tracked.status == "RUNNING":
            client.update_run(run_id, status="RUNNING")
        else:
            ended = tracked.finished_ms if tracked.status == "FINISHED" else None
            client.set_terminated(run_id, tracked.status, ended)
    return SyncResult(ok=True, run_id=run_id, num_points=num_points)


def _send_datasets(client: "MlflowClient", run: "Run", tracked: TrackedRun) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    known = {found.dataset.name for found in run.inputs.dataset_inputs} if run.inputs else set()
    new = [
        DatasetInput(
            Dataset(
                name,
                digest=read["digest"][:MAX_DIGEST],
                source_type="local",
                source=json.dumps({"uri": read["path"], "sha256": read["digest"]}),
            ),
            [InputTag("mlflow.data.context", tracked.tags[STAGE])],
        )
        for name, read in tracked.datasets.items()
        if name not in known
    ]
    if new:
        client.log_inputs(run.info.run_id, new)


def _send_records(
    client: "MlflowClient", run: "Run", tracked: TrackedRun, progress: Progress
) -> int:
    """Send the records that the tracker lacks; the number of points that went out.

    With each request goes the tag that counts them: MLflow stores it after the points, and an
    answer that is lost on the way loses nothing else.
    """
    from mlflow.entities import RunTag

    run_id, records = run.info.run_id, tracked.records
    count, _, until = run.data.tags.get(NUM_RECORDS, "0").partition(" ")
    sent, num_points = int(count), 0
    if sent and until and [r.time_ms for r in records[sent - 1 : sent]] != [int(until)]:
        # The tracker was told from another copy of this folder, which has gone on by itself.
        records, sent = _select_missing(client, run_id, records), 0
    begin = sent
    while begin < len(records):
        points, end = _build_points(records[begin : begin + 1]), begin + 1
        while end < len(records) and len(points) + len(records[end].metrics) <= MAX_POINTS:
            points += _build_points(records[end : end + 1])
            end += 1
        mark = RunTag(NUM_RECORDS, f"{end} {records[end - 1].time_ms}")
        client.log_batch(run_id, metrics=points[MAX_POINTS:])  # of a record larger than a request
        client.log_batch(run_id, metrics=points[:MAX_POINTS], tags=[mark])
        num_points, begin = num_points + len(points), end
        progress(f"{tracked.name}: records", end - sent, len(records) - sent)
    return num_points


def _select_missing(
    client: "MlflowClient", run_id: str, records: Sequence[JournalRecord]
) -> list[JournalRecord]:
    """Leave out of each record what the tracker holds of its step, whatever its time."""
    names = {name for record in records for name in record.metrics}
    held = {(name, p.step) for name in names for p in client.get_metric_history(run_id, name)}
    return [
        replace(r, metrics={n: v for n, v in r.metrics.items() if (n, r.step) not in held})
        for r in records
    ]


def _build_points(records: Sequence[JournalRecord]) -> list["Metric"]:
    from mlflow.entities import Metric

    return [
        Metric(name, value, record.time_ms, record.step)
        for record in records
        for name, value in record.metrics.items()
    ]


def list_open_runs(store: Store) -> list["Run"]:
    """All runs of ours that the tracker says are going on, whoever made them."""
    return [
        run
        for status in OPEN
        for run in find_runs(store, {}, status=status)
        if FINGERPRINT in run.data.tags
    ]
