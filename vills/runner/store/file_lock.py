"""A lock between processes that the kernel gives back when its holder dies."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


@contextmanager
def hold_file_lock(path: Path, *, patience: float) -> Iterator[None]:
    """Hold an exclusive lock on `path`.

    Args:
        path: A file of its own; it is created and stays.
        patience: Seconds to wait for another holder.

    Raises:
        TimeoutError: naming the file, when it is still held then.
    """
    end = time.monotonic() + patience
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(f"{path} is held by another process") from None
                time.sleep(POLL_SECONDS)
        yield
