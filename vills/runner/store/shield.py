"""Children that a scheduler's signals do not reach.

SLURM signals every process of a step. A forked child inherits handlers that are not meant for it, a
spawned one dies by default, and torch gives its loader processes a SIGTERM handler of their own. A
BLOCKED signal reaches nobody: a mask survives fork and exec, and no handler that is installed later
can undo it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from vills.runner.store.interrupt import SIGNALS


@contextmanager
def shielded(method: str) -> Iterator[None]:
    """Children that this thread starts inside block SIGNALS for good.

    What arrives here meanwhile waits, and is delivered at the end.

    Args:
        method: how they are started, fork or spawn.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        if method == "spawn":
            # A helper process that the first spawned child would start; SIGUSR2 would kill it.
            resource_tracker.ensure_running()
            # Starting it unblocks SIGTERM, whatever the mask was before (CPython up to 3.12).
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
