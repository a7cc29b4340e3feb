"""Replay a run's folder into MLflow, as often as one likes, with the same outcome.

- A run is found by its tags. It is created once: under a lock on its folder, and under a lock on
  the database while that is initialised (a fresh SQLite store breaks when eight processes do).
- Only committed records are sent, with their own times. How many the tracker holds stands in a tag
  of the run, so nothing has to be remembered here; records that went out before a crash could note
  it go out again, and MLflow's SQL stores drop identical points.
- Records that were committed and then taken back after all make a new generation: a new MLflow
  run, and the old one is deleted.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.tracking.file_lock import hold_file_lock
from vills.tracking.journal import JournalRecord
from vills.tracking.provenance import (
    EXECUTION,
    FINGERPRINT,
    GENERATION,
    build_identity_tags,
    build_params,
    build_tags,
    clean_name,
)
from vills.tracking.run_record import RunRecord, load_run_record
from vills.tracking.settings import (
    LIMITS,
    TrackingSettings,
    find_network_file_system,
    get_database_path,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

NUM_RECORDS = "vills.records"
"""Tag: how many committed journal records the tracker holds."""
COMPLETED = "vills.completed"
"""Tag: the result whose scores and artifacts the tracker holds."""
MAX_METRICS, MAX_PARAMS = 1000, 100
MAX_DIGEST = 36
LOCK_PATIENCE = 60.0


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
        with hold_file_lock(folder / ".tracking.lock", patience=LOCK_PATIENCE):
            record = load_run_record(folder)
            if record is None:
                return SyncResult(ok=False, reason=f"{folder} has no receipt yet")
            return _replay(record, settings, committed_only=committed_only)
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, a run must not feel it
        first = (str(error).strip().splitlines() or [""])[0]
        return SyncResult(ok=False, reason=f"{type(error).__name__}: {first}"[:500])


def _replay(record: RunRecord, settings: TrackingSettings, *, committed_only: bool) -> SyncResult:
    with _open_store(settings) as (client, experiment_id):
        run = _get_run(client, record, experiment_id)
    run_id = run.info.run_id
    _send_description(client, run, record)
    records = record.journal.committed
    sent = int(run.data.tags.get(NUM_RECORDS, "0"))
    num_points = _send_records(client, run_id, records[sent:])
    if len(records) > sent:
        client.set_tag(run_id, NUM_RECORDS, str(len(records)))
    if record.result is not None or not committed_only:
        num_points += _send_records(client, run_id, record.journal.pending)
    if record.result is not None:
        num_points += _send_result(client, run, record)
    _send_status(client, run, record)
    return SyncResult(ok=True, run_id=run_id, num_points=num_points)


@contextmanager
def _open_store(settings: TrackingSettings) -> Iterator[tuple["MlflowClient", str]]:
    """Open the store and its experiment; alone, as long as the database may be without tables."""
    database = get_database_path(settings.uri)
    if database is None:
        client = _build_client(settings.uri)
        yield client, _get_experiment(client, settings.experiment, None)
        return
    kind = find_network_file_system(database)
    if kind is not None:
        raise OSError(
            f"{database} lies on {kind}, where SQLite's locks do not hold. What to do: set "
            f"MLFLOW_TRACKING_URI to a database on a local disk or to a server."
        )
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = database.with_name(f"{database.name}.lock")
    with hold_file_lock(lock, patience=LOCK_PATIENCE):
        client = _build_client(settings.uri)
        location = (database.parent / "mlartifacts").as_uri()
        yield client, _get_experiment(client, settings.experiment, location)


def _build_client(uri: str) -> "MlflowClient":
    # MLflow reads these when it is imported or at each call, so they are set before either.
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _get_experiment(client: "MlflowClient", name: str, location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another host was quicker
            assert found is not None
    return str(found.experiment_id)


def _get_run(client: "MlflowClient", record: RunRecord, experiment_id: str) -> "Run":
    own = build_identity_tags(record)
    wanted = " and ".join(f"tags.`{tag}` = '{own[tag]}'" for tag in (FINGERPRINT, EXECUTION))
    found = sorted(client.search_runs([experiment_id], wanted), key=lambda run: run.info.run_id)
    current = None
    for run in found:
        if run.data.tags.get(GENERATION) == own[GENERATION]:
            current = current or run
        elif int(run.data.tags.get(GENERATION, "0")) < int(own[GENERATION]):
            client.delete_run(run.info.run_id)
    if current is not None:
        return current
    return client.create_run(
        experiment_id, start_time=record.created_ms, tags=build_tags(record), run_name=record.name
    )


def _send_description(client: "MlflowClient", run: "Run", record: RunRecord) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    tags = {k: v for k, v in build_tags(record).items() if run.data.tags.get(k) != v}
    params = {k: v for k, v in build_params(record).items() if k not in run.data.params}
    entries = [Param(name, value) for name, value in params.items()]
    for start in range(0, max(len(entries), 1), MAX_PARAMS):
        client.log_batch(
            run.info.run_id,
            params=entries[start : start + MAX_PARAMS],
            tags=[RunTag(name, value) for name, value in tags.items()] if start == 0 else [],
        )
    known = {entry.dataset.name for entry in run.inputs.dataset_inputs} if run.inputs else set()
    datasets = [
        DatasetInput(
            Dataset(
                name,
                digest=entry["digest"][:MAX_DIGEST],
                source_type="local",
                source=json.dumps({"uri": entry["path"], "sha256": entry["digest"]}),
            ),
            [InputTag("mlflow.data.context", record.receipt["stage"])],
        )
        for name, entry in record.receipt["inputs"].items()
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


def _send_result(client: "MlflowClient", run: "Run", record: RunRecord) -> int:
    assert record.result is not None
    mark = str(record.result["finished_ms"])
    if run.data.tags.get(COMPLETED) == mark:
        return 0
    # A rebuilt run has the same scores at a later time: the tracker keeps the first.
    scores = {clean_name(name): float(value) for name, value in record.result["metrics"].items()}
    new = {name: value for name, value in scores.items() if run.data.metrics.get(name) != value}
    row = JournalRecord(int(mark), 0, new)
    num_points = _send_records(client, run.info.run_id, [row])
    for path in (record.folder / "receipt.json", record.folder / "result.json"):
        client.log_artifact(run.info.run_id, str(path), "run")
    for name in record.result["artifacts"]:
        folder = Path(name).parent.as_posix()
        path = record.folder / "out" / name
        client.log_artifact(run.info.run_id, str(path), None if folder == "." else folder)
    client.set_tag(run.info.run_id, COMPLETED, mark)
    return num_points


def _send_status(client: "MlflowClient", run: "Run", record: RunRecord) -> None:
    if run.info.status == record.status:
        return
    if record.status == "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
        return
    end: dict[str, Any] = {}
    if record.result is not None:
        end["end_time"] = int(record.result["finished_ms"])
    client.set_terminated(run.info.run_id, record.status, **end)
