"""One writer per run, across processes and hosts.

Attempts are numbered files, `attempts/000001.json`, `attempts/000002.json`, ... Whoever creates
number n + 1 first is the new writer; creating a name that must not exist (a hard link of a finished
file) is atomic on local disks and on NFS, so there is no moment at which two callers both believe
that they hold the run, and nothing ever has to be removed. The writer of the highest number is the
current one. It is gone when it said so (`000001.end.json`), when its process is gone (same boot,
same process namespace: seen at once, also after `kill -9`), or, seen from another host, when its
heartbeat, the file's mtime, is older than `stale_after` seconds. Times are compared on the file
server's clock, never between hosts.
"""

import errno
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vills.io import DiskFullError, load_json, save_json
from vills.runner.store.errors import HeldRunError, LostRunError
from vills.runner.store.machine import ProcessIdentity, load_process_identity

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 90.0
POLL_SECONDS = 0.5
SPEAK_SECONDS = 30.0
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class Claim:
    """How a process asks for a run."""

    stale_after: float = STALE_SECONDS
    """A writer on another host is given up after so many silent seconds."""
    patience: float | None = None
    """Seconds to wait for a living writer; None: as long as it takes."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Kept with the attempt: ranks, devices."""


PATIENT = Claim()
"""Waits for another writer as long as it takes, then collects."""


@dataclass(frozen=True, slots=True)
class AttemptGuard:
    """Says whether an attempt is still the current one; can be sent to other processes."""

    folder: Path
    """The run's `attempts` folder."""
    attempt: int
    """Its number."""

    def __call__(self) -> None:
        """Call before every commit.

        Raises:
            LostRunError: when a later attempt has taken the run over.
        """
        newest = get_last_attempt(self.folder)
        if newest != self.attempt:
            raise LostRunError(
                f"attempt {self.attempt} of {self.folder.parent} was taken over by attempt "
                f"{newest}; nothing more is written. What to do: end this process."
            )


class RunLock:
    """The right to write a run; see the module's text for how it is kept."""

    def __init__(self, folder: Path, *, stale_after: float = STALE_SECONDS) -> None:
        self.folder = folder
        self.attempt: int | None = None
        self._stale_after = stale_after
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(
        self,
        *,
        is_done: Callable[[], bool],
        notes: Mapping[str, Any],
        progress: Callable[[str], None],
        patience: float | None = None,
    ) -> int | None:
        """Become the writer, waiting for the present one; None when the run got done meanwhile.

        Args:
            is_done: Asked while waiting; a finished run needs no writer.
            notes: Kept in the attempt's file beside the process's identity.
            progress: Gets a line when waiting begins and every half minute.
            patience: Seconds to wait for a living writer; None: as long as it takes.

        Raises:
            HeldRunError: when the present writer still lives after `patience`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        begun, spoken = time.monotonic(), float("-inf")
        while not is_done():
            newest = get_last_attempt(self.folder)
            if newest == 0 or not self._is_held(newest):
                if self._claim(newest + 1, notes):
                    return self._start(newest + 1)
                continue
            if patience is not None and time.monotonic() - begun > patience:
                raise HeldRunError(
                    f"{self.folder.parent} is being written by {self._describe(newest)}; two "
                    "writers are never let in. What to do: wait for it, or end it; then give the "
                    "same command again."
                )
            if time.monotonic() - spoken > SPEAK_SECONDS:
                spoken = time.monotonic()
                progress(f"waits for {self._describe(newest)}")
            time.sleep(POLL_SECONDS)
        return None

    @property
    def guard(self) -> AttemptGuard:
        """The check that this attempt still is the current one."""
        assert self.attempt is not None
        return AttemptGuard(self.folder, self.attempt)

    def release(self, status: str, reason: str = "") -> None:
        """Give the run back.

        Args:
            status: `finished`, `failed` or `killed`.
            reason: The error's first line.

        Raises:
            DiskFullError: when there was no space for status and reason; the run is given back.
        """
        if self.attempt is None:
            return
        attempt, self.attempt = self.attempt, None
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        end = get_end_path(self.folder, attempt)
        try:
            save_json(end, {"status": status, "reason": reason, "time": time.time()})
        except DiskFullError:
            # Another name takes no space, and that the file exists is what matters.
            os.link(get_attempt_path(self.folder, attempt), end)
            raise

    def find_holder(self) -> int:
        """Return the number of the attempt that writes the run now; 0 if nobody does."""
        newest = get_last_attempt(self.folder)
        return newest if newest and self._is_held(newest) else 0

    def _start(self, attempt: int) -> int:
        self.attempt = attempt
        self._stop.clear()
        path = get_attempt_path(self.folder, attempt)
        self._thread = threading.Thread(
            target=_beat, args=(path, self._stop), name="run-heartbeat", daemon=True
        )
        self._thread.start()
        return attempt

    def _claim(self, attempt: int, notes: Mapping[str, Any]) -> bool:
        path = get_attempt_path(self.folder, attempt)
        temporary = self.folder / f".claim-{uuid.uuid4().hex}"
        save_json(temporary, {**notes, **asdict(load_process_identity()), "time": time.time()})
        try:
            os.link(temporary, path)
        except FileExistsError:
            # An NFS server may have done it and lost its answer: the link count knows.
            return temporary.stat().st_nlink == 2
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return _create(path, temporary.read_bytes())
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _is_held(self, attempt: int) -> bool:
        if get_end_path(self.folder, attempt).exists():
            return False
        identity = load_identity(self.folder, attempt)
        if identity is not None and identity.is_superseded():
            return False
        alive = identity.is_alive() if identity is not None else None
        if alive is not None:
            return alive
        return self._get_silence(attempt) < self._stale_after

    def _get_silence(self, attempt: int) -> float:
        """Seconds since the last heartbeat, both read off the file server's clock."""
        probe = self.folder / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        try:
            now = probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)
        return now - get_attempt_path(self.folder, attempt).stat().st_mtime

    def _describe(self, attempt: int) -> str:
        identity = load_identity(self.folder, attempt)
        who = "an unknown process"
        if identity is not None:
            job = f", SLURM job {identity.slurm_job}" if identity.slurm_job else ""
            who = f"process {identity.pid} on {identity.host}{job}"
        silence = max(0.0, self._get_silence(attempt))
        return f"attempt {attempt} by {who} (last sign of life {silence:.0f} s ago)"


def print_line(text: str) -> None:
    """Say something about a run on stderr."""
    print(text, file=sys.stderr, flush=True)


def get_attempt_path(folder: Path, attempt: int) -> Path:
    """Path of the file that IS the attempt."""
    return folder / f"{attempt:06d}.json"


def get_end_path(folder: Path, attempt: int) -> Path:
    """Path of the note with which an attempt ended by itself."""
    return folder / f"{attempt:06d}.end.json"


def get_last_attempt(folder: Path) -> int:
    """Highest attempt number; 0 before the first."""
    if not folder.is_dir():
        return 0
    names = (path.name for path in folder.iterdir())
    return max((int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdigit()), default=0)


def load_identity(folder: Path, attempt: int) -> ProcessIdentity | None:
    """Read who an attempt is; None for a file that is not (yet) readable."""
    try:
        value = load_json(get_attempt_path(folder, attempt))
        known = {name: value[name] for name in ProcessIdentity.__slots__ if name in value}
        return ProcessIdentity(**known)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _create(path: Path, data: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:
            # The run's folder may be away for a moment; the guard decides, not this thread.
            continue
