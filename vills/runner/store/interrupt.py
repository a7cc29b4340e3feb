"""A polite stop: the scheduler's signal becomes a flag that a loop reads, or ends a stage at once.

SLURM sends SIGUSR2 before a time limit (`--signal=USR2@300`) and, with `preempt_send_user_signal`,
before a preemption: stop, you may be queued again. SIGTERM comes at the end itself and when a job
is cancelled: whoever sends it alone decides what happens next.

Children are shielded from them: SLURM signals every process of a step. A forked child inherits
handlers that are not meant for it, a spawned one dies by default, and torch gives its loader
processes a SIGTERM handler of their own. A BLOCKED signal reaches nobody: a mask survives fork and
exec, and no handler that is installed later can undo it.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType, TracebackType
from typing import Self

from vills.errors import UserError

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""What SLURM sends, and what submitit chose."""
REQUEUE_SIGNAL = signal.SIGUSR2
"""Who sends it lets the run be queued again."""
_Handler = Callable[[int, FrameType | None], None]


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

    For a loop with step boundaries. Inside `interrupt_at_once` it takes over, and gives back.
    """

    def __init__(self) -> None:
        """Start lowered."""
        self._arrived: set[int] = set()
        self._handlers = _Handlers(self._raise_flag, arrived=self._arrived)

    @property
    def is_set(self) -> bool:
        """Whether any signal has arrived."""
        return bool(self._arrived)

    @property
    def signals(self) -> frozenset[int]:
        """Those that have arrived."""
        return frozenset(self._arrived)

    @property
    def wants_requeue(self) -> bool:
        """Whether one of them says that the run may be queued again."""
        return REQUEUE_SIGNAL in self._arrived

    def __enter__(self) -> Self:
        self._handlers.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handlers.restore(error)

    def _raise_flag(self, number: int, _frame: FrameType | None) -> None:
        self._arrived.add(number)


@contextmanager
def interrupt_at_once(*, ends_process: bool = False) -> Iterator[None]:
    """Turn the first of SIGNALS into InterruptedRunError; later ones are noted and ignored.

    For work that may end at any moment. Nested, the inner one raises and tells the outer one, which
    then ignores what comes while its own block ends: wrap the stage, and what cleans up after it.

    Args:
        ends_process: this process ends with the error: signals stay ignored after the block, so
            that a SIGTERM that follows cannot change the exit status.

    Raises:
        InterruptedRunError: when a signal came.
    """
    arrived: set[int] = set()
    ended = False

    def stop(number: int, _frame: FrameType | None) -> None:
        first = not arrived
        arrived.add(number)
        if first and not ended:
            raise _StopNow

    handlers = _Handlers(stop, arrived=arrived)
    error: BaseException | None = None
    try:
        handlers.install()
        yield
    except _StopNow:
        error = InterruptedRunError(
            "stopped on request; what was finished is kept. What to do: give the same command "
            "again to continue.",
            # SLURM may send the two in either order, so all that came meanwhile count.
            wants_requeue=REQUEUE_SIGNAL in arrived,
        )
        raise error from None
    except BaseException as other:
        error = other
        raise
    finally:
        ended = True  # the first thing in here: nothing is left to be stopped
        handlers.restore(error, ignore=ends_process and isinstance(error, InterruptedRunError))


class _StopNow(BaseException):
    """Not an Exception on its way out: no library's `except Exception` may swallow it."""


class _Handlers:
    """A handler of SIGNALS, and those that it replaced."""

    def __init__(self, handler: _Handler, *, arrived: set[int]) -> None:
        """Take the handler and the set of signals that it keeps."""
        self._handler, self._arrived = handler, arrived
        self._previous: dict[signal.Signals, object] = {}

    def install(self) -> None:
        """Catch from here on."""
        # Python delivers signals to the main thread only; elsewhere there is nothing to catch.
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self)

    def restore(self, error: BaseException | None, *, ignore: bool = False) -> None:
        """Give the signals back; a block around this one hears of a request that ended this."""
        for number, previous in self._previous.items():
            if isinstance(previous, _Handlers) and isinstance(error, InterruptedRunError):
                previous._arrived |= self._arrived
            signal.signal(number, signal.SIG_IGN if ignore else previous)  # type: ignore[arg-type]

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Be a signal's handler."""
        self._handler(number, frame)


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
