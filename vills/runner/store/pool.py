"""Processes for work that may be cut off at any moment: shielded, and gone with their owner."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, ParamSpec, TypeVar

from vills.runner.store.interrupt import shielded

_METHOD = "spawn"
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class ShieldedPool(ProcessPoolExecutor):
    """A pool of spawned processes that do not hear the scheduler's signals."""

    def submit(
        self,
        fn: Callable[_Arguments, _Result],
        /,
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> "Future[_Result]":
        """Hand out work; this is also where a pool starts its processes, one by one."""
        with shielded(_METHOD):
            return super().submit(fn, *args, **kwargs)


@contextmanager
def open_pool(
    workers: int, *, start: Callable[..., None], arguments: tuple[Any, ...] = ()
) -> Iterator[ShieldedPool]:
    """Open a pool that ends with its work, or at once after an error or kill -9 of this process.

    Work must leave nothing half-done that matters: its process may end in the middle of it.

    Args:
        workers: number of processes.
        start: called in every process before its first work, with `arguments`.
        arguments: pickled.
    """
    context = get_context(_METHOD)
    ends_with_us, alive = context.Pipe(duplex=False)
    with shielded(_METHOD):  # its locks start the resource tracker
        pool = ShieldedPool(
            workers,
            mp_context=context,
            initializer=_start_process,
            initargs=(ends_with_us, start, arguments),
        )
    try:
        yield pool
    except BaseException:
        # Waiting for what is in progress could outlast the scheduler's patience. The pool's own
        # way, SIGTERM, is blocked, so the processes are told by the end of this pipe.
        alive.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        alive.close()
        ends_with_us.close()


def _start_process(
    ends_with_owner: Connection, start: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    parent = parent_process()
    assert parent is not None, "only a child process is started this way"

    def follow() -> None:
        wait([ends_with_owner, parent.sentinel])
        os._exit(1)

    # A pool's processes outlive a killed parent and wait for work for ever.
    threading.Thread(target=follow, daemon=True).start()
    start(*arguments)
