"""Replay a run's folder into MLflow, as often as one likes, with the same outcome.

- A run is found by its tags. It is created once: under a lock on its folder.
- Records that were committed and then taken back after all make a new generation: a new MLflow
  run, and the old one is deleted.
"""

from dataclasses import dataclass
from pathlib import Path

from vills.runner.mlflow.entry import build_run_entry
from vills.runner.mlflow.replay import replay
from vills.runner.mlflow.run_record import RunRecord, load_run_record
from vills.runner.mlflow.settings import TrackingSettings
from vills.runner.mlflow.store import LOCK_PATIENCE, get_run, open_store, search_runs
from vills.runner.store.file_lock import hold_file_lock


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
            return _sync_record(record, settings, committed_only=committed_only)
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, a run must not feel it
        return SyncResult(ok=False, reason=describe_error(error))


def describe_error(error: Exception) -> str:
    """What a tracker said, in one line."""
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
