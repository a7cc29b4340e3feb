"""Stage pretrain: self-supervised pre-training on images and videos (eq. 6 to 12)."""

from pathlib import Path
from typing import TYPE_CHECKING

from vills.config.pretrain import PretrainConfig
from vills.curves import load_curves, save_curves
from vills.io import load_json
from vills.pipeline import (
    ARTIFACTS,
    Stage,
    StageContext,
    count_loaders,
    get_share,
    list_weights,
)
from vills.runner.store.journal import load_journal

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
    if not config.enabled:
        if get_share()[0] == 0:
            context.save_switched_off()
        return
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
        told = load_journal(context.journal.path)
        records = ((record.step, record.metrics) for record in (*told.committed, *told.pending))
        save_curves(context.outs["plots"], records)
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
    """Every source for pre-training; what a record is says which modality it serves."""
    from vills.data.pretrain_sources import PretrainData, load_pretrain_source

    lse = context.inputs.get("lse")
    sources = [
        load_pretrain_source(path.parent, lse=lse and lse / path.parent.name)
        for path in sorted(context.inputs["curated"].glob("*/report.json"))
        if load_json(path, "role", remedy="run the curate stage again")["role"] != "reid"
    ]
    return PretrainData(sources, sources, config=config, cache_mb=CACHE_MB)


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    if not params.pretrain.enabled:
        return {}
    inputs = {"curated": ARTIFACTS / "curated"}
    if params.pretrain.areas:
        inputs["lse"] = ARTIFACTS / "lse"
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
    is_enabled=lambda params: params.pretrain.enabled,
    ranks="group",
)
