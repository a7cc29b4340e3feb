"""Where curves go (environment variables only, never params.yaml), and whether that place is fit.

MLflow, which takes two seconds to import, is not: these are looks at a database's file or a port.
"""

import os
import socket
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from vills.config.checks import ConfigError
from vills.config.environment import read_switch
from vills.io import build_file_uri, build_sqlite_uri, parse_sqlite_uri
from vills.mounts import find_network_file_system
from vills.refusals import NO_SPACE, describe_full_disk, find_refusal
from vills.secrets import check_address, render_public

EXPERIMENT = "vills"
CONNECT_SECONDS, WRITE_SECONDS, LOOK_SECONDS = 5.0, 10.0, 0.2
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
    """Whether a database holds a run, deleted or not; it may have been removed and made anew.

    A server is believed.
    """
    database = parse_sqlite_uri(uri)
    if database is None:
        return True
    try:
        address = f"{build_file_uri(database)}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=LOOK_SECONDS)) as connection:
            query = "SELECT 1 FROM runs WHERE run_uuid = ?"
            return connection.execute(query, (run_id,)).fetchone() is not None
    except sqlite3.Error:
        return False


def is_at_hand(uri: str) -> bool:
    """Whether the store is a database, and nobody locks it: no server can keep one waiting."""
    database = parse_sqlite_uri(uri)
    if database is None or not database.exists():
        return database is not None
    try:
        with closing(sqlite3.connect(database, timeout=LOOK_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error:
        return False
    return True


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
        refusal = find_refusal(error)
        if refusal is not None and refusal.errno in NO_SPACE:
            raise describe_full_disk(path) from error
        raise ConfigError(
            f"the tracker's database {path} cannot be used ({error}). Allowed: one of MLflow "
            "that can be written to. What to do: end the process that holds it if it is locked "
            "(`fuser` names it); else move it away: `vills track` makes it anew from the journals."
        ) from error
