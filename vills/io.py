"""Files: atomic writes (a reader sees the old file or the new one), JSON, SHA-256, addresses."""

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from vills.errors import InputError
from vills.inputs import check_input, open_input, read_input
from vills.refusals import open_writing

CONTENT_DIGEST = "content_sha256"
"""Key under which a JSON file of ours holds the digest of all else in it."""


@contextmanager
def open_atomic(path: Path) -> Iterator[Path]:
    """Yield a neighbour of `path` to write; it takes the name, durably, if the block succeeds.

    For files that one process writes: the neighbour has one name, so that the next try overwrites
    what a killed one left in an out.

    Raises:
        DiskFullError: when the disk (or the quota) is full; the old file is untouched.
    """
    with _replace(path, path.with_name(path.name + ".tmp")) as temporary:
        yield temporary


def save_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, durably, whoever else writes it at the same time.

    Raises:
        DiskFullError: when the disk (or the quota) is full; the old file is untouched.
    """
    # The name holds no pid: pids repeat between hosts that share a file system.
    with _replace(path, path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")) as temporary:
        temporary.write_bytes(data)


@contextmanager
def _replace(path: Path, temporary: Path) -> Iterator[Path]:
    """Make the parent, let `temporary` be written, fsync, rename, fsync the folder."""
    try:
        with open_writing(path, temporary=temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):  # a read-only disk refuses even that
            temporary.unlink(missing_ok=True)


def save_json(path: Path, value: Mapping[str, Any], *, sort: bool = True) -> None:
    """Write `value` as indented JSON; with sorted keys, unless their order says something."""
    text = json.dumps(value, indent=2, sort_keys=sort, ensure_ascii=False) + "\n"
    save_bytes(path, text.encode())


def save_own_json(path: Path, value: Mapping[str, Any], *, sort: bool = True) -> None:
    """Write `value` with a digest of itself: for files that nobody but us has to read."""
    plain = json.loads(json.dumps(value))  # as it will be read: with keys that are text
    save_json(path, {**plain, CONTENT_DIGEST: _compute_content_digest(plain)}, sort=sort)


def load_json(path: Path, *keys: str, remedy: str = "remove the file") -> dict[str, Any]:
    """Read a JSON object; one with a digest of itself is compared with it.

    Args:
        path: A regular file; what else may stand there could be read for ever.
        keys: What the object must have.
        remedy: What to do about a damaged file, and what is lost with it.

    Raises:
        InputError: naming the file, when it holds anything else.
    """
    check_regular(path)
    try:
        value = json.loads(read_input(path))
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        recorded = value.pop(CONTENT_DIGEST, None)
        if recorded not in (None, _compute_content_digest(value)):
            raise ValueError("its content is not what was written")
        if lacking := [key for key in keys if key not in value]:
            raise ValueError(f"without {', '.join(lacking)}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}). What to do: {remedy}.") from error
    return value


def find_json(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON object that can be done without: empty if it is missing or damaged."""
    try:
        return load_json(path, *keys)
    except (OSError, InputError):
        return {}


def _compute_content_digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_regular(path: Path) -> None:
    """Refuse folders, pipes and devices, which could be read for ever; nothing there is fine.

    Raises:
        InputError: naming the path.
    """
    try:
        check_input(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EISDIR):
            raise
        raise InputError(f"{path} is no regular file. What to do: move it away.") from error


def compute_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hex; the file is read in pieces."""
    with open_input(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_file_uri(path: Path) -> str:
    """Return the address of a file or folder, for whoever decodes what is quoted in it."""
    return path.absolute().as_uri()


def build_sqlite_uri(path: Path) -> str:
    """Return the address of a database as SQLAlchemy reads it: what is quoted, it decodes."""
    plain = str(path.absolute())
    quoted = quote(plain)
    # of sqlite:/// MLflow makes the folder before that is decoded: another one, outside the project
    return f"{'sqlite:///' if quoted == plain else 'sqlite+pysqlite:///'}{quoted}"


def parse_sqlite_uri(uri: str) -> Path | None:
    """Return the path in the address of a SQLite database; None: it is another address."""
    found = re.match(r"sqlite(?:\+pysqlite)?:///([^?]+)", uri)
    return Path(unquote(found[1])).absolute() if found else None


def get_runs_root(project: Path) -> Path:
    """Return the folder of all runs: VILLS_RUNS, or runs/ of the project; it may not exist yet.

    Raises:
        InputError: if something else has that name: it would look as if nothing had ever run.
    """
    own = os.environ.get("VILLS_RUNS")
    runs = Path(own or project / "runs")
    if os.path.lexists(runs) and not runs.is_dir():
        name = f"VILLS_RUNS = {own!r}" if own else str(runs)
        raise InputError(
            f"{name} is not a folder. Allowed: a folder, or a name that is free. What to do: "
            + ("export VILLS_RUNS=/path/to/it, or unset it." if own else "move it away.")
        )
    return runs


def find_weights(name: str, folder: Path | None) -> Path | None:
    """Return the weights file `name` below `folder` (VILLS_WEIGHTS); None if none is there."""
    path = Path(name)
    # a path elsewhere would put this machine into params.yaml
    if folder is None or path.is_absolute() or ".." in path.parts:
        return None
    return folder / path if (folder / path).is_file() else None


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
