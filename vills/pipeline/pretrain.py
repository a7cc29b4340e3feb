"""Stage pretrain: self-supervised pre-training on images and videos (eq. 6 to 12)."""

from pathlib import Path
from typing import TYPE_CHECKING

from vills.config.pretrain import PretrainConfig
from vills.pipeline import (
    ARTIFACTS,
    Stage,
    StageContext,
    count_loaders,
    get_metrics_path,
    get_plots_path,
    get_weights_path,
)
from vills.runner.store.journal import load_curves, save_curves

if TYPE_CHECKING:
    from vills.config.params import Params
    from vills.data.pretrain_sources import PretrainData
    from vills.data.reid import ReidData

CACHE_MB = 1024.0
"""Memory for decoded frames; a small data set is then decoded once."""


def run(context: StageContext) -> None:
    """Train, export student and teacher, and state how healthy it was."""
    from vills.distributed import barrier, is_main
    from vills.train.pretrain import run_pretrain

    config = context.config("pretrain", PretrainConfig)
    out = context.outs["pretrain"]
    data = load_data(context, config)
    run_pretrain(
        config,
        data=data,
        work=context.work,
        out=out,
        journal=context.journal,
        guard=context.guard,
        progress=context.progress,
        workers=count_loaders(),
        initial=context.inputs.get("initial"),
        people=load_people(context, config),
        checkpoint_minutes=context.operation.checkpoint_minutes,
        checkpoint_steps=context.operation.checkpoint_steps,
    )
    if is_main():
        save_curves(context.outs["plots"], context.journal)
        context.save_metrics(
            {
                "images": data.num_images,
                "videos": data.num_videos,
                "last": get_last_losses(context.outs["plots"]),
                **get_last_probes(context.outs["plots"]),
            }
        )
    barrier()


def get_last_losses(curves: Path) -> dict[str, float]:
    """Return the raw loss terms of the last step that was journalled."""
    prefix = "loss/"
    return {
        name.removeprefix(prefix): values[-1]
        for name, (_, values) in load_curves(curves).items()
        if name.startswith(prefix)
    }


def get_last_probes(curves: Path) -> dict[str, dict[str, float]]:
    """`probe`: the last value of all roles by `<network>/<value>`; nothing if none was asked."""
    first, role = "probe/", "/all/"
    values = {
        name.removeprefix(first).replace(role, "/"): values[-1]
        for name, (_, values) in load_curves(curves).items()
        if name.startswith(first) and role in name
    }
    return {"probe": values} if values else {}


def load_data(context: StageContext, config: PretrainConfig) -> "PretrainData":
    """Every source that has an LSE cache; what a record is says which modality it serves."""
    from vills.data.pretrain_sources import PretrainData, load_pretrain_source

    folders = sorted(path for path in context.inputs["lse"].iterdir() if path.is_dir())
    curated = context.inputs["curated"]
    sources = [load_pretrain_source(curated / path.name, lse=path) for path in folders]
    return PretrainData(sources, sources, config=config, cache_mb=CACHE_MB)


def load_people(context: StageContext, config: PretrainConfig) -> "ReidData | None":
    """Return the labelled people whom the probes ask; None if they ask none."""
    from vills.data.reid import load_test_data

    if not (config.probe.every_steps and config.probe.source):
        return None
    return load_test_data(context.inputs["curated"] / config.probe.source)


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    inputs = {"curated": ARTIFACTS / "curated", "lse": ARTIFACTS / "lse"}
    if params.pretrain.initial.file:
        inputs["initial"] = get_weights_path(params.pretrain.initial.file)
    return inputs


STAGE = Stage(
    name="pretrain",
    sections=("pretrain",),
    inputs=_inputs,
    outs=lambda item: {
        "pretrain": ARTIFACTS / "pretrain",
        "metrics": get_metrics_path("pretrain"),
        "plots": get_plots_path("pretrain"),
    },
    run=run,
    summary="Self-supervised pre-training on images and videos (eq. 6 to 12)",
    ranks="group",
)
