"""How far work is: whoever works calls `Progress`, and a line on the terminal shows it."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it so far, and how much in all."""
NOTICE_SECONDS = 15.0


@contextmanager
def open_notice(text: str) -> Iterator[None]:
    """Print a line now and then, with the seconds, while a block waits for somebody else."""
    begun, is_over = time.monotonic(), threading.Event()

    def speak() -> None:
        while not is_over.wait(NOTICE_SECONDS):
            print(f"{text} ({time.monotonic() - begun:.0f} s)", file=sys.stderr, flush=True)

    threading.Thread(target=speak, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


class ProgressLine:
    """Callable (label, done, total) that tells the user how far a stage is."""

    def __init__(self, name: str, *, silent: bool = False) -> None:
        self._name = name
        self._silent = silent
        self._terminal = sys.stderr.isatty()
        self._every = 0.2 if self._terminal else 5.0
        self._start = time.monotonic()
        self._last = float("-inf")
        self._open = False
        self._held = ""

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show it, unless the last line is too young; the very last is shown by `close`."""
        now = time.monotonic()
        share = f"{done}/{total}" if total else f"{done}"
        self._held = f"[{self._name}] {label} {share} ({now - self._start:.0f} s)"
        if now - self._last >= self._every:
            self._last = now
            self._show()

    def _show(self) -> None:
        line, self._held = self._held, ""
        if not self._silent:
            start, end = ("\r\x1b[2K", "") if self._terminal else ("", "\n")
            _print(f"{start}{line}", end=end)
            self._open = self._terminal

    def say(self, text: str) -> None:
        """Print a line of its own."""
        self.close()
        _print(f"[{self._name}] {text}")

    def close(self) -> None:
        """Show what was held back and end the rewritten line."""
        if self._held:
            self._show()
        if self._open:
            _print("")
            self._open = False


def _print(text: str, *, end: str = "\n") -> None:
    """Print on stderr; a log on a full disk does not end the work, a reader that left does."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass
