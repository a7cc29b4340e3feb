"""One stage, once: what it is called with, who works on it, and how it ends.

`run_call` names the run, becomes its writer or attaches to it, does the work and commits it. It is
the same for `dvc repro` on a laptop, a job of a sweep and an sbatch script; only where parameters
and inputs lie differs, and that is in the `StageCall`.
"""

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.config.load import load_params
from vills.config.operation import OperationConfig
from vills.config.params import Params
from vills.pipeline import STAGES, Stage, StageContext
from vills.runner.mlflow.settings import TrackingSettings
from vills.runner.mlflow.worker import open_syncer
from vills.runner.store.interrupt import InterruptedRunError, interrupt_at_once
from vills.runner.store.journal import Journal
from vills.runner.store.lock import AttemptGuard
from vills.runner.store.run import Run, open_run
from vills.runner.work.progress import ProgressLine
from vills.runner.work.ranks import Ranks, announce, await_handoff, hand_off, load_ranks
from vills.runner.work.slurm_job import build_claim, build_notes, leave_politely

RUNS = Path("runs")


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

    @property
    def name(self) -> str:
        """As DVC writes it."""
        return f"{self.stage.name}@{self.item}" if self.item else self.stage.name

    def load_sections(self) -> dict[str, Any]:
        """Its typed sections of params.yaml, read now."""
        return self.stage.resolve_sections(load_params(self.params), self.item)

    def load_operation(self) -> OperationConfig:
        """How to work on it, read now: it may differ from attempt to attempt."""
        return load_params(self.params).operation

    def get_outs(self, folder: Path) -> dict[str, Path]:
        """Where it leaves what it publishes, below the outputs of a run."""
        return {name: folder / name for name in self.stage.outs(self.item)}


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
    with interrupt_at_once(ends_process=True):
        try:
            with interrupt_at_once():
                if ranks.is_leader:
                    return _lead(call, ranks, progress)
                _follow(call, ranks)
                return None
        except InterruptedRunError as error:
            leave_politely(error, ranks, say=progress.say)
            raise


def _lead(call: StageCall, ranks: Ranks, progress: ProgressLine) -> Run:
    operation = call.load_operation()
    run = open_stage_run(call, ranks, progress=progress, operation=operation)
    with open_syncer(run.folder, call.tracking, progress=progress.say), run:
        if run.attempt is None:
            progress.say(f"run {run.fingerprint[:12]} is complete; collected")
            announce(call.runs, ranks, {"complete": True})
            call.stage.check(call.get_outs(run.out), operation)
            return run
        progress.say(f"run {run.fingerprint[:12]}, attempt {run.attempt}")
        content = {
            "complete": False,
            "folder": str(run.folder),
            "attempt": run.attempt,
            "operation": asdict(operation),
        }
        with hand_off(call.runs, ranks, content):
            context = StageContext(
                item=call.item,
                sections=call.load_sections(),
                operation=operation,
                inputs=call.inputs,
                work=run.work,
                outs=call.get_outs(run.out),
                journal=run.journal,
                guard=run.guard,
                progress=progress,
                fingerprint=run.fingerprint,
            )
            with interrupt_at_once():
                execute(call.stage, run, context)
    return run


def _follow(call: StageCall, ranks: Ranks) -> None:
    """Take part in what the leader has begun; nothing is written but what the stage shares."""
    word = await_handoff(call.runs, ranks)
    if word["complete"]:
        return
    folder = Path(word["folder"])
    call.stage.run(
        StageContext(
            item=call.item,
            sections=call.load_sections(),
            operation=OperationConfig(**word["operation"]),
            inputs=call.inputs,
            work=folder / "work",
            outs=call.get_outs(folder / "out"),
            journal=Journal(folder / "journal.jsonl"),
            guard=AttemptGuard(folder / "attempts", word["attempt"]),
            progress=lambda label, done, total: None,
            fingerprint=folder.name,
        )
    )


def open_stage_run(
    call: StageCall, ranks: Ranks, *, progress: ProgressLine, operation: OperationConfig
) -> Run:
    """Name the run of a call by what it is made from."""

    def read_sections() -> Mapping[str, Any]:
        return {name: to_plain(value) for name, value in call.load_sections().items()}

    return open_run(
        call.runs,
        stage=call.stage.name,
        item=call.item,
        read_params=read_sections,
        inputs=call.inputs,
        module=f"vills.pipeline.{call.stage.name}",
        checkout=call.checkout,
        progress=progress.say,
        claim=build_claim({**build_notes(ranks), "operation": asdict(operation)}),
        operation=asdict(operation),
    )


def execute(stage: Stage, run: Run, context: StageContext) -> None:
    """Do the work and commit it."""
    stage.run(context)
    stage.check(context.outs, context.operation)
    path = context.outs.get("metrics")
    metrics = json.loads(path.read_text()) if path else {}
    pages = [p.relative_to(run.out).as_posix() for p in sorted(run.out.rglob("*.html"))]
    run.complete(
        metrics=flatten_metrics(metrics), artifacts=[*(["metrics"] if path else []), *pages]
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


def get_runs_root(project: Path) -> Path:
    """Return the folder of all runs: VILLS_RUNS, or runs/ of the project."""
    return Path(os.environ.get("VILLS_RUNS") or project / RUNS)


def flatten_metrics(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a nested mapping by path, `a/b`; what is no number is left out."""
    flat: dict[str, float] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten_metrics(value, f"{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[name] = float(value)
    return flat


def set_threads(sections: Mapping[str, Any]) -> None:
    """Fix the number of CPU threads before torch starts: sums differ in their last bits with it."""
    threads = {getattr(section, "threads_per_rank", 0) for section in sections.values()} - {0}
    if threads:
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[variable] = str(max(threads))
        # Threads that spin for long starve each other wherever cores are shared; threads that
        # never spin sleep between the small operations of a small model.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def to_plain(value: Any) -> Any:
    """Dataclasses, also inside mappings, as plain values."""
    if isinstance(value, Mapping):
        return {key: to_plain(entry) for key, entry in value.items()}
    return asdict(value)
