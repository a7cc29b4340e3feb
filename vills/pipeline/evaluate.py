"""Stage evaluate@data set: retrieval scores of the fine-tuned models beside baselines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.config.evaluate import EvaluateConfig
from vills.config.finetune import FinetuneConfig
from vills.pipeline import (
    ARTIFACTS,
    Stage,
    StageContext,
    get_metrics_path,
    get_plots_path,
    get_weights_path,
)

if TYPE_CHECKING:
    from vills.config.params import Params
    from vills.evaluation.baselines import Model

ROWS = {"pretrained": "finetuned", "scratch": "scratch"}
"""Initialisation of a fine-tuned model -> its row in the tables."""


def run(context: StageContext) -> None:
    """Score every model under every protocol."""
    from vills.data.reid import load_reid_data
    from vills.evaluation.evaluate import evaluate_dataset

    trained = context.config("finetune", FinetuneConfig)
    curated = context.inputs["curated"] / context.item
    results = evaluate_dataset(
        context.config("evaluate", EvaluateConfig),
        data=load_reid_data(curated, modality=trained.modality),
        models=build_models(context, trained),
        input_size=trained.input_size,
        out=context.outs["evaluate"],
        work=context.work / "rows",
        progress=context.progress,
    )
    scores: dict[str, dict[str, Any]] = {}
    lines = ["protocol,model,rank,share"]
    for row in results["rows"]:
        name, protocol = str(row["row"]), str(row["protocol"])
        values = {k: v for k, v in row.items() if k not in ("row", "protocol")}
        scores.setdefault(protocol, {})[name] = {key: values[key] for key in ("mAP", "R-1")}
        ranks = [key for key in values if key.startswith("R-")]
        lines += [f"{protocol},{name},{rank[2:]},{values[rank]}" for rank in ranks]
    context.outs["plots"].parent.mkdir(parents=True, exist_ok=True)
    context.outs["plots"].write_text("\n".join(lines) + "\n")
    context.save_metrics({"scores": {context.item: scores}})


def build_models(context: StageContext, trained: FinetuneConfig) -> dict[str, "Model"]:
    """Rows of the table: baselines, then the fine-tuned models."""
    from vills.evaluation.baselines import build_baselines
    from vills.models.weights import load_backbone, load_reid

    tuned = {
        ROWS[name]: load_reid(context.inputs["finetune"] / name).eval()
        for name in reversed(trained.initialisations)
    }
    baselines = build_baselines(
        context.config("evaluate", EvaluateConfig),
        reference=next(iter(tuned.values())),
        pretrained=load_backbone(context.inputs["pretrain"] / trained.network).eval(),
        onnx_path=context.inputs.get("onnx_weights"),
    )
    return {**baselines, **tuned}


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    inputs = {
        "curated": ARTIFACTS / "curated",
        "finetune": ARTIFACTS / "finetune" / item,
        "pretrain": ARTIFACTS / "pretrain",
    }
    if params.evaluate[item].onnx_weights:
        inputs["onnx_weights"] = get_weights_path(params.evaluate[item].onnx_weights)
    return inputs


def _items(params: "Params") -> tuple[str, ...]:
    return tuple(params.evaluate)


STAGE = Stage(
    name="evaluate",
    sections=("evaluate.{item}", "finetune.{item}"),
    inputs=_inputs,
    outs=lambda item: {
        "evaluate": ARTIFACTS / "evaluate" / item,
        "metrics": get_metrics_path("evaluate", item),
        "plots": get_plots_path("evaluate", item),
    },
    run=run,
    summary="Retrieval scores of the fine-tuned models beside baselines",
    items=_items,
)
