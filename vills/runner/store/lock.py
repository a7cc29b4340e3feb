"""One writer per run, across processes and hosts; and whether those that come get anywhere.

Attempts are numbered files, `attempts/000001.json`, `attempts/000002.json`, ... Whoever creates
number n + 1 first is the new writer; creating a name that must not exist (a hard link of a finished
file) is atomic on local disks and on NFS, so there is no moment at which two callers both believe
that they hold the run, and nothing ever has to be removed. The writer of the highest number is the
current one. It is gone when it said so (`000001.end.json`), when its process is gone (same boot,
same process namespace: seen at once, also after `kill -9`), or, seen from another host, when its
heartbeat, the file's mtime, is older than STALE_SECONDS. Times are compared on the file server's
clock, never between hosts.

A job under a scheduler starts itself again after every time limit. One whose time limit is shorter
than the way to its next checkpoint would do so for ever, and leave nothing but a bill: an attempt
notes what the run's folder held when it began, and `refuse_stalled` compares.
"""

import errno
import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from vills.errors import RunError
from vills.io import find_json, save_own_json
from vills.parts import REDONE
from vills.refusals import DiskFullError
from vills.runner.store.machine import is_alive, load_process_identity

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 90.0
POLL_SECONDS = 0.5
SPEAK_SECONDS = 30.0
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
MARK = "progress"
"""Key of the mark among an attempt's notes."""
MAX_IDLE = 2
"""Attempts of one job in a row that may leave nothing new."""


class LostRunError(RunError):
    """Another attempt has taken the run over; this one must not write any more."""


class HeldRunError(RunError):
    """Another process writes the run, and this one was not to wait for it any longer."""

    exit_status = 75


class StalledRunError(RunError):
    """The scheduler starts a job again and again, and it gets nowhere."""


class RunLock:
    """The right to write a run; see the module's text for how it is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.attempt: int | None = None
        self._token = uuid.uuid4().hex
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
            if not self._is_held(newest):
                if self._claim(newest + 1, notes):
                    return newest + 1
                continue
            if patience is not None and time.monotonic() - begun > patience:
                raise HeldRunError(
                    f"{self.folder.parent} is being written by {self._describe(newest)}; two "
                    "writers are never allowed. What to do: wait for it, or end it; then give the "
                    "same command again."
                )
            if time.monotonic() - spoken > SPEAK_SECONDS:
                spoken = time.monotonic()
                progress(f"waits for {self._describe(newest)}")
            time.sleep(POLL_SECONDS)
        return None

    def guard(self) -> None:
        """Refuse to go on once a later attempt has taken over; call it before every commit."""
        assert self.attempt is not None
        check_current(self.folder, self.attempt, token=self._token)

    def release(self, status: str, reason: str = "") -> None:
        """Give the run back.

        Args:
            status: `finished`, `interrupted`, `failed` or `killed`.
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
            said = {"status": status, "reason": reason, "redone": sum(REDONE.values())}
            save_own_json(end, {**said, "time": time.time()})
        except DiskFullError:
            # Another name takes no space, and that the file exists is what matters.
            os.link(get_attempt_path(self.folder, attempt), end)
            raise

    def find_holder(self) -> int:
        """Return the number of the attempt that writes the run now; 0 if nobody does."""
        newest = get_last_attempt(self.folder)
        return newest if self._is_held(newest) else 0

    def refuse_stalled(self) -> None:
        """Stop a job that has been started again `MAX_IDLE` times and has added nothing since.

        A job that a person submits anew has another id, and starts with a clean slate.

        Raises:
            StalledRunError: saying how the last attempts ended.
        """
        assert self.attempt is not None
        own = find_json(get_attempt_path(self.folder, self.attempt))
        job, ends = own.get("slurm_job"), []
        for number in range(self.attempt - 1, 0, -1) if job else ():
            earlier = find_json(get_attempt_path(self.folder, number))
            if earlier.get("slurm_job") != job or earlier.get(MARK) != own.get(MARK):
                break
            end = find_json(get_end_path(self.folder, number))
            reason = [str(end.get("status")), *str(end.get("reason", "")).splitlines()[:1]]
            words = reason if end else ["ended without a message (killed, or its node failed)"]
            ends.append(" ".join([f"attempt {number}", *words]))
        if len(ends) >= MAX_IDLE:
            raise StalledRunError(
                f"{self.folder.parent} makes no progress: {len(ends)} attempts of job {job} in a "
                f"row made no new checkpoint or output ({'; '.join(ends)}). What to do: read the "
                "job's log; give the job more time (timeout_min in slurm/*.yaml), or let it "
                "checkpoint more often (a shorter operation.checkpoint_minutes in params.yaml; the "
                "run keeps its results); then submit again."
            )

    def _claim(self, attempt: int, notes: Mapping[str, Any]) -> bool:
        mark = {MARK: compute_progress_mark(self.folder.parent), "token": self._token}
        path = get_attempt_path(self.folder, attempt)
        temporary = self.folder / f".claim-{uuid.uuid4().hex}"
        save_own_json(temporary, {**notes, **mark, **load_process_identity(), "time": time.time()})
        try:
            os.link(temporary, path)
        except FileExistsError:
            # An NFS server may have done it and lost its answer: the link count knows.
            if temporary.stat().st_nlink != 2:
                return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            try:
                with path.open("xb") as file:
                    file.write(temporary.read_bytes())
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        self.attempt, self._stop = attempt, threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(path,), daemon=True)
        self._thread.start()
        return True

    def _beat(self, path: Path) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            # The run's folder may be away for a moment; the guard decides, not this thread.
            with suppress(OSError):
                os.utime(path)

    def _is_held(self, attempt: int) -> bool:
        if not attempt or get_end_path(self.folder, attempt).exists():
            return False
        alive = is_alive(find_json(get_attempt_path(self.folder, attempt)))
        # a time to come is no heartbeat either: files were copied, or a clock was put right
        return abs(self._get_silence(attempt)) < STALE_SECONDS if alive is None else alive

    def _get_silence(self, attempt: int) -> float:
        """Seconds since the last heartbeat, both read off the file server's clock."""
        with TemporaryFile(dir=self.folder) as probe:
            now = os.fstat(probe.fileno()).st_mtime
        return now - get_attempt_path(self.folder, attempt).lstat().st_mtime

    def _describe(self, attempt: int) -> str:
        process = find_json(get_attempt_path(self.folder, attempt))
        who = "an unknown process"
        if process:
            job = f", SLURM job {process['slurm_job']}" if process.get("slurm_job") else ""
            who = f"process {process['pid']} on {process['host']}{job}"
        silence = max(0.0, self._get_silence(attempt))
        return f"attempt {attempt} by {who} (last sign of life {silence:.0f} s ago)"


def get_attempt_path(folder: Path, attempt: int) -> Path:
    """Return the path of the file that IS the attempt."""
    return folder / f"{attempt:06d}.json"


def get_end_path(folder: Path, attempt: int) -> Path:
    """Return the path of the note with which an attempt ended by itself."""
    return folder / f"{attempt:06d}.end.json"


def get_last_attempt(folder: Path) -> int:
    """Return the highest attempt number; 0 before the first."""
    paths = folder.glob("*.json")
    # an end without its attempt counts too: its number must not be given away again
    return max((int(n) for p in paths if (n := p.name.split(".")[0]).isdecimal()), default=0)


def check_current(folder: Path, attempt: int, *, token: str = "") -> None:
    """Refuse to go on as an attempt that is not the current one any more.

    With its `token` that is also seen of one whose file was removed and made anew by another.

    Raises:
        LostRunError: when a later attempt has taken the run over.
    """
    newest = get_last_attempt(folder)
    noted = find_json(get_attempt_path(folder, attempt)) if token else {}
    if newest != attempt or noted.get("token", token) != token:
        raise LostRunError(
            f"attempt {attempt} of {folder.parent} was taken over by attempt {newest}; this one "
            "writes nothing more. What to do: end this process."
        )


def compute_progress_mark(folder: Path) -> str:
    """Digest the names under work/ and out/: a checkpoint or a shard more is another mark."""
    names = sorted(
        str(Path(root, name).relative_to(folder))
        for part in ("work", "out")
        for root, _, files in os.walk(folder / part)
        for name in files
        if not name.startswith(".") and not name.endswith(".tmp")
    )
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
