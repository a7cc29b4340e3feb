"""Where curves go: environment variables only, never params.yaml."""

import os
from dataclasses import dataclass
from pathlib import Path

EXPERIMENT = "vills"
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "lustre", "cifs", "smb3", "beegfs", "gpfs", "fuse.sshfs")
SQLITE = "sqlite:///"

LIMITS = {
    # MLflow's own: 7 retries of 120 s each. A server that is down costs a run nothing here.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # What a laboratory computes is nobody else's business.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Environment of MLflow; the user's own values win."""


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """Where to send what the journals hold."""

    uri: str
    """MLflow tracking URI."""
    experiment: str = EXPERIMENT
    """Name of the MLflow experiment."""


def load_tracking_settings(checkout: Path) -> TrackingSettings | None:
    """Read MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME; None with VILLS_TRACKING=off.

    Without them a database beside the checkout's params.yaml is used, `mlflow.db`.

    Raises:
        ValueError: when VILLS_TRACKING is neither `on` nor `off`.
    """
    switch = os.environ.get("VILLS_TRACKING", "on")
    if switch not in ("on", "off"):
        raise ValueError(
            f"VILLS_TRACKING = {switch!r} is not allowed. Allowed: on, off. "
            "What to do: set it to one of them, or unset it."
        )
    if switch == "off":
        return None
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{checkout.resolve() / 'mlflow.db'}"
    return TrackingSettings(uri, os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)


def get_database_path(uri: str) -> Path | None:
    """Path of a SQLite store; None for a server."""
    return Path(uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) else None


def find_network_file_system(path: Path) -> str | None:
    """Type of the network file system that `path` lies on; None on a local disk.

    SQLite's locks do not hold there.
    """
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return None
    best, kind = "", ""
    for line in mounts.read_text().splitlines():
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, name
    return kind if kind in NETWORK_FILE_SYSTEMS else None
