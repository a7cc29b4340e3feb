"""Stage evaluate@data set: retrieval scores of fine-tuned models beside baselines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vills.config.checks import ConfigError
from vills.config.evaluate import EvaluateConfig
from vills.config.finetune import FinetuneConfig, Variant, list_variants
from vills.pipeline import ARTIFACTS, Stage, StageContext, get_share, list_weights

if TYPE_CHECKING:
    from vills.config.params import Params
    from vills.evaluation.baselines import ModelRow
    from vills.evaluation.evaluate import Results
    from vills.models.backbone import Backbone
    from vills.models.reid import ReidModel

    Model = TypeVar("Model", Backbone, ReidModel)

ROWS = {"pretrained": "finetuned"}
"""Initialisation of a fine-tuned model -> its row in the tables, where the two differ."""


def run(context: StageContext) -> None:
    """Score every model under every protocol, on every split."""
    from vills.distributed import barrier, init_process_group, is_main
    from vills.evaluation.entries import load_test_sets
    from vills.evaluation.evaluate import run_evaluation

    if get_share()[1] > 1:
        init_process_group()
    config = context.config("evaluate", EvaluateConfig)
    trained = context.config("finetune", FinetuneConfig)
    splits = load_test_sets(context.inputs["curated"] / config.source, split_ids=config.split_ids)
    results = run_evaluation(
        config,
        splits=splits,
        models=build_models(context, config, trained),
        input_size=trained.input_size,
        out=context.outs["evaluate"],
        work=context.work / "rows",
        progress=context.progress if is_main() else None,
        block_size=context.operation.block_size,
    )
    if is_main():
        _save_scores(context, config, results)
    barrier()


def _save_scores(context: StageContext, config: EvaluateConfig, results: "Results") -> None:
    """Save the few numbers that are compared between runs, and their plot."""
    headlines = select_headlines(results["rows"])
    context.save_plot(_build_plot(headlines))
    scores: dict[str, dict[str, Any]] = {}
    for row in headlines:
        values = {key: row[key] for key in ("mAP", "R-1") if row.get(key) is not None}
        scores.setdefault(str(row["protocol"]), {})[_name(row)] = values
    context.save_metrics({"model": config.model, "scores": {context.item: scores}})


def build_models(
    context: StageContext, config: EvaluateConfig, trained: FinetuneConfig
) -> "list[ModelRow]":
    """Rows of the tables: baselines, then the fine-tuned models, best known start last."""
    from vills.evaluation.baselines import ModelRow, build_baselines
    from vills.models.weights import load_backbone, load_reid

    folder = context.inputs["finetune"]
    variants = list_variants(trained)
    tuned = []
    for initialisation in reversed(trained.initialisations):
        own = [variant for variant in variants if variant.initialisation == initialisation]
        for variant, splits in select_variants(
            own,
            config.split_ids,
            same=trained.source == config.source,
            item=context.item,
            model=config.model,
        ):
            tuned.append(
                ModelRow(
                    ROWS.get(initialisation, initialisation),
                    partial(_load, load_reid, folder / variant.name),
                    splits,
                    keep_features=True,
                )
            )
    pretrained = context.inputs.get("pretrain")
    baselines = build_baselines(
        config,
        load_reference=partial(_load, load_reid, folder / variants[0].name),
        load_pretrained=partial(_load, load_backbone, pretrained / trained.network)
        if pretrained
        else None,
        onnx_path=context.inputs.get("onnx_weights"),
    )
    return [*baselines, *tuned]


def select_variants(
    variants: Sequence[Variant], split_ids: Sequence[int], *, same: bool, item: str, model: str
) -> list[tuple[Variant, tuple[int, ...]]]:
    """Which model of one initialisation scores which splits; () = all.

    Args:
        variants: models of one initialisation.
        split_ids: splits to score.
        same: whether the models were trained on the data set that is scored.
        item: entry of evaluate that is scored.
        model: entry of finetune that trained them.

    Raises:
        ConfigError: a split that no model was trained on: people whom another split tests are
            people that this one trains on.
    """
    if not same:
        return [(variants[0], ())]
    by_split = {variant.split_id: variant for variant in variants}
    missing = [split for split in split_ids if split not in by_split]
    if missing:
        raise ConfigError(
            f"evaluate.{item}.split_ids has {missing}, on which finetune.{model} was not trained. "
            f"Allowed: {sorted(by_split)}, since a model of another split was trained on test "
            f"people of this one. What to do: add them to finetune.{model}.split_ids, or "
            f"set evaluate.{item}.model to another data set's."
        )
    return [(by_split[split], (split,)) for split in split_ids]


def select_headlines(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One row per model, protocol and re-ranking: the mean where splits or galleries are averaged.

    DVC and MLflow compare a few numbers; results.json has all.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (str(row["protocol"]), str(row["row"]), str(row["rerank"]))
        groups.setdefault(key, []).append(row)
    # means stand behind what they average
    return [group[-1] for group in groups.values()]


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['row']}_reranked" if row["rerank"] == "on" else str(row["row"])


def _build_plot(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[object]]:
    yield ["protocol", "model", "rank", "share"]
    for row in rows:
        for key, share in row.items():
            if key.startswith("R-") and key[2:].isdigit() and share is not None:
                yield [row["protocol"], _name(row), key[2:], share]


def _load(load: "Callable[[Path], Model]", folder: Path) -> "Model":
    from vills.distributed import get_device

    return load(folder).to(get_device()).eval()


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    config = params.evaluate[item]
    inputs = {
        "curated": ARTIFACTS / "curated",
        "finetune": ARTIFACTS / "finetune" / config.model,
    }
    if "pretrained" in config.baselines:
        inputs["pretrain"] = ARTIFACTS / "pretrain"
    return inputs | list_weights(onnx_weights=config.onnx_weights)


STAGE = Stage(
    name="evaluate",
    sections=("evaluate.{item}", "finetune.{model}"),
    inputs=_inputs,
    publishes={
        "evaluate": "artifacts/evaluate/{item}",
        "metrics": "artifacts/metrics/evaluate_{item}.json",
        "plots": "artifacts/plots/evaluate_{item}.csv",
    },
    run=run,
    items=lambda params: tuple(params.evaluate),
    ranks="group",
    names=lambda params, item: {"model": params.evaluate[item].model},
)
