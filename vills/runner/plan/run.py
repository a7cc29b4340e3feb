"""`vills run STAGE`: what DVC or a person names, done here or on the cluster, then published."""

from pathlib import Path

from vills.config.checks import ConfigError
from vills.config.load import load_params
from vills.config.params import Params
from vills.pipeline import Stage
from vills.runner.mlflow.settings import load_tracking_settings
from vills.runner.plan.elsewhere import compute_elsewhere, get_cluster_name
from vills.runner.work.progress import ProgressLine
from vills.runner.work.stage import StageCall, check_item, get_runs_root, load_stage, run_call


def launch_stage(project: Path, *, stage: str, item: str = "") -> None:
    """Run `stage` (of data set `item`), or collect it if it is finished.

    With VILLS_CLUSTER=slurm the work is done by a job, and waited for.

    Raises:
        ConfigError: if the stage, its item, its parameters or its inputs are not there.
        RunError: if something changed meanwhile, or the run was taken over.
    """
    params = load_params(project)
    definition = load_stage(stage)
    check_item(definition, params, item)
    name = f"{stage}@{item}" if item else stage
    progress = ProgressLine(name)
    call = StageCall(
        stage=definition,
        item=item,
        params=project,
        inputs=find_inputs(project, definition, params=params, item=item),
        runs=get_runs_root(project),
        checkout=project,
        tracking=load_tracking_settings(project),
    )
    try:
        if get_cluster_name():
            compute_elsewhere(project, params=params, name=name, progress=progress)
        run = run_call(call, progress=progress)
        if run is not None:
            for out, path in definition.outs(item).items():
                run.publish(project / path, part=out)
    finally:
        progress.close()


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


def _explain_missing(stage: str, name: str, path: Path) -> str:
    if name.startswith("inventory_"):
        source = name.removeprefix("inventory_")
        todo = f"vills data register {source}"
    else:
        todo = "dvc repro, which runs the stages before it"
    return f"input {name} of {stage} is missing: {path}. What to do: {todo}."
