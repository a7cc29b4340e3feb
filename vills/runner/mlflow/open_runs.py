"""Runs of the store that say of themselves that they go on."""

from collections.abc import Mapping
from dataclasses import dataclass

from vills.runner.mlflow.provenance import FINGERPRINT
from vills.runner.mlflow.settings import TrackingSettings
from vills.runner.mlflow.store import open_store, search_runs

OPEN = ("RUNNING", "SCHEDULED")


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
