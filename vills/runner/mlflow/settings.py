"""Where curves go (environment variables only, never params.yaml), and opening that store.

MLflow, which takes two seconds to import, is not before a store is opened.
"""

import os
import re
import socket
import sqlite3
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from filelock import FileLock

from vills.config.checks import ConfigError, check_choice

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

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
CONNECT_SECONDS, LOCK_PATIENCE = 5.0, 60.0
PORTS = {"http": 80, "https": 443}


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
        ConfigError: when VILLS_TRACKING is neither `on` nor `off`.
    """
    switch = os.environ.get("VILLS_TRACKING", "on")
    check_choice("VILLS_TRACKING", switch, ("on", "off"), "set it to one of them, or unset it")
    if switch == "off":
        return None
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{checkout.resolve() / 'mlflow.db'}"
    return TrackingSettings(uri, os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)


def get_database_path(uri: str) -> Path | None:
    """Path of a SQLite store; None for a server."""
    return Path(uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) else None


def find_network_file_system(path: Path) -> str | None:
    """Type of the network file system that `path` lies on, where SQLite's locks do not hold."""
    _, kind = find_mount(path)
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def find_mount(path: Path) -> tuple[str, str]:
    """Find point and type of what a path lies on; empty on a machine that says nothing of mounts.

    Of several at one point the last covers the others.
    """
    path, best = path.resolve(), ("", "")  # a link in /home often leads to the file server
    mounts = MOUNTS.read_text(errors="replace") if MOUNTS.exists() else ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2:
            point = OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[1])
            if path.is_relative_to(point) and len(point) >= len(best[0]):
                best = (point, fields[2])
    return best


def has_run(uri: str, run_id: str) -> bool:
    """Whether a database holds a run; it may have been removed and made anew.

    A server is believed.
    """
    database = get_database_path(uri)
    if database is None:
        return True
    query = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, (run_id,)).fetchone() is not None
    except sqlite3.Error:
        return False


def check_network_database(uri: str) -> None:
    """Refuse a SQLite store on a network file system: jobs on several nodes would corrupt it.

    Raises:
        ConfigError: saying what to use in its place.
    """
    database = get_database_path(uri)
    kind = find_network_file_system(database) if database is not None else None
    if kind is not None:
        raise ConfigError(
            f"MLFLOW_TRACKING_URI = {uri} is on {kind}, where SQLite's locks do not work. "
            "Allowed: a server (http://HOST:PORT; docs/tracking.md says how to start one), or a "
            "database on a local disk. What to do: set MLFLOW_TRACKING_URI to one of them, or "
            "VILLS_TRACKING=off; the journals keep every point, and `vills track` sends them later."
        )


def check_server(uri: str) -> None:
    """Refuse a server at whose port nobody listens, which MLflow would find out by and by.

    Raises:
        OSError: naming host and port.
    """
    parts = urlsplit(uri)
    if parts.scheme not in PORTS or parts.hostname is None or parts.scheme in getproxies():
        return  # a database elsewhere, or a way through a proxy
    address = (parts.hostname, parts.port or PORTS[parts.scheme])
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise OSError(f"no server at {address[0]}:{address[1]} ({error})") from error


def open_store(settings: TrackingSettings) -> tuple["MlflowClient", str]:
    """Open the store, and make its experiment.

    A fresh SQLite store breaks when eight processes make its tables, so that is done under a lock.

    Raises:
        ConfigError: if a database lies where its locks do not hold.
        OSError: if nobody listens at a server.
    """
    # MLflow reads these when it is imported or at each call, so they are set before either.
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)
    database, location = get_database_path(settings.uri), None
    lock: AbstractContextManager[object] = nullcontext()
    if database is None:
        check_server(settings.uri)
    else:
        check_network_database(settings.uri)
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(database.with_name(f"{database.name}.lock"), timeout=LOCK_PATIENCE)
        location = (database.parent / "mlartifacts").as_uri()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    with lock:
        client = MlflowClient(tracking_uri=settings.uri)
        found = client.get_experiment_by_name(settings.experiment)
        if found is None:
            try:
                return client, client.create_experiment(settings.experiment, location)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(settings.experiment)  # another was quicker
                assert found is not None
        return client, found.experiment_id
