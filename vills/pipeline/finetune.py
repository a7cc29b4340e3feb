"""Stage finetune@data set: supervised fine-tuning from several initialisations (supplement 1)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vills.config.finetune import FinetuneConfig
from vills.config.model import ModelConfig
from vills.pipeline import ARTIFACTS, Stage, StageContext, count_loaders, list_weights

CACHE_MB = 1024.0
"""Memory for decoded images; a small data set is then decoded once."""

if TYPE_CHECKING:
    from vills.config.params import Params
    from vills.models.reid import ReidModel


def run(context: StageContext) -> None:
    """Train one model per initialisation and split; accuracy is recorded and selects nothing."""
    from vills.data.reid import load_reid_data
    from vills.data.samplers import TrainingPeople
    from vills.distributed import barrier, init_process_group, is_main
    from vills.evaluation.accuracy import check_accuracy, compute_accuracy
    from vills.io import load_json, save_json
    from vills.models.weights import describe_architecture
    from vills.train.finetune import ACCURACY, Starts, run_finetune

    init_process_group()
    config = context.config("finetune", FinetuneConfig)
    folder = context.inputs["curated"] / config.source
    people = TrainingPeople(config.num_val_ids, config.num_train_ids, config.seed)
    data = {
        split_id: load_reid_data(folder, modality=config.modality, split_id=split_id, people=people)
        for split_id in config.split_ids
    }
    for split in data.values():
        check_accuracy(data=split, config=config)
    if is_main():
        context.progress("; ".join(split.describe() for split in data.values()), 0, 1)

    starts = Starts(
        context.inputs.get("pretrain"),
        describe_architecture(
            context.config("pretrain.model", ModelConfig),
            areas=context.sections["pretrain.areas"],
            video="video" in context.sections["pretrain.modalities"].split("+"),
        ),
        {name: context.inputs[f"published_{name}"] for name in _list_published(config)},
    )

    def evaluate(model: "ReidModel", split_id: int) -> dict[str, float]:
        return compute_accuracy(model, data=data[split_id], config=config)

    out = context.outs["finetune"]
    run_finetune(
        config,
        starts=starts,
        data=data,
        evaluate=evaluate,
        work=context.work,
        out=out,
        journal=context.journal,
        guard=context.guard,
        progress=context.progress,
        workers=count_loaders(),
        cache_mb=CACHE_MB,
        checkpoint_minutes=context.operation.checkpoint_minutes,
    )
    if is_main():
        save_json(out / "data.json", {str(k): split.describe() for k, split in data.items()})
        accuracy = load_json(out / ACCURACY)
        context.save_plot(_build_plot(accuracy))
        # of another name: scores of few held-out people do not compare with those of a test split
        name = {"test": "last", "val": "last_val"}[config.accuracy_people]
        context.save_metrics({name: {context.item: _get_last(accuracy)}})
    barrier()


def _get_last(
    accuracy: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, dict[str, float]]:
    """MAP and R-1 of the last epoch of every variant, where the protocol has them."""
    return {
        name: {key: curve[-1][key] for key in ("mAP", "R-1") if key in curve[-1]}
        for name, curve in accuracy.items()
    }


def _build_plot(accuracy: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[list[object]]:
    """Rows of all variants: the curves of supplement Fig. 2. An empty cell: not in the protocol."""
    yield ["initialisation", "epoch", "map", "rank1"]
    for name, curve in accuracy.items():
        for point in curve:
            cells = [f"{point[key]:.6f}" if key in point else "" for key in ("mAP", "R-1")]
            yield [name, int(point["epoch"]), *cells]


def _list_published(config: FinetuneConfig) -> list[str]:
    """Return the initialisations that come from published files."""
    return [name for name in config.initialisations if name in config.published]


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    inputs, config = {"curated": ARTIFACTS / "curated"}, params.finetune[item]
    if "pretrained" in config.initialisations:
        inputs["pretrain"] = ARTIFACTS / "pretrain"
    files = {f"published_{name}": config.published[name].file for name in _list_published(config)}
    return inputs | list_weights(**files)


STAGE = Stage(
    name="finetune",
    sections=("finetune.{item}", "pretrain.areas", "pretrain.modalities", "pretrain.model"),
    inputs=_inputs,
    publishes={
        "finetune": "artifacts/finetune/{item}",
        "metrics": "artifacts/metrics/finetune_{item}.json",
        "plots": "artifacts/plots/finetune_{item}.csv",
    },
    run=run,
    items=lambda params: tuple(params.finetune),
    ranks="group",
)
