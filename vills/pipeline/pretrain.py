"""Stage pretrain: self-supervised pre-training on images and videos (eq. 6 to 12)."""

from pathlib import Path
from typing import TYPE_CHECKING

from vills.config.pretrain import PretrainConfig
from vills.pipeline import ARTIFACTS, Stage, StageContext, count_loaders, list_weights
from vills.runner.store.journal import load_curves, save_curves

if TYPE_CHECKING:
    from vills.config.params import Params
    from vills.data.pretrain_sources import PretrainData

CACHE_MB = 1024.0
"""Memory for decoded frames; a small data set is then decoded once."""


def run(context: StageContext) -> None:
    """Train, export student and teacher, and state how healthy it was."""
    from vills.data.reid import load_reid_data
    from vills.distributed import barrier, is_main
    from vills.train.pretrain import run_pretrain

    config = context.config("pretrain", PretrainConfig)
    out = context.outs["pretrain"]
    data, probe = load_data(context, config), config.probe
    asks = probe.every_steps and probe.source  # labelled people, who train nothing
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
        people=load_reid_data(context.inputs["curated"] / probe.source) if asks else None,
        checkpoint_minutes=context.operation.checkpoint_minutes,
        checkpoint_steps=context.operation.checkpoint_steps,
    )
    if is_main():
        save_curves(context.outs["plots"], context.journal)
        context.save_metrics(
            {
                "images": data.num_images,
                "videos": data.num_videos,
                **get_last_values(context.outs["plots"]),
            }
        )
    barrier()


def get_last_values(path: Path) -> dict[str, dict[str, float]]:
    """Return the values that were journalled last.

    Returns:
        last: the raw loss terms; probe, if one was asked: values of all roles by
        `<network>/<value>`.
    """
    last = {name: values[-1] for name, (_, values) in load_curves(path).items()}
    losses = {name.removeprefix("loss/"): x for name, x in last.items() if name[:5] == "loss/"}
    probes = {
        name.removeprefix("probe/").replace("/all/", "/"): value
        for name, value in last.items()
        if name.startswith("probe/") and "/all/" in name
    }
    return {"last": losses, **({"probe": probes} if probes else {})}


def load_data(context: StageContext, config: PretrainConfig) -> "PretrainData":
    """Every source that has an LSE cache; what a record is says which modality it serves."""
    from vills.data.pretrain_sources import PretrainData, load_pretrain_source

    folders = sorted(path for path in context.inputs["lse"].iterdir() if path.is_dir())
    curated = context.inputs["curated"]
    sources = [load_pretrain_source(curated / path.name, lse=path) for path in folders]
    return PretrainData(sources, sources, config=config, cache_mb=CACHE_MB)


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    inputs = {"curated": ARTIFACTS / "curated", "lse": ARTIFACTS / "lse"}
    return inputs | list_weights(initial=params.pretrain.initial.file)


STAGE = Stage(
    name="pretrain",
    sections=("pretrain",),
    inputs=_inputs,
    publishes={
        "pretrain": "artifacts/pretrain",
        "metrics": "artifacts/metrics/pretrain.json",
        "plots": "artifacts/plots/pretrain.csv",
    },
    run=run,
    ranks="group",
)
