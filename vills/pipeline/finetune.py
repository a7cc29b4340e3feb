"""Stage finetune@data set: supervised fine-tuning from several initialisations (supplement 1)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from vills.config.finetune import FinetuneConfig
from vills.pipeline import ARTIFACTS, Stage, StageContext, get_metrics_path, get_plots_path

CACHE_MB = 1024.0
"""Memory for decoded images; a small data set is then decoded once."""

if TYPE_CHECKING:
    from vills.config.params import Params
    from vills.models.reid import ReidModel


def run(context: StageContext) -> None:
    """Train one model per initialisation; accuracy per epoch is recorded and selects nothing."""
    from vills.data.reid import load_reid_data
    from vills.evaluation.accuracy import compute_accuracy
    from vills.train.finetune import run_finetune

    config = context.config("finetune", FinetuneConfig)
    data = load_reid_data(context.inputs["curated"] / context.item, modality=config.modality)

    def evaluate(model: "ReidModel") -> dict[str, float]:
        return compute_accuracy(model, data=data, config=config)

    out = context.outs["finetune"]
    run_finetune(
        config,
        model_folder=context.inputs["pretrain"],
        data=data,
        evaluate=evaluate,
        work=context.work,
        out=out,
        journal=context.journal,
        guard=context.guard,
        progress=context.progress,
        cache_mb=CACHE_MB,
    )
    accuracy = json.loads((out / "accuracy.json").read_text())
    _save_plot(context.outs["plots"], accuracy)
    last = {name: {k: curve[-1][k] for k in ("mAP", "R-1")} for name, curve in accuracy.items()}
    context.save_metrics({"last": {context.item: last}})


def _save_plot(path: Path, accuracy: dict[str, list[dict[str, float]]]) -> None:
    rows = ["initialisation,epoch,map,rank1"]
    for name, curve in accuracy.items():
        rows += [f"{name},{int(p['epoch'])},{p['mAP']:.6f},{p['R-1']:.6f}" for p in curve]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    return {"curated": ARTIFACTS / "curated", "pretrain": ARTIFACTS / "pretrain"}


def _items(params: "Params") -> tuple[str, ...]:
    return tuple(params.finetune)


STAGE = Stage(
    name="finetune",
    sections=("finetune.{item}",),
    inputs=_inputs,
    outs=lambda item: {
        "finetune": ARTIFACTS / "finetune" / item,
        "metrics": get_metrics_path("finetune", item),
        "plots": get_plots_path("finetune", item),
    },
    run=run,
    summary="Supervised fine-tuning from several initialisations",
    items=_items,
)
