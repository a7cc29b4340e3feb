"""A run: one stage with its parameters, inputs and code, in a folder that is named by the three.

runs/<stage>/<fingerprint>/
    receipt.json    what it is made from, taken at the start (`receipt.py`)
    attempts/       who works on it, and who did (`lock.py`)
    work/           half-finished work and checkpoints; what a killed stage goes on from
    out/            outputs, built in place, read-only once the run is complete
    journal.jsonl   metrics, with their times
    result.json     digests of the outputs and the scores; its presence says "complete"

DVC hashes a stage's dependencies AFTER the stage ran. Had they changed in between, dvc.lock would
say that the new code made the old output: so drift is refused before DVC sees an output.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vills.git import DIFF_NAME, NO_REPOSITORY, describe_git, load_git_diff
from vills.interrupt import InterruptedRunError
from vills.io import NO_SPACE, DiskFullError, describe_full_disk, load_json, save_bytes, save_json
from vills.runner.store.code_digest import compute_code_state
from vills.runner.store.digest import (
    CACHE_NAME,
    DigestCache,
    RunError,
    compute_digest,
    compute_listing,
    find_changed,
)
from vills.runner.store.journal import Journal
from vills.runner.store.lock import RunLock
from vills.runner.store.machine import describe_machine, list_packages
from vills.runner.store.receipt import build_receipt, find_differences
from vills.runner.store.result import (
    CHECKPOINTS_NAME,
    RESULT_NAME,
    find_damage,
    publish,
    set_incomplete,
    set_read_only,
)
from vills.secrets import render_public


class DriftError(RunError):
    """Parameters, inputs or code changed between the start of a run and its end."""


class DamagedError(RunError):
    """A finished run's outputs are not the bytes that were recorded."""


class Run:
    """One run; `with run:` makes this process its writer, or attaches to it when it is complete."""

    def __init__(
        self,
        root: Path,
        *,
        stage: str,
        item: str = "",
        read_params: Callable[[], Mapping[str, Any]],
        inputs: Mapping[str, Path],
        module: str,
        progress: Callable[[str], None],
        checkout: Path | None = None,
        patience: float | None = None,
        notes: Mapping[str, Any] | None = None,
        operation: Mapping[str, Any] | None = None,
    ) -> None:
        """Name the run of a stage by its content. Nothing is written before `with` enters it.

        Args:
            root: The `runs` folder.
            stage: DVC stage.
            item: Data set of a stage that runs once per data set.
            read_params: Reads the stage's parameters; called again at the end, to see changes.
            inputs: Files and folders by logical names, which enter the fingerprint; paths do not.
            module: The stage's module, whose import closure is its code.
            progress: Gets lines about waiting and rebuilding.
            checkout: A folder of the git checkout; that of `root` by default.
            patience: Seconds to wait for another writer; None: as long as it takes.
            notes: Kept with the attempt: ranks, devices.
            operation: How it is worked on: kept in receipt and attempt, and no part of its name.

        Raises:
            RunError: when an input is not there.
        """
        self._cache = cache = DigestCache(root / CACHE_NAME)
        self.receipt = build_receipt(
            stage,
            item=item,
            params=read_params(),
            inputs={name: (path, compute_digest(path, cache)) for name, path in inputs.items()},
            module=module,
            code=compute_code_state(module),
            operation=operation or {},
        )
        self.fingerprint: str = self.receipt["fingerprint"]
        self.folder = root / stage / self.fingerprint
        self.out = self.folder / "out"
        self.work = self.folder / "work"
        self.checkpoints = self.work / CHECKPOINTS_NAME
        self.receipt_path = self.folder / "receipt.json"
        self.result_path = self.folder / RESULT_NAME
        self.journal = Journal(self.folder / "journal.jsonl")
        self._label = f"{stage}{'@' + item if item else ''} {self.fingerprint[:12]}"
        self._read_params = read_params
        self._inputs = inputs
        self._checkout = checkout or root.parent
        self._progress = progress
        self._patience = patience
        self._notes = {**(notes or {}), "operation": dict(operation or {})}
        self.lock = RunLock(self.folder / "attempts")
        self._entered = time.monotonic()

    def __enter__(self) -> Self:
        """Become the writer (waiting for another one to end), unless the run is complete."""
        if self.is_complete():
            return self
        here = {"machine": describe_machine(), "git": describe_git(self._checkout)}
        attempt = self.lock.acquire(
            is_done=self.is_complete,
            notes={**self._notes, **here},
            progress=self._say,
            patience=self._patience,
        )
        if attempt is None:
            return self
        if self.is_complete():  # the last writer ended between a look at the run and the claim
            self.lock.release("finished")
            return self
        try:
            self._begin(attempt)
        except BaseException as error:  # which never reaches `__exit__`
            self.lock.release(*_describe_end(error))
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the run back, with how it ended.

        Raises:
            DiskFullError: in place of a bare "no space left on device".
        """
        self.journal.close()
        end = "finished" if self.result_path.exists() else "failed", ""
        try:
            self.lock.release(*(_describe_end(error) if error else end))
        except DiskFullError:
            # Not worth hiding the first error.
            self._say("the disk is full: the end of this attempt could not be recorded")
        full = isinstance(error, OSError) and error.errno in NO_SPACE
        if full and not isinstance(error, DiskFullError):
            raise describe_full_disk(self.folder) from error

    def is_complete(self) -> bool:
        """Say whether the run is complete and its outputs are the recorded bytes."""
        return self.result_path.exists() and not find_damage(self.folder, self._cache)

    def complete(
        self, *, metrics: Mapping[str, float] | None = None, artifacts: Sequence[str] = ()
    ) -> None:
        """Commit the outputs under `out/`: from here on the run is complete.

        Args:
            metrics: Scores, for the tracker and the report.
            artifacts: Paths under `out/` that the tracker gets a copy of.

        Raises:
            LostRunError: when another attempt took over.
            DriftError: when inputs or code changed meanwhile (nothing is committed; `work/`
                stays), or parameters did (the run is committed under its own fingerprint).
        """
        self.lock.guard()
        self._refuse_drift(self.receipt["params"])
        self.out.mkdir(exist_ok=True)
        missing = [name for name in artifacts if not (self.out / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{self._label}: no artifact {missing} under {self.out}")
        set_read_only(self.out)
        result = {
            "fingerprint": self.fingerprint,
            "outputs": compute_listing(self.out, self._cache),
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "artifacts": list(artifacts),
            "attempt": self.lock.attempt,
            "seconds": round(time.monotonic() - self._entered, 3),
            "finished_ms": time.time_ns() // 1_000_000,
        }
        self.journal.mark_finished()
        self.lock.guard()
        save_json(self.result_path, result)
        self._refuse_drift(self._read_params())

    def publish(self, to: Path, *, part: str = "") -> bool:
        """Put the outputs (or the file or folder `part` of them) at `to`; True when written.

        Raises:
            DamagedError: naming the outputs that are not as recorded.
            DriftError: naming what changed since the run was opened.
        """
        damaged = find_damage(self.folder, self._cache)
        if damaged:
            raise DamagedError(
                f"{self._label}: outputs differ from the record: {', '.join(damaged[:5])} "
                f"({len(damaged)} in all). What to do: run the stage again; it computes them again."
            )
        self._refuse_drift(self._read_params())
        return publish(self.out / part if part else self.out, to, cache=self._cache)

    def _say(self, text: str) -> None:
        self._progress(f"{self._label}: {text}")

    def _begin(self, attempt: int) -> None:
        self.lock.refuse_stalled()
        self._entered = time.monotonic()
        if self.result_path.exists():
            damaged = ", ".join(find_damage(self.folder, self._cache)[:3])
            self._say(f"outputs were damaged ({damaged}); they are computed again")
            set_incomplete(self.folder)
        if not self.receipt_path.exists():
            diff = load_git_diff(self._checkout)
            if diff:
                save_bytes(self.folder / DIFF_NAME, diff.encode())
            git = describe_git(self._checkout)
            if git.get("problem", "") not in ("", NO_REPOSITORY):
                self._say(f"its receipt does not name all of its code: {git['problem']}")
            here = {
                "git": git,
                "packages": list_packages(),
                "machine": describe_machine(),
                "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "execution": uuid.uuid4().hex,
            }
            save_json(self.receipt_path, {**self.receipt, **here})
        self.receipt = load_json(self.receipt_path)
        self.out.mkdir(exist_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for path in self.out.rglob(".*.tmp"):
            path.unlink()  # a write of the last attempt that was killed (`vills.io.save_bytes`)
        if attempt > 1:
            self._say(f"attempt {attempt} continues where the last one ended")

    def _refuse_drift(self, params: Mapping[str, Any]) -> None:
        """Refuse to go on if parameters, inputs or code (not comments) are not the receipt's."""
        changed = [
            f"params.yaml changed while the stage ran: {line}"
            for line in find_differences(self.receipt["params"], params)
        ]
        for name, path in self._inputs.items():
            if not path.exists():
                changed.append(f"input {name} disappeared while the stage ran: {path}")
            elif compute_digest(path, self._cache) != self.receipt["inputs"][name]["digest"]:
                changed.append(f"input {name} changed while the stage ran: {path}")
        before, now = self.receipt["code"], compute_code_state(self.receipt["code"]["module"])
        names = find_changed(before["files"], now.files) if now.digest != before["digest"] else []
        changed += [f"code changed while the stage ran: {name}" for name in names]
        if changed:
            lines = "\n  ".join(changed)
            raise DriftError(
                f"{self._label} cannot be handed to DVC, which would record that the new state "
                f"made this output:\n  {lines}\nWhat to do: give the same command again "
                "(for the new state), or undo the change first (this run is kept, and is then "
                "used)."
            )


def _describe_end(error: BaseException) -> tuple[str, str]:
    """Status and reason of an attempt that ended with `error`."""
    if isinstance(error, InterruptedRunError):
        return "interrupted", render_public(str(error))[:2000]
    status = "failed" if isinstance(error, Exception) else "killed"
    return status, render_public(f"{type(error).__name__}: {error}")[:2000]
