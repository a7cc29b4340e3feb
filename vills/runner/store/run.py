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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vills.config.canonical import find_differences
from vills.digests import CACHE_NAME, DigestCache, compute_digest, compute_listing, find_changed
from vills.errors import InputError, RunError
from vills.git import DIFF_NAME, NO_REPOSITORY, describe_git, load_git_diff
from vills.interrupt import InterruptedRunError
from vills.io import save_bytes, save_own_json
from vills.parts import REDONE
from vills.refusals import DiskFullError, open_writing
from vills.runner.store.code_digest import compute_code_state
from vills.runner.store.journal import Journal
from vills.runner.store.lock import RunLock
from vills.runner.store.machine import describe_machine
from vills.runner.store.receipt import RECEIPT_NAME, build_receipt, build_start, load_receipt
from vills.runner.store.result import (
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
        self.receipt_path = self.folder / RECEIPT_NAME
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
        if self._is_whole():
            return self
        here = {"machine": describe_machine(), "git": describe_git(self._checkout)}
        attempt = self.lock.acquire(
            is_done=self._is_whole,
            notes={**self._notes, **here},
            progress=self._say,
            patience=self._patience,
        )
        if attempt is None:
            return self
        try:
            if self.is_complete():  # meanwhile; or there is no more to do than its receipt
                self._take_receipt()
                self.lock.release("finished")
            else:
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
        if error is not None:
            with open_writing(self.folder):
                raise error

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
        end = self.journal.mark_finished()
        result = {
            "fingerprint": self.fingerprint,
            "outputs": compute_listing(self.out, self._cache),
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "artifacts": list(artifacts),
            "journal": end,
            "attempt": self.lock.attempt,
            "seconds": round(time.monotonic() - self._entered, 3),
            "finished_ms": time.time_ns() // 1_000_000,
        }
        self.lock.guard()
        save_own_json(self.result_path, result)
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

    def _is_whole(self) -> bool:
        """Say whether the run is complete, and its receipt is there for those who ask later."""
        with suppress(FileNotFoundError, InputError):
            return self.is_complete() and bool(load_receipt(self.folder))
        return False

    def _take_receipt(self) -> None:
        """Read the receipt of an earlier attempt, or write it."""
        with suppress(FileNotFoundError, InputError):
            self.receipt = load_receipt(self.folder)
            return
        if self.out.exists():  # which is made after it
            self._say("receipt.json is missing or damaged: written anew, as another execution")
        if diff := load_git_diff(self._checkout):
            save_bytes(self.folder / DIFF_NAME, diff.encode())
        git = describe_git(self._checkout)
        if git.get("problem", "") not in ("", NO_REPOSITORY):
            self._say(f"its receipt does not name all of its code: {git['problem']}")
        save_own_json(self.receipt_path, {**self.receipt, **build_start(git)})
        self.receipt = load_receipt(self.folder)

    def _begin(self, attempt: int) -> None:
        self.lock.refuse_stalled()
        REDONE.clear()
        self._entered = time.monotonic()
        if self.result_path.exists():
            damaged = find_damage(self.folder, self._cache)
            self._say(f"damaged, {len(damaged)} in all, so made again: {', '.join(damaged[:3])}")
            set_incomplete(self.folder, damaged)
        self._take_receipt()
        self.out.mkdir(exist_ok=True)
        self.work.mkdir(exist_ok=True)
        for path in self.out.rglob(".*.tmp"):
            path.unlink()  # a write of the last attempt that was killed (`vills.io.save_bytes`)
        if attempt > 1:
            how = "continues where the last one ended"
            self._say(f"attempt {attempt} {how if any(self.work.iterdir()) else 'begins anew'}")

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
