"""One stage, once: what it is called with, who works on it, what it tells, and how it ends.

`run_call` names the run, becomes its writer or attaches to it, does the work and commits it. It is
the same for `dvc repro` on a laptop, a job of a sweep and an sbatch script; only where parameters
and inputs lie differs, and that is in the `StageCall`.
"""

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from vills.config.canonical import find_differences
from vills.config.checks import ConfigError
from vills.config.load import load_params
from vills.config.params import OperationConfig, Params
from vills.config.tracking import TrackingSettings
from vills.errors import RunError
from vills.interrupt import InterruptedRunError, open_interruption
from vills.io import load_json
from vills.pipeline import STAGES, Stage, StageContext
from vills.progress import Progress, ProgressLine
from vills.runner.mlflow.tracked_run import list_leaves
from vills.runner.mlflow.worker import open_syncer
from vills.runner.store.journal import Journal
from vills.runner.store.lock import check_current
from vills.runner.store.machine import THREAD_VARIABLES
from vills.runner.store.run import Run
from vills.runner.work.ranks import Ranks, load_ranks, open_handoff, wait_for_handoff
from vills.runner.work.slurm_job import build_notes, get_patience, wait_for_slurm

Recorded = dict[str, str | None]
"""Digests of inputs by name, as the runs that made them recorded them; None: unknown."""


@dataclass(frozen=True)
class StageCall:
    """A stage with everything that it is called with."""

    stage: Stage
    item: str
    """Data set, or empty."""
    params: Path
    """Folder of the params.yaml that holds for it."""
    inputs: Mapping[str, Path]
    """What it reads, by name."""
    runs: Path
    """Folder of all runs."""
    checkout: Path
    """Where its code comes from: a checkout, or a snapshot of one."""
    tracking: TrackingSettings | None
    """Where curves go."""
    recorded: Recorded = field(default_factory=dict)
    planned: Mapping[str, Any] | None = None
    """`params` and digest of `code` that it was asked for with, if somebody else did."""

    def load_sections(self) -> dict[str, Any]:
        """Read its typed sections of params.yaml, as they are now."""
        return self.stage.resolve_sections(load_params(self.params), self.item)

    def get_outs(self, folder: Path) -> dict[str, Path]:
        """Return where it leaves what it publishes, below the outputs of a run."""
        return {name: folder / name for name in self.stage.outs(self.item)}

    def build_context(
        self, word: Mapping[str, Any], *, journal: Journal | None = None, progress: Progress
    ) -> StageContext:
        """Build what the stage may touch from the leader's word about the run."""
        folder = Path(word["folder"])
        return StageContext(
            item=self.item,
            sections=self.load_sections(),
            operation=OperationConfig(**word["operation"]),
            inputs=self.inputs,
            work=folder / "work",
            outs=self.get_outs(folder / "out"),
            journal=journal or Journal(folder / "journal.jsonl"),
            guard=partial(check_current, folder / "attempts", word["attempt"]),
            progress=progress,
            fingerprint=folder.name,
        )


def run_call(call: StageCall, *, progress: ProgressLine) -> Run | None:
    """Do the work of a call, or attach to it; the complete run, or None in a rank that follows.

    Raises:
        ConfigError: if the stage cannot be run by so many processes.
        InterruptedRunError: after a signal, once everything is where the next attempt finds it.
        RunError: if something changed meanwhile, or the run is or was taken over.
    """
    ranks = load_ranks()
    check_ranks(call.stage, ranks)
    ranks.join()
    set_threads(call.load_sections())
    # Three rings: a signal ends the work, so that the run says "interrupted"; or, before there is
    # any, the wait for it; and no second signal ends the way out.
    with open_interruption(ends_process=True):
        try:
            with open_interruption(), _open(call, ranks, progress) as (run, context):
                if context is not None:
                    with open_interruption():
                        call.stage.run(context)
                        if run is not None:
                            _commit(call.stage, run, context)
                return run
        except InterruptedRunError as error:
            wait_for_slurm(error, ranks, say=progress.say)
            raise


@contextmanager
def _open(
    call: StageCall, ranks: Ranks, progress: ProgressLine
) -> Iterator[tuple[Run | None, StageContext | None]]:
    """Yield the run in the leader alone, and what to work with in all ranks; None: it is complete.

    A rank that follows writes nothing but what the stage shares.
    """
    if not ranks.is_leader:
        word = wait_for_handoff(call.runs, ranks)
        done = word["complete"]
        yield None, None if done else call.build_context(word, progress=lambda *_: None)
        return
    operation = load_params(call.params).operation  # it may differ from attempt to attempt
    run = Run(
        call.runs,
        stage=call.stage.name,
        item=call.item,
        read_params=call.load_sections,
        inputs=call.inputs,
        module=f"vills.pipeline.{call.stage.name}",
        checkout=call.checkout,
        progress=progress.say,
        patience=get_patience(),
        notes=build_notes(ranks),
        operation=asdict(operation),
    )
    for name, entry in run.receipt["inputs"].items():
        if (call.recorded.get(name) or entry["digest"]) != entry["digest"]:
            raise RunError(
                f"input {name} is damaged, or was changed by hand: {entry['path']} is not what its "
                "run recorded. What to do: `vills run` its stage, which puts it right (in a sweep: "
                "launch again without that run's result.json); to use it, remove its metrics file."
            )
    found = {"params": run.receipt["params"], "code": run.receipt["code"]["digest"]}
    if call.planned and (changed := find_differences(call.planned, found)):
        raise RunError(
            f"{call.params} or {call.checkout} was changed after this job was asked for: "
            f"{', '.join(changed[:5])}. What to do: remove both folders, and launch again with "
            "--retry failed."
        )
    with open_syncer(run.folder, call.tracking, progress=progress.say), run:
        attempt = run.lock.attempt
        how = " is complete; collected" if attempt is None else f", attempt {attempt}"
        progress.say(f"run {run.fingerprint[:12]}{how}")
        word = {"folder": str(run.folder), "attempt": attempt, "operation": asdict(operation)}
        with open_handoff(call.runs, ranks, {"complete": attempt is None, **word}):
            if attempt is None:
                call.stage.check(call.get_outs(run.out), operation)
                yield run, None
            else:
                yield run, call.build_context(word, journal=run.journal, progress=progress)


def _commit(stage: Stage, run: Run, context: StageContext) -> None:
    stage.check(context.outs, context.operation)
    path = context.outs.get("metrics")
    pages = [p.relative_to(run.out).as_posix() for p in sorted(run.out.rglob("*.html"))]
    values = list_leaves(load_json(path), separator="/") if path else {}
    run.complete(
        metrics={name: float(v) for name, v in values.items() if type(v) in (int, float)},
        artifacts=[*(["metrics"] if path else []), *pages],
    )


def load_stage(name: str) -> Stage:
    """Return the definition of a stage; only its own file is imported.

    Raises:
        ConfigError: if there is no such stage.
    """
    if name not in STAGES:
        raise ConfigError(
            f"stage = {name!r} is not allowed. Allowed: {', '.join(STAGES)}. "
            "What to do: give one of them, with @DATASET after finetune and evaluate."
        )
    stage: Stage = importlib.import_module(f"vills.pipeline.{name}").STAGE
    return stage


def check_item(stage: Stage, params: Params, item: str) -> None:
    """Refuse a data set that params.yaml does not name.

    Raises:
        ConfigError: listing the data sets.
    """
    items = stage.items(params)
    if item not in items:
        allowed = ", ".join(f"{stage.name}@{i}" if i else stage.name for i in items) or "none"
        raise ConfigError(
            f"stage = '{stage.name}@{item}' is not in params.yaml. Allowed: {allowed}. "
            f"What to do: give one of them, or add the data set to {stage.name} in params.yaml."
        )


def check_ranks(stage: Stage, ranks: Ranks) -> None:
    """Refuse several processes where one is all that can work.

    Raises:
        ConfigError: naming the stages that share their work.
    """
    if ranks.world_size > 1 and stage.ranks == "one":
        shared = ", ".join(name for name in STAGES if load_stage(name).ranks != "one")
        raise ConfigError(
            f"number of processes = {ranks.world_size} is not allowed for {stage.name}. Allowed: 1 "
            f"(more for {shared}). What to do: start it once, `srun --ntasks=1`."
        )


def set_threads(sections: Mapping[str, Any]) -> None:
    """Fix the number of CPU threads before torch starts: sums differ in their last bits with it."""
    threads = {getattr(section, "threads_per_rank", 0) for section in sections.values()} - {0}
    if threads:
        os.environ |= dict.fromkeys(THREAD_VARIABLES, str(max(threads)))
        # Threads that spin for long starve each other wherever cores are shared; threads that
        # never spin sleep between the small operations of a small model.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
