"""Replay every run: after an outage, from a cluster without network, into a new store."""

from collections.abc import Iterator
from pathlib import Path

from vills.tracking.mlflow_sync import SyncResult, sync_run
from vills.tracking.settings import TrackingSettings


def sync_all(root: Path, settings: TrackingSettings) -> Iterator[tuple[Path, SyncResult]]:
    """Replay each run under the `runs` folder `root`, and say how each went."""
    for receipt in sorted(root.glob("*/*/receipt.json")):
        yield receipt.parent, sync_run(receipt.parent, settings)
