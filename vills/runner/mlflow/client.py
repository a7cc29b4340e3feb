"""MLflow's store: its experiment, and finding, making and ending runs in it.

A fresh SQLite store breaks when eight processes make its tables, so that is done under a lock on
the database. Runs are found by their tags, and each is made once.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vills.runner.mlflow.entry import FINGERPRINT, GENERATION, Entry
from vills.runner.mlflow.settings import (
    LIMITS,
    TrackingSettings,
    get_database_path,
    refuse_network_database,
    refuse_silent_server,
)
from vills.runner.store.lock import open_file_lock

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


LOCK_PATIENCE = 60.0
PAGE = 1000
SUPERSEDED = "vills.superseded"
"""Tag of a run that another has replaced, where only an admin may delete it."""
OPEN = ("RUNNING", "SCHEDULED")


@contextmanager
def open_store(settings: TrackingSettings) -> Iterator[tuple["MlflowClient", str]]:
    """Open the store and its experiment; alone, as long as the database may be without tables.

    Raises:
        OSError: if a database lies where its locks do not hold, or nobody listens at a server.
    """
    database = get_database_path(settings.uri)
    if database is None:
        refuse_silent_server(settings.uri)
        client = _build_client(settings.uri)
        yield client, _get_experiment(client, settings.experiment, None)
        return
    refuse_network_database(settings.uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = database.with_name(f"{database.name}.lock")
    with open_file_lock(lock, patience=LOCK_PATIENCE):
        client = _build_client(settings.uri)
        location = (database.parent / "mlartifacts").as_uri()
        yield client, _get_experiment(client, settings.experiment, location)


def search_runs(
    client: "MlflowClient", experiment_id: str, tags: Mapping[str, str], *, also: str = ""
) -> list["Run"]:
    """All runs with these tags, in an order that every caller sees alike."""
    clauses = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
    wanted = " and ".join([*clauses, *([also] if also else [])])
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], wanted, max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def get_run(
    client: "MlflowClient", entry: Entry, *, experiment_id: str, found: Sequence["Run"]
) -> "Run":
    """Return the run that shows an entry, made if need be.

    Args:
        client: Of the store.
        entry: What is to be shown.
        experiment_id: Where it is made.
        found: Runs with the entry's identity. Those of other editions are deleted, and so is all
            but the first of two that hosts without a common lock made at once.
    """
    current = None
    for run in found:
        edition = run.data.tags.get(GENERATION, "")
        if SUPERSEDED in run.data.tags:
            continue
        if current is None and (edition in ("", entry.edition) or not entry.edition):
            current = run
        else:
            _remove(client, run)
    if current is not None:
        return current
    return client.create_run(
        experiment_id,
        start_time=entry.created_ms,
        tags=dict(entry.tags),
        run_name=entry.name,
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


@dataclass(frozen=True)
class OpenRun:
    """One of them."""

    run_id: str
    name: str
    status: str
    """RUNNING or SCHEDULED."""
    tags: Mapping[str, str]


def list_open_runs(settings: TrackingSettings) -> list[OpenRun]:
    """All open runs of ours, whoever made them.

    Raises:
        Exception: whatever the tracker raises.
    """
    with open_store(settings) as (client, experiment_id):
        pass
    return [
        OpenRun(run.info.run_id, str(run.info.run_name), status, run.data.tags)
        for status in OPEN
        for run in search_runs(client, experiment_id, {}, also=f"attributes.status = '{status}'")
        if FINGERPRINT in run.data.tags
    ]


def end_open_run(settings: TrackingSettings, run_id: str, *, status: str) -> None:
    """End one that nothing here will bring up to date any more.

    Raises:
        Exception: whatever the tracker raises.
    """
    with open_store(settings) as (client, _):
        pass
    client.set_terminated(run_id, status)
