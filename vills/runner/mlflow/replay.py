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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from filelock import FileLock

from vills.runner.mlflow.settings import (
    LOCK_PATIENCE,
    TrackingSettings,
    describe_error,
    open_store,
)
from vills.runner.mlflow.tracked_run import (
    EXECUTION,
    FINGERPRINT,
    GENERATION,
    STAGE,
    TrackedRun,
    load_tracked_run,
)
from vills.runner.store.journal import JournalRecord

if TYPE_CHECKING:
    from mlflow.entities import Run as Run
    from mlflow.tracking import MlflowClient as MlflowClient

MAX_FOUND = 50_000
"""Runs that MLflow returns at once."""
MAX_DIGEST = 36
NUM_RECORDS = "vills.records"
"""Tag: how many committed journal records the tracker holds."""
COMPLETED = "vills.completed"
"""Tag: mark of the scores and artifacts that the tracker holds."""
SUPERSEDED = "vills.superseded"
"""Tag of a run that another has replaced, where only an admin may delete it."""
PARENT = "mlflow.parentRunId"
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
def sync_run(folder: Path, settings: TrackingSettings) -> SyncResult:
    """Bring MLflow up to date with `runs/<stage>/<fingerprint>`. Never raises."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing")  # the lock would make it
    with FileLock(folder / ".tracking.lock", timeout=LOCK_PATIENCE):
        tracked = load_tracked_run(folder)
        if tracked is None:
            return SyncResult(ok=False, reason=f"{folder} has no receipt yet")
        return sync_tracked_runs([tracked], settings)


@run_safely
def sync_tracked_runs(tracked_runs: Sequence[TrackedRun], settings: TrackingSettings) -> SyncResult:
    """Bring a run, and all others as its children, up to date. Never raises.

    The caller keeps others from doing so for the same runs at the same time.
    """
    parent, *points = tracked_runs
    client, experiment_id = open_store(settings)
    identity = " and ".join(f"tags.`{name}` = '{parent.tags[name]}'" for name in parent.identity)
    found = find_runs(client, experiment_id, identity)
    parent_id, num_points = _replay(client, experiment_id, parent, found)
    below = f"tags.`{PARENT}` = '{parent_id}'"
    children = find_runs(client, experiment_id, below) if points else []
    for point in points:
        child = _complete_point(point, parent_id=parent_id)
        own = {name: child.tags[name] for name in child.identity}
        found = [run for run in children if own.items() <= run.data.tags.items()]
        num_points += _replay(client, experiment_id, child, found)[1]
    return SyncResult(ok=True, run_id=parent_id, num_points=num_points)


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


def find_runs(client: "MlflowClient", experiment_id: str, wanted: str) -> list["Run"]:
    """All runs that MLflow finds, in an order that every caller sees alike."""
    found = client.search_runs([experiment_id], wanted, max_results=MAX_FOUND)
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def _get_run(
    client: "MlflowClient", experiment_id: str, tracked: TrackedRun, found: Sequence["Run"]
) -> "Run":
    """Return the run that shows it; it is made if there is none.

    `found` are runs with its identity. Those of other editions are deleted, and so is all
    but the first of two that hosts without a common lock made at once.
    """
    current = None
    for run in found:
        edition = run.data.tags.get(GENERATION, "")
        if SUPERSEDED in run.data.tags:
            continue
        if current is None and (edition in ("", tracked.edition) or not tracked.edition):
            current = run
        else:
            _remove(client, run)
    return current or client.create_run(
        experiment_id,
        start_time=tracked.created_ms,
        tags=dict(tracked.tags),
        run_name=tracked.name,
    )


def _remove(client: "MlflowClient", run: "Run") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.delete_run(run.info.run_id)
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
        # A server with users lets those who may write not delete.
        name = f"{run.info.run_name} (superseded)"
        client.update_run(run.info.run_id, status="KILLED", name=name)
        client.set_tag(run.info.run_id, SUPERSEDED, "true")


def _replay(
    client: "MlflowClient", experiment_id: str, tracked: TrackedRun, found: Sequence["Run"]
) -> tuple[str, int]:
    """Send what the tracker lacks of a run; its id, and the number of points that went out."""
    from mlflow.entities import Param, RunTag

    run = _get_run(client, experiment_id, tracked, found)
    run_id, held = run.info.run_id, run.data
    client.log_batch(
        run_id,
        params=[Param(k, v) for k, v in tracked.params.items() if k not in held.params],
        tags=[RunTag(k, v) for k, v in tracked.tags.items() if held.tags.get(k) != v],
    )
    _send_datasets(client, run, tracked)
    sent = int(held.tags.get(NUM_RECORDS, "0"))
    num_points = _send_records(client, run_id, tracked.records[sent:])
    if len(tracked.records) > sent:
        client.set_tag(run_id, NUM_RECORDS, str(len(tracked.records)))
    if tracked.completed and held.tags.get(COMPLETED) != tracked.completed:
        # A rebuilt run has the same scores at a later time: the tracker keeps the first.
        new = {name: v for name, v in tracked.scores.items() if held.metrics.get(name) != v}
        num_points += _send_records(client, run_id, [JournalRecord(tracked.finished_ms, 0, new)])
        for path, folder in tracked.artifacts:
            client.log_artifact(run_id, path, folder or None)
        client.set_tag(run_id, COMPLETED, tracked.completed)
    if tracked.status not in ("", run.info.status):
        if tracked.status == "RUNNING":
            client.update_run(run_id, status="RUNNING")
        else:
            ended = tracked.finished_ms if tracked.status == "FINISHED" else None
            client.set_terminated(run_id, tracked.status, ended)
    return run_id, num_points


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


def _send_records(client: "MlflowClient", run_id: str, records: Sequence[JournalRecord]) -> int:
    from mlflow.entities import Metric

    points = [
        Metric(name, value, record.time_ms, record.step)
        for record in records
        for name, value in record.metrics.items()
    ]
    client.log_batch(run_id, metrics=points)
    return len(points)


def list_open_runs(client: "MlflowClient", experiment_id: str) -> list["Run"]:
    """All runs of ours that the tracker says are going on, whoever made them."""
    return [
        run
        for status in OPEN
        for run in find_runs(client, experiment_id, f"attributes.status = '{status}'")
        if FINGERPRINT in run.data.tags
    ]
