"""Where curves go: environment variables only, never params.yaml."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

EXPERIMENT = "vills"
NETWORK_FILE_SYSTEMS = (
    *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "9p", "ncpfs"),
    *("lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "panfs", "pvfs2", "wekafs", "orangefs"),
    *("glusterfs", "moosefs", "pfs", "quobyte", "vastfs", "daos", "fuse.sshfs"),
    *("fuse.ceph", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.lizardfs", "fuse.mfs", "fuse.dfuse"),
    *("fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs", "fuse.goofys", "fuse.quobyte"),
)
"""As /proc/mounts names them; 9p is how virtual machines see a folder of their host."""
SQLITE = "sqlite:///"
MOUNTS = Path("/proc/mounts")
OCTAL = re.compile(r"\\(\d{3})")
"""How /proc/mounts writes blanks."""

LIMITS = {
    # MLflow's own: 7 retries of 120 s each. A server that is down costs a run nothing here.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
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

    SQLite's locks do not hold there. Where it says nothing of mounts, none is seen.
    """
    path = path.resolve()  # a link in /home often leads to the file server
    if not MOUNTS.exists():
        return None
    best, kind = "", ""
    for line in MOUNTS.read_text().splitlines():
        _, point, name, *_ = line.split(" ")
        point = OCTAL.sub(lambda found: chr(int(found[1], 8)), point)
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, name
    return kind if kind in NETWORK_FILE_SYSTEMS else None
