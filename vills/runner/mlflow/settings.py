"""MLflow's own settings and words, and opening its store, for which it is imported: two seconds."""

import os
import re
import shlex
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from filelock import FileLock

from vills.config.checks import ConfigError
from vills.config.tracking import (
    TrackingSettings,
    check_database,
    check_network_database,
    check_server,
)
from vills.errors import UserError
from vills.io import build_file_uri, parse_sqlite_uri
from vills.secrets import render_public

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LIMITS = {
    # A slow server is waited for: no run is, as its curves are sent by a process beside it.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "300",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "300",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # What a laboratory computes is nobody else's business.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Environment of MLflow; the user's own values win."""
LOCK_PATIENCE = 60.0
REMEDY = "look after the tracker, or correct MLFLOW_TRACKING_URI; `vills track` sends what it lacks"
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
    (
        r"\b40[45]\b|redirects|JSONDecodeError|JSON format",
        "no MLflow is at this address: correct MLFLOW_TRACKING_URI",
    ),
    (
        r"\b(429|5\d\d)\b|timed out|timeout|Connection aborted|INTERNAL_ERROR",
        "look after the server, or wait until it has less to do; then `vills track`, which goes "
        "on where this ended",
    ),
)
"""What a tracker's words mean, and what to do."""
Store = tuple["MlflowClient", str]
"""An open store: its client, and the id of the experiment."""


def describe_error(error: Exception) -> str:
    """Return what a tracker said, in one line, with what can be done about it."""
    if isinstance(error, UserError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0]
    text = render_public(f"{type(error).__name__}: {first}")[:500]
    remedy = next((todo for words, todo in REMEDIES if re.search(words, text)), REMEDY)
    return f"{text}. What to do: {remedy}"


def open_store(settings: TrackingSettings) -> Store:
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
