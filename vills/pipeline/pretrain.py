"""Stage pretrain: self-supervised pre-training on images and videos (eq. 6 to 12)."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.config.pretrain import PretrainConfig
from vills.data.pretraining import PretrainData, load_pretrain_data
from vills.pipeline import ARTIFACTS, Stage, StageContext, get_metrics_path, get_plots_path
from vills.tracking.curves import save_curves
from vills.train.pretrain import run_pretrain

if TYPE_CHECKING:
    from vills.config.params import Params


def run(context: StageContext) -> None:
    """Train, export student and teacher, and state how healthy it was."""
    config = context.config("pretrain", PretrainConfig)
    data: PretrainData = load_pretrain_data(
        curated=context.inputs["curated"], lse=context.inputs["lse"], config=config
    )
    out = context.outs["pretrain"]
    run_pretrain(
        config,
        data=data,
        work=context.work,
        out=out,
        journal=context.journal,
        guard=context.guard,
        progress=context.progress,
        workers=int(os.environ.get("VILLS_WORKERS", "0")),
    )
    save_curves(context.outs["plots"], context.journal)
    health: dict[str, Any] = json.loads((out / "health.json").read_text())
    context.save_metrics({"images": data.num_images, "videos": data.num_videos, "health": health})


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    return {"curated": ARTIFACTS / "curated", "lse": ARTIFACTS / "lse"}


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
    distributed=True,
)
