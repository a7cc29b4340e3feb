"""Progress on stderr: one rewritten line on a terminal, a line every few seconds elsewhere."""

import sys
import time


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
        if self._silent:
            return
        if self._terminal:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(line, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a line of its own."""
        self.close()
        print(f"[{self._name}] {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Show what was held back and end the rewritten line."""
        if self._held:
            self._show()
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = False
