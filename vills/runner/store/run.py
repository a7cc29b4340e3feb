"""A run: one stage with its parameters, inputs and code, in a folder that is named by the three.

runs/<stage>/<fingerprint>/
    receipt.json    what it is made from, taken at the start
    attempts/       who works on it, and who did (`lock.py`)
    work/           half-finished work and checkpoints; what a killed stage goes on from
    out/            outputs, built in place, read-only once the run is complete
    journal.jsonl   metrics, with their times
    result.json     digests of the outputs and the scores; its presence says "complete"
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vills.io import NO_SPACE, DiskFullError, explain_full_disk, save_bytes, save_json
from vills.runner.store.code_digest import compute_code_state
from vills.runner.store.digest import CACHE_NAME, DigestCache, compute_digest, compute_listing
from vills.runner.store.errors import DamagedError
from vills.runner.store.journal import Journal
from vills.runner.store.lock import PATIENT, AttemptGuard, Claim, RunLock, print_line
from vills.runner.store.machine import collect_git, collect_machine, load_git_diff
from vills.runner.store.progress import MARK, compute_progress_mark, refuse_stalled
from vills.runner.store.receipt import (
    Receipt,
    build_receipt,
    load_receipt,
    refuse_drift,
    save_receipt,
)
from vills.runner.store.result import (
    CHECKPOINTS_NAME,
    RESULT_NAME,
    describe_end,
    discard_outputs,
    find_damage,
    load_result,
    protect,
    publish,
)


def open_run(
    root: Path,
    *,
    stage: str,
    item: str = "",
    read_params: Callable[[], Mapping[str, Any]],
    inputs: Mapping[str, Path],
    module: str,
    checkout: Path | None = None,
    progress: Callable[[str], None] = print_line,
    claim: Claim = PATIENT,
    operation: Mapping[str, Any] | None = None,
) -> "Run":
    """Name the run of a stage by its content. Nothing is written before `with` enters it.

    Args:
        root: The `runs` folder.
        stage: DVC stage.
        item: Data set of a stage that runs once per data set.
        read_params: Reads the stage's parameters; called again at the end, to see changes.
        inputs: Files and folders by logical names, which enter the fingerprint; paths do not.
        module: The stage's module, whose import closure is its code.
        checkout: A folder of the git checkout; that of `root` by default.
        progress: Gets lines about waiting and rebuilding.
        claim: How long to wait for another writer, and what to note.
        operation: How it is worked on: kept in the receipt, and no part of its name.

    Raises:
        RunError: when an input is not there.
    """
    cache = DigestCache(root / CACHE_NAME)
    receipt = build_receipt(
        stage,
        item=item,
        params=dict(read_params()),
        inputs={name: (path, compute_digest(path, cache)) for name, path in inputs.items()},
        module=module,
        code=compute_code_state(module),
        operation=operation or {},
    )
    return Run(
        root / stage / receipt.fingerprint,
        receipt=receipt,
        read_params=read_params,
        inputs=inputs,
        cache=cache,
        checkout=checkout or root.parent,
        progress=progress,
        claim=claim,
    )


class Run:
    """One run; `with run:` makes this process its writer, or attaches to it when it is complete."""

    def __init__(
        self,
        folder: Path,
        *,
        receipt: Receipt,
        read_params: Callable[[], Mapping[str, Any]],
        inputs: Mapping[str, Path],
        cache: DigestCache,
        checkout: Path,
        progress: Callable[[str], None],
        claim: Claim,
    ) -> None:
        self.folder = folder
        self.receipt = receipt
        self.out = folder / "out"
        self.work = folder / "work"
        self.checkpoints = self.work / CHECKPOINTS_NAME
        self.receipt_path = folder / "receipt.json"
        self.result_path = folder / RESULT_NAME
        self.journal_path = folder / "journal.jsonl"
        self._read_params = read_params
        self._inputs = inputs
        self._cache = cache
        self._checkout = checkout
        self._progress = progress
        self._claim = claim
        self._lock = RunLock(folder / "attempts", stale_after=claim.stale_after)
        self._entered = time.monotonic()

    @property
    def fingerprint(self) -> str:
        """Identity, 64 hex digits."""
        return self.receipt.fingerprint

    @property
    def attempt(self) -> int | None:
        """Number of this process's attempt; None while it does not write the run."""
        return self._lock.attempt

    @property
    def guard(self) -> AttemptGuard:
        """Call it before every commit; picklable, for the ranks of a group."""
        return self._lock.guard

    @cached_property
    def journal(self) -> Journal:
        """Metrics of the run."""
        return Journal(self.journal_path)

    def __enter__(self) -> Self:
        """Become the writer (waiting for another one to end), unless the run is complete."""
        if self.is_complete():
            return self
        attempt = self._lock.acquire(
            is_done=self.is_complete,
            notes={
                **self._claim.notes,
                "machine": collect_machine(),
                "git": collect_git(self._checkout),
                MARK: compute_progress_mark(self.folder),
            },
            progress=lambda text: self._progress(f"{self._label}: {text}"),
            patience=self._claim.patience,
        )
        if attempt is None:
            return self
        if self.is_complete():  # the last writer ended between a look at the run and the claim
            self._lock.release("finished")
        else:
            self._begin_or_release(attempt)
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
        full = isinstance(error, OSError) and error.errno in NO_SPACE
        try:
            self._lock.release(*describe_end(error, complete=self.result_path.exists()))
        except DiskFullError:
            # Not worth hiding the first error.
            self._progress(f"{self._label}: the disk is too full to note how the attempt ended")
        if full and not isinstance(error, DiskFullError):
            raise explain_full_disk(self.folder) from error

    def is_complete(self) -> bool:
        """Say whether the run is complete and its outputs are the recorded bytes."""
        return self.result_path.exists() and not self.find_damage()

    def find_damage(self) -> list[str]:
        """List outputs that are missing, changed or not recorded."""
        return find_damage(self.folder, self._cache)

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
        self.guard()
        self._refuse_drift()
        self.out.mkdir(exist_ok=True)
        missing = [name for name in artifacts if not (self.out / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{self._label}: no artifact {missing} under {self.out}")
        protect(self.out)
        result = {
            "fingerprint": self.fingerprint,
            "outputs": compute_listing(self.out, self._cache),
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "artifacts": list(artifacts),
            "attempt": self.attempt,
            "seconds": round(time.monotonic() - self._entered, 3),
            "finished_ms": time.time_ns() // 1_000_000,
        }
        self.journal.mark_finished()
        self.guard()
        save_json(self.result_path, result)
        self._refuse_drift(self._read_params())

    def collect(self) -> dict[str, Any]:
        """Check that the outputs are the recorded ones and that nothing drifted; the result.

        Raises:
            DamagedError: naming the outputs that are not as recorded.
            DriftError: naming what changed since the run was opened.
        """
        damaged = self.find_damage()
        if damaged:
            raise DamagedError(
                f"{self._label}: outputs are not as recorded: {', '.join(damaged[:5])} "
                f"({len(damaged)} in all). What to do: run the stage again; it rebuilds them."
            )
        self._refuse_drift(self._read_params())
        return load_result(self.folder)

    def publish(self, to: Path, *, part: str = "") -> bool:
        """Put the outputs (or the file or folder `part` of them) at `to`; True when written.

        Raises:
            DamagedError: see `collect`.
            DriftError: see `collect`.
        """
        self.collect()
        return publish(self.out / part if part else self.out, to, cache=self._cache)

    @property
    def _label(self) -> str:
        return f"{self.receipt.name} {self.fingerprint[:12]}"

    def _begin_or_release(self, attempt: int) -> None:
        # An error in `__enter__` never reaches `__exit__`.
        try:
            refuse_stalled(self._lock.folder, attempt=attempt)
            self._begin(attempt)
        except BaseException as error:
            self._lock.release(*describe_end(error, complete=False))
            raise

    def _begin(self, attempt: int) -> None:
        self._entered = time.monotonic()
        if self.result_path.exists():
            damaged = ", ".join(self.find_damage()[:3])
            self._progress(f"{self._label}: outputs were damaged ({damaged}); they are rebuilt")
            discard_outputs(self.folder)
        if not self.receipt_path.exists():
            diff = load_git_diff(self._checkout)
            if diff:
                save_bytes(self.folder / "code.diff", diff.encode())
            save_receipt(self.receipt_path, self.receipt, checkout=self._checkout)
        self.receipt = load_receipt(self.receipt_path)
        self.out.mkdir(exist_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for path in self.out.rglob(".*.tmp"):
            path.unlink()  # a write of the last attempt that was killed (`vills.io.save_bytes`)
        if attempt > 1:
            self._progress(f"{self._label}: attempt {attempt} goes on where the last one was")

    def _refuse_drift(self, params: Mapping[str, Any] | None = None) -> None:
        refuse_drift(
            self._label, self.receipt, inputs=self._inputs, cache=self._cache, params=params
        )
