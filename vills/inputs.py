"""Files that others have made: only regular ones are opened, and no more is read than a limit.

A FIFO, a socket or a device would let a reader wait for ever, or never end; a file may grow while
it is read. What is refused is an OSError, so that a damaged file of many is counted as one.
"""

import errno
import io
import os
import stat
from pathlib import Path

MAX_BYTES = 2**29
"""Of a file that is read whole: a picture, a list, annotations."""
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_input(path: Path) -> io.BufferedReader:
    """Open a regular file, or what a link says is one.

    Raises:
        OSError: it cannot be opened, or is anything else (EINVAL).
    """
    # without waiting for the other end of a FIFO
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        check_input(path)  # of a socket, the system's words tell nothing
        raise
    try:
        _check_kind(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_input(path: Path) -> None:
    """Refuse what `open_input` refuses, before a library opens it by its name.

    Raises:
        OSError: as there.
    """
    _check_kind(path.stat(), path)


def read_input(path: Path, *, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file whole.

    Raises:
        OSError: as `open_input`; or it has more bytes than `limit` (EFBIG).
    """
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= limit else b""
        if len(data) > size:  # it grows, or is one of /proc, which say no size
            data += file.read(limit + 1 - len(data))
    if max(size, len(data)) > limit:
        text = f"too large: {max(size, len(data)):,} bytes; allowed: {limit:,}"
        raise OSError(errno.EFBIG, text, str(path))
    return data


def check_memory(size: int, path: Path) -> None:
    """Refuse what unpacks to more than this machine's memory: it would be killed without a word.

    Args:
        size: Bytes of it in memory, or less.
        path: The file.

    Raises:
        OSError: it does (EFBIG).
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        text = f"too large: {size:,} bytes once it is unpacked; this machine has {memory:,}"
        raise OSError(errno.EFBIG, text, str(path))


def _check_kind(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(path))
