"""Where curves go (environment variables only, never params.yaml), and opening that store.

MLflow, which takes two seconds to import, is not before a store is opened.
"""

import os
import re
import shlex
import socket
import sqlite3
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from filelock import FileLock

from vills.config.checks import ConfigError
from vills.config.environment import read_switch
from vills.errors import UserError
from vills.io import build_file_uri, build_sqlite_uri, parse_sqlite_uri
from vills.mounts import find_network_file_system
from vills.secrets import check_address, render_public

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "vills"
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
CONNECT_SECONDS, WRITE_SECONDS, LOCK_PATIENCE = 5.0, 10.0, 60.0
REMEDIES = (
    (
        r"database schema|Can't locate revision",
        "another version of MLflow made this database: install that version, or, if it is the "
        "older one, copy the database and run `mlflow db upgrade` on it",
    ),
    (
        r"\b40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED|Unauthorized",
        "the server wants another user: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "~/.mlflow/credentials (docs/tracking.md)",
    ),
    (r"no server at|ConnectionError", "start the server, or correct MLFLOW_TRACKING_URI"),
    (r"\b404\b|JSONDecodeError", "no MLflow is at this address: correct MLFLOW_TRACKING_URI"),
)
"""What a tracker's words mean, and what to do."""
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """Where to send what the journals hold."""

    uri: str = field(repr=False)
    """MLflow tracking URI; it may hold a password."""
    experiment: str = EXPERIMENT
    """Name of the MLflow experiment."""

    @property
    def public(self) -> dict[str, str]:
        """What may be printed and kept: `uri` without a password, `experiment`."""
        return {"uri": render_public(self.uri), "experiment": self.experiment}


def load_tracking_settings(checkout: Path) -> TrackingSettings | None:
    """Read MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME; None with VILLS_TRACKING=off.

    Without them a database beside the checkout's params.yaml is used, `mlflow.db`.

    Raises:
        InputError: when VILLS_TRACKING is neither on nor off, or the address is none.
    """
    if not read_switch("VILLS_TRACKING", default=True):
        return None
    uri = os.environ.get("MLFLOW_TRACKING_URI") or build_sqlite_uri(
        checkout.resolve() / "mlflow.db"
    )
    check_address("MLFLOW_TRACKING_URI", uri)
    return TrackingSettings(uri, os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)


def has_run(uri: str, run_id: str) -> bool:
    """Whether a database holds a run; it may have been removed and made anew.

    A server is believed.
    """
    database = parse_sqlite_uri(uri)
    if database is None:
        return True
    query = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
    try:
        address = f"{build_file_uri(database)}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return connection.execute(query, (run_id,)).fetchone() is not None
    except sqlite3.Error:
        return False


def check_network_database(uri: str) -> None:
    """Refuse a SQLite store on a network file system: jobs on several nodes would corrupt it.

    Raises:
        ConfigError: saying what to use in its place.
    """
    database = parse_sqlite_uri(uri)
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


def check_database(path: Path) -> None:
    """Refuse a database that is locked, damaged or none, which MLflow would try for minutes.

    Raises:
        ConfigError: naming it.
    """
    try:
        with closing(sqlite3.connect(path, timeout=WRITE_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        raise ConfigError(
            f"the tracker's database {path} cannot be used ({error}). Allowed: one of MLflow "
            "that can be written to. What to do: end the process that holds it if it is locked "
            "(`fuser` names it); else move it away: `vills track` makes it anew from the journals."
        ) from error


def describe_error(error: Exception) -> str:
    """Return what a tracker said, in one line, with what can be done about it."""
    if isinstance(error, UserError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0]
    text = render_public(f"{type(error).__name__}: {first}")[:500]
    remedy = next((todo for words, todo in REMEDIES if re.search(words, text)), "")
    return f"{text}. What to do: {remedy}" if remedy else text


def open_store(settings: TrackingSettings) -> tuple["MlflowClient", str]:
    """Open the store, and make its experiment.

    A fresh SQLite store breaks when eight processes make its tables, so that is done under a lock.

    Raises:
        ConfigError: if a database lies where its locks do not hold, or cannot be used; if the
            experiment was deleted.
        OSError: if nobody listens at a server.
    """
    # MLflow reads these when it is imported or at each call, so they are set before either.
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)
    database, location = parse_sqlite_uri(settings.uri), None
    lock: AbstractContextManager[object] = nullcontext()
    if database is None:
        check_server(settings.uri)
    else:
        check_network_database(settings.uri)
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(database.with_name(f"{database.name}.lock"), timeout=LOCK_PATIENCE)
        location = build_file_uri(database.parent / "mlartifacts")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    with lock:
        if database is not None and location is not None:
            is_new = not database.exists() or not database.stat().st_size
            check_database(database)
            if is_new:
                from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

                # by itself MLflow writes its default experiment's folder into SQL, quotes and all
                SqlAlchemyStore(settings.uri, location)  # type: ignore[no-untyped-call]
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
        if found.lifecycle_stage == "deleted":
            command = f"mlflow experiments restore --experiment-id {found.experiment_id}"
            address = shlex.quote(settings.public["uri"])
            raise ConfigError(
                f"MLflow's experiment {settings.experiment!r} was deleted, and takes no runs. "
                f"What to do: restore it (`MLFLOW_TRACKING_URI={address} {command}`), or set "
                "MLFLOW_EXPERIMENT_NAME to another; then `vills track`."
            )
        return client, found.experiment_id
