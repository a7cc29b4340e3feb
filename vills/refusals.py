"""What the operating system refuses: full, read-only and foreign disks, too little of the machine.

Libraries hide it in errors of their own; here it is found, and said with its path.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryFile

from vills.errors import UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
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
