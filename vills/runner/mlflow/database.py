"""What can be seen of a store without importing MLflow, which takes two seconds."""

import socket
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit
from urllib.request import getproxies

from vills.runner.mlflow.settings import find_network_file_system, get_database_path

CONNECT_SECONDS = 5.0
PORTS = {"http": 80, "https": 443}


def holds_run(uri: str, run_id: str) -> bool:
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


def refuse_network_database(uri: str) -> None:
    """Refuse a SQLite store on a network file system: jobs on several nodes would corrupt it.

    Raises:
        OSError: saying what to use in its place.
    """
    database = get_database_path(uri)
    kind = find_network_file_system(database) if database is not None else None
    if kind is not None:
        raise OSError(
            f"MLFLOW_TRACKING_URI = {uri} lies on {kind}, where SQLite's locks do not hold. "
            "Allowed: a server (http://HOST:PORT; docs/tracking.md says how to start one), or a "
            "database on a local disk. What to do: set MLFLOW_TRACKING_URI to one of them, or "
            "VILLS_TRACKING=off; the journals keep every point, and `vills track` sends them later."
        )


def refuse_silent_server(uri: str) -> None:
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
