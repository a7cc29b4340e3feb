"""Run one stage on this machine: name its run, attach to it or do it, publish, tell the tracker."""

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.config.load import load_params
from vills.config.params import Params
from vills.launch.progress import ProgressLine
from vills.pipeline import STAGES, Stage, StageContext
from vills.runs.run import Run, open_run
from vills.tracking.settings import load_tracking_settings
from vills.tracking.syncer import Syncer

RUNS = Path("runs")


def launch_stage(project: Path, *, stage: str, item: str = "") -> int:
    """Run `stage` (of data set `item`), or collect it if it is finished; the exit status.

    Raises:
        ConfigError: if the stage, its item, its parameters or its inputs are not there.
        RunError: if something changed meanwhile, or the run was taken over.
    """
    params = load_params(project)
    definition = load_stage(stage)
    check_item(definition, params, item)
    name = f"{stage}@{item}" if item else stage
    progress = ProgressLine(name)
    set_threads(definition.resolve_sections(params, item))
    inputs = find_inputs(project, definition, params=params, item=item)
    run = open_stage_run(project, definition, inputs=inputs, item=item, progress=progress)
    settings = load_tracking_settings(project)
    try:
        with Syncer(run.folder, settings, progress=progress.say), run:
            if run.is_complete():
                progress.say(f"run {run.fingerprint[:12]} is complete; collected")
            else:
                progress.say(f"run {run.fingerprint[:12]}, attempt {run.attempt}")
                context = build_context(
                    definition, run, params=params, inputs=inputs, item=item, progress=progress
                )
                execute(definition, run, context)
        for out, path in definition.outs(item).items():
            run.publish(project / path, part=out)
    finally:
        progress.close()
    return 0


def load_stage(name: str) -> Stage:
    """The definition of a stage; only its own file is imported.

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


def find_inputs(project: Path, stage: Stage, *, params: Params, item: str) -> dict[str, Path]:
    """Inputs of a stage by name, as they lie in this project.

    Raises:
        ConfigError: if one is missing, saying what makes it.
    """
    inputs = {name: project / path for name, path in stage.inputs(params, item).items()}
    for name, path in inputs.items():
        if not path.exists():
            raise ConfigError(_explain_missing(stage.name, name, path))
    return inputs


def open_stage_run(
    project: Path, stage: Stage, *, inputs: Mapping[str, Path], item: str, progress: ProgressLine
) -> Run:
    """Name the run of a stage by what it is made from."""

    def read_sections() -> Mapping[str, Any]:
        sections = stage.resolve_sections(load_params(project), item)
        return {name: to_plain(value) for name, value in sections.items()}

    return open_run(
        get_runs_root(project),
        stage=stage.name,
        item=item,
        read_params=read_sections,
        inputs=inputs,
        module=f"vills.pipeline.{stage.name}",
        checkout=project,
        progress=progress.say,
    )


def build_context(
    stage: Stage,
    run: Run,
    *,
    params: Params,
    inputs: Mapping[str, Path],
    item: str,
    progress: ProgressLine,
) -> StageContext:
    """What the stage may touch, for a run whose writer this process is."""
    return StageContext(
        item=item,
        sections=stage.resolve_sections(params, item),
        inputs=inputs,
        work=run.work,
        outs={name: run.out / name for name in stage.outs(item)},
        journal=run.journal,
        guard=run.guard,
        progress=progress,
        fingerprint=run.fingerprint,
    )


def execute(stage: Stage, run: Run, context: StageContext) -> None:
    """Do the work and commit it."""
    stage.run(context)
    path = context.outs.get("metrics")
    metrics = json.loads(path.read_text()) if path else {}
    pages = [p.relative_to(run.out).as_posix() for p in sorted(run.out.rglob("*.html"))]
    run.complete(
        metrics=flatten_metrics(metrics), artifacts=[*(["metrics"] if path else []), *pages]
    )


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


def get_runs_root(project: Path) -> Path:
    """The folder of all runs: VILLS_RUNS, or runs/ of the project."""
    return Path(os.environ.get("VILLS_RUNS") or project / RUNS)


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


def _explain_missing(stage: str, name: str, path: Path) -> str:
    if name.startswith("inventory_"):
        source = name.removeprefix("inventory_")
        todo = f"vills data register {source}"
    else:
        todo = "dvc repro, which runs the stages before this one"
    return f"input {name} of {stage} is missing: {path}. What to do: {todo}."
