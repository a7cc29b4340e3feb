"""Files: atomic writes (a reader sees the old file or the new one), JSON, SHA-256, addresses."""

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import quote, unquote

from vills.errors import InputError, UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
CONTENT_DIGEST = "content_sha256"
"""Key under which a JSON file of ours holds the digest of all else in it."""
LIMITS = (*NO_SPACE, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
"""Why a file cannot be written, besides those of the machine: files, processes, memory."""
_MACHINE = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where torch's processes hand over what they read
_AWAY = (errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN)
_PROBE_BYTES = 1 << 20
_CODE = re.compile(r"\[errno (\d+)\]|\(os error (\d+)\)", re.IGNORECASE)
_WORDS = {os.strerror(n): n for n in (*LIMITS, *_MACHINE)} | {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
    "unable to open database file": errno.EACCES,
    "disk I/O error": errno.EIO,
    "can't start new thread": errno.EAGAIN,
    "can't allocate memory": errno.ENOMEM,
    "std::bad_alloc": errno.ENOMEM,
    "failed to map segment from shared object": errno.ENOMEM,
    "items of ancdata": errno.EMFILE,
}
"""How SQLite, Python and C++ say what the operating system refused."""


class DiskFullError(UserError, OSError):
    """There is no space left; nothing that was already written is lost."""

    def __str__(self) -> str:
        """Return its words, without a number before them."""
        return str(self.strerror)


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


@contextmanager
def open_writing(path: Path, *, temporary: Path | None = None) -> Iterator[None]:
    """Let a block write a file, or below a folder, with whichever library.

    Args:
        path: the file or folder, by the name that people know.
        temporary: what is written in its place, and renamed when it is whole.

    Raises:
        DiskFullError: when the disk (or the quota) is full.
        OSError: with number and path, when the system refuses anything else.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        found = find_refusal(error)
        if found is None or found.filename is None:
            # words alone do not say that it was below this folder
            found = _probe(path, temporary) or (found if temporary or found is error else None)
        if found is None:
            raise
        where = found.filename2 or found.filename
        hidden = temporary is not None and str(where).startswith(str(temporary))
        if hidden or (where is None and found.errno in LIMITS):
            where = str(path)
        if found.errno in NO_SPACE:
            raise describe_full_disk(Path(os.fsdecode(where))) from error
        if found is error and where in (found.filename, found.filename2):
            raise
        raise OSError(found.errno, os.strerror(found.errno or 0), where) from error


def find_refusal(error: BaseException) -> OSError | None:
    """Find what the operating system refused behind an error of a library; None: nothing.

    Libraries keep its number, or its words, in their own error or in the cause of it.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error
    cause: BaseException | None = error
    while cause is not None:
        code = _CODE.search(str(cause))
        number = getattr(cause, "errno", None) or (int(code[1] or code[2]) if code else None)
        number = number or next((n for words, n in _WORDS.items() if words in str(cause)), None)
        if number in (*LIMITS, *_MACHINE):
            place = SHARED_MEMORY if "shared memory" in str(cause) else None
            return OSError(number, os.strerror(number), getattr(cause, "filename", place))
        cause = cause.__cause__
    return None


def check_machine(error: Exception) -> None:
    """Raise what the machine lacks; a file is not damaged because memory or descriptors ran out.

    For whoever takes any other error for damage, and goes on without the file.
    """
    lacks_memory = isinstance(error, MemoryError) and not hasattr(error, "errno")  # FFmpeg's has
    if lacks_memory or getattr(error, "errno", None) in _AWAY:
        raise error


def _probe(path: Path, temporary: Path | None) -> OSError | None:
    """Write on, since the system knows best why it did not work; what it says, None: it works.

    torch, for one, says no more than that a position is not what it should be.
    """
    try:
        goes_on = temporary is not None and temporary.is_file()
        folder = path if path.is_dir() else path.parent
        with temporary.open("ab") if temporary and goes_on else TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return OSError(error.errno, error.strerror) if error.errno in LIMITS else None
    return None


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
    try:
        check_regular(path)
        value = json.loads(path.read_text(encoding="utf-8"))
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
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file. What to do: move it away.")


def compute_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hex; the file is read in pieces."""
    with path.open("rb") as file:
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
    """Return the folder of all runs: VILLS_RUNS, or runs/ of the project."""
    return Path(os.environ.get("VILLS_RUNS") or project / "runs")


def find_weights(name: str, folder: Path | None) -> Path | None:
    """Return the weights file `name` below `folder` (VILLS_WEIGHTS); None if none is there."""
    path = Path(name)
    # a path elsewhere would put this machine into params.yaml
    if folder is None or path.is_absolute() or ".." in path.parts:
        return None
    return folder / path if (folder / path).is_file() else None


def list_paths(folder: Path, pattern: str) -> list[Path]:
    """List what lies below a folder by a pattern such as `*/report.json`, sorted.

    `Path.glob` passes over a folder that may not be read, as if nothing were in it.

    Raises:
        PermissionError: naming that folder.
    """
    found = [folder]
    for part in pattern.split("/"):
        found = [p for path in found for p in _list_folder(path) if fnmatchcase(p.name, part)]
    return sorted(found)


def _list_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_full_disk(path: Path) -> DiskFullError:
    """Say which disk is full, how full, and that a rerun goes on from here."""
    parent = next(folder for folder in (path, *path.parents) if folder.is_dir())
    status = os.statvfs(parent)
    free = f"{status.f_bavail * status.f_frsize / 1e6:.1f} MB are free on its disk"
    if status.f_files and not status.f_favail:
        free = "its disk has no inode left for another file (`df -i`)"
    return DiskFullError(
        errno.ENOSPC,
        f"No space left for {path}: {free} (or the quota is used up). "
        "What to do: free space and give the same command again; it continues from there.",
    )
