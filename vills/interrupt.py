"""A polite stop: the scheduler's signal becomes a flag that a loop reads, or ends a stage at once.

SLURM sends SIGUSR2 before a time limit (`--signal=USR2@300`) and, with `preempt_send_user_signal`,
before a preemption: stop, you may be queued again. SIGTERM comes at the end itself and when a job
is cancelled: whoever sends it alone decides what happens next.

Children are shielded from them: SLURM signals every process of a step. A forked child inherits
handlers that are not meant for it, a spawned one dies by default, and torch gives its loader
processes a SIGTERM handler of their own. A BLOCKED signal reaches nobody: a mask survives fork and
exec, and no handler that is installed later can undo it. `open_pool` has processes for work that
may be cut off at any moment: shielded, and gone with their owner.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from vills.errors import LostProcessError, UserError

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""What SLURM sends, and what submitit chose."""
REQUEUE_SIGNAL = signal.SIGUSR2
"""Who sends it lets the run be queued again."""
_METHOD = "spawn"
_failures: list[Exception] = []
"""Why this process of a pool could not begin; the pool itself would tell nobody but stderr."""
_Result = TypeVar("_Result")


class InterruptedRunError(UserError, RuntimeError):
    """The run stopped on request after a checkpoint; the same command continues it.

    `exit_status` is EX_TEMPFAIL, so that a caller can tell it from a failure.
    """

    exit_status = 75

    def __init__(self, message: str, *, wants_requeue: bool = False) -> None:
        """Take what to tell, and whether SIGUSR2 was among the signals: queue the run again."""
        super().__init__(message)
        self.wants_requeue = wants_requeue


class InterruptFlag:
    """Context manager that catches SIGNALS while inside; `is_set` once one has arrived.

    For a loop with step boundaries. Inside `open_interruption` it takes over, and gives back.
    """

    def __init__(self) -> None:
        """Start lowered."""
        self.signals: set[int] = set()
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def is_set(self) -> bool:
        """Whether any signal has arrived."""
        return bool(self.signals)

    @property
    def wants_requeue(self) -> bool:
        """Whether one of them says that the run may be queued again."""
        return REQUEUE_SIGNAL in self.signals

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Be the handler of SIGNALS."""
        self.signals.add(number)

    def __enter__(self) -> Self:
        # Python delivers signals to the main thread only; elsewhere there is nothing to catch.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore(error)

    def restore(self, error: BaseException | None, *, ignore: bool = False) -> None:
        """Give the signals back; a block around this one hears of a request that ended this."""
        for number, previous in self._previous.items():
            if isinstance(previous, InterruptFlag) and isinstance(error, InterruptedRunError):
                previous.signals |= self.signals
            signal.signal(number, signal.SIG_IGN if ignore else previous)


class _StopNow(BaseException):
    """Not an Exception on its way out: no library's `except Exception` may swallow it."""


class _Interruption(InterruptFlag):
    """Raises at the first signal, until it has ended."""

    ended = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first = not self.signals
        self.signals.add(number)
        if first and not self.ended:
            raise _StopNow


@contextmanager
def open_interruption(*, ends_process: bool = False) -> Iterator[None]:
    """Turn the first of SIGNALS into InterruptedRunError; later ones are noted and ignored.

    For work that may end at any moment. Nested, the inner one raises and tells the outer one, which
    then ignores what comes while its own block ends: wrap the stage, and what cleans up after it.

    Args:
        ends_process: this process ends with the error: signals stay ignored after the block, so
            that a SIGTERM that follows cannot change the exit status.

    Raises:
        InterruptedRunError: when a signal came.
    """
    flag = _Interruption()
    error: BaseException | None = None
    try:
        flag.__enter__()
        yield
    except _StopNow:
        error = InterruptedRunError(
            "stopped on request; finished work is kept. What to do: give the same command "
            "again to continue.",
            # SLURM may send the two in either order, so all that came meanwhile count.
            wants_requeue=flag.wants_requeue,
        )
        raise error from None
    except BaseException as other:
        error = other
        raise
    finally:
        flag.ended = True  # the first thing in here: nothing is left to be stopped
        flag.restore(error, ignore=ends_process and isinstance(error, InterruptedRunError))


@contextmanager
def open_shield(method: str) -> Iterator[None]:
    """Make children that this thread starts inside block SIGNALS for good.

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


class ShieldedPool(ProcessPoolExecutor):
    """A pool of spawned processes that do not hear the scheduler's signals."""

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> "Future[_Result]":
        """Hand out work; this is also where a pool starts its processes, one by one."""
        with open_shield(_METHOD):
            return super().submit(_work, fn, *args, **kwargs)


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

    Raises:
        LostProcessError: if one of the processes was killed.
    """
    context = get_context(_METHOD)
    ends_with_us, alive = context.Pipe(duplex=False)
    with open_shield(_METHOD):  # its locks start the resource tracker
        pool = ShieldedPool(
            workers,
            mp_context=context,
            initializer=_start_process,
            initargs=(ends_with_us, start, arguments),
        )
    try:
        yield pool
    except BaseException as error:
        # Waiting for what is in progress could outlast the scheduler's patience. The pool's own
        # way, SIGTERM, is blocked, so the processes are told by the end of this pipe.
        alive.close()
        if isinstance(error, BrokenProcessPool):
            raise LostProcessError("a process that shares this work was killed") from error
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
    try:
        start(*arguments)
    except Exception as error:  # noqa: BLE001 - raised again where its owner hears of it
        _failures.append(error)


def _work(fn: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
    """Do a piece of work; in a process that could not begin, say why."""
    if _failures:
        raise _failures[0]
    return fn(*args, **kwargs)
