"""A polite stop: the scheduler's signal becomes a flag that the loop reads between steps."""

import signal
import threading
from types import FrameType
from typing import Self

from vills.errors import UserError

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""What SLURM sends before a time limit, and submitit's choice."""


class InterruptedRunError(UserError, RuntimeError):
    """The run stopped on request after a checkpoint; the same command continues it.

    `exit_status` is EX_TEMPFAIL, so that a caller can tell it from a failure.
    """

    exit_status = 75


class InterruptFlag:
    """Context manager that catches SIGNALS while inside; `is_set` once one has arrived."""

    def __init__(self) -> None:
        """Start lowered."""
        self.is_set = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        # Python delivers signals to the main thread only; elsewhere there is nothing to catch.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._raise_flag)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _raise_flag(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True
