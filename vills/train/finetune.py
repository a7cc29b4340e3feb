"""Fine-tuning (supplement 1): cross-entropy and triplet loss on a pre-trained backbone.

One model per initialisation (pre-trained, published or fresh weights) and split, one after the
other. The last epoch is kept, whatever the accuracy of the others was. Any number of processes: a
batch is global, they share its rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig, count_epochs, list_variants
from vills.data.reid import ReidData
from vills.data.samplers import check_num_ids
from vills.distributed import barrier, get_device, init_process_group, is_main
from vills.interrupt import InterruptFlag
from vills.io import save_json
from vills.models.backbone import Backbone
from vills.models.published import LoadReport, load_published
from vills.models.reid import ReidModel
from vills.models.weights import build_backbone, load_backbone, load_description, save_reid
from vills.progress import Progress
from vills.runner.store.journal import Journal
from vills.train.checkpoint import FOLDER, load_checkpoint
from vills.train.consensus import set_determinism
from vills.train.finetuning import Evaluate, FinetuneFiles, Finetuning, Point

ACCURACY = "accuracy.json"
PUBLISHED = "published.json"


def run_finetune(
    config: FinetuneConfig,
    *,
    model_folder: Path,
    data: Mapping[int, ReidData],
    evaluate: Evaluate,
    work: Path,
    out: Path,
    journal: Journal,
    guard: Callable[[], None],
    published: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
    workers: int = 0,
    cache_mb: float = 0.0,
    checkpoint_minutes: float = 5.0,
) -> None:
    """Fine-tune every variant, each from its newest checkpoint, and export them to `out`.

    Args:
        config: parameters of the stage; batches are global.
        model_folder: what pre-training wrote: folders teacher and student.
        data: the data set's splits by number, for every one of `config.split_ids`.
        evaluate: accuracy of a model on a split; it selects nothing. All ranks call it.
        work: this run's folder for checkpoints, shared by all ranks.
        out: gets <variant>/model.safetensors and model.json, accuracy.json (variant -> list of
            `Point`), and published.json (what was loaded of published files). Rank 0 alone writes.
        journal: metrics by epoch under the variant's name, rewound to the checkpoint; by rank 0.
        guard: raises if another attempt owns the run; called before every commit.
        published: files of `config.published` by name.
        progress: called with (text, steps done, steps in all).
        workers: loader processes; they change nothing but speed.
        cache_mb: memory for decoded images.
        checkpoint_minutes: longest time between checkpoints, which change no bit.

    Raises:
        ConfigError: if the data do not suffice, or a batch does not divide by the world size.
        InterruptedRunError: after SIGTERM or SIGUSR2 in any rank, once a checkpoint is written.
        NonFiniteError: if a loss is NaN or inf on any rank.
        WeightsError: if weights to start from are missing, damaged or of another architecture.
    """
    init_process_group()
    set_determinism(config.threads_per_rank)
    files = FinetuneFiles(work, journal, guard, checkpoint_minutes)
    loading = {"workers": workers, "cache_mb": cache_mb}
    starts: dict[str, Any] = {"model_folder": model_folder, "published": published or {}}
    reports = _check_starts(config, data, **starts)
    _rewind(config, files)
    accuracy = {}
    with InterruptFlag() as flag:
        for number, variant in enumerate(list_variants(config)):
            split = data[variant.split_id]
            model = build_model(config, variant.initialisation, num_ids=split.num_ids, **starts)
            run = Finetuning(config, number, model=model, data=split, files=files, loading=loading)
            run.train(flag, evaluate=evaluate, progress=progress)
            if is_main():
                save_reid(run.model, out / variant.name, trained=config)
            accuracy[variant.name] = run.accuracy
    if is_main():
        _save_results(out, accuracy, reports, guard=guard)
    barrier()


def _check_starts(
    config: FinetuneConfig, data: Mapping[int, ReidData], **starts: Any
) -> dict[str, LoadReport]:
    """Meet what is wrong with the last model now, not after days of training the first.

    Returns:
        What was loaded of published files and what stays random, by initialisation.
    """
    for split in data.values():
        check_num_ids(config.num_ids, people=split.num_ids)
    names = [name for name in config.initialisations if name in config.published]
    reports = {name: _build_backbone(config, name, **starts)[1] for name in names}
    return {name: report for name, report in reports.items() if report is not None}


def _save_results(
    out: Path,
    accuracy: Mapping[str, list[Point]],
    reports: Mapping[str, LoadReport],
    *,
    guard: Callable[[], None],
) -> None:
    guard()
    save_json(out / ACCURACY, accuracy)
    if reports:
        save_json(out / PUBLISHED, {name: asdict(row) for name, row in reports.items()})


def _rewind(config: FinetuneConfig, files: FinetuneFiles) -> None:
    """Take the journal back to the newest checkpoint: epochs of all variants up to it."""
    position = 0
    variants = list_variants(config)
    for number in reversed(range(len(variants))):
        state = load_checkpoint(files.work / variants[number].name / FOLDER)
        if state is not None:
            position = count_epochs(config, number) + int(state["epoch"])
            break
    if is_main():
        files.journal.rewind(position)


def build_model(
    config: FinetuneConfig,
    initialisation: str,
    *,
    model_folder: Path,
    num_ids: int,
    published: Mapping[str, Path] | None = None,
) -> ReidModel:
    """Build a backbone with the weights of an initialisation, and a new neck and classifier.

    Args:
        config: parameters of the stage.
        initialisation: pretrained, scratch, or a name of `config.published`.
        model_folder: what pre-training wrote; all initialisations share its architecture.
        num_ids: people of the training split.
        published: files of `config.published` by name.

    Raises:
        ConfigError: if a data set meets a picture of a size that the encoder cannot cut.
        WeightsError: if weights are missing, damaged or of another architecture.
    """
    folder = model_folder / config.network
    patch = load_description(folder)["architecture"]["model"]["patch_size"]
    if any(side % patch for side in config.input_size):
        raise ConfigError(
            f"finetune.*.input_size = {list(config.input_size)} is not allowed. Allowed: [height, "
            f"width], multiples of the encoder's patch size {patch}. What to do: round both "
            "numbers."
        )
    backbone, _ = _build_backbone(
        config, initialisation, model_folder=model_folder, published=published or {}
    )
    # Seeded again: neck and classifier then start alike for every initialisation.
    torch.manual_seed(config.seed)
    return ReidModel(
        backbone,
        num_ids=num_ids,
        modality=config.modality,
        neck=config.neck,
        drop_path=config.drop_path,
    ).to(get_device())


def _build_backbone(
    config: FinetuneConfig, name: str, *, model_folder: Path, published: Mapping[str, Path]
) -> tuple[Backbone, LoadReport | None]:
    """Build the backbone of an initialisation, and say what of a published file is in it.

    pretrained: E and R of the pre-training. scratch: fresh weights of the seed. Else E from the
    published file of that name, and a fresh R. All have the architecture of the pre-training.
    """
    folder = model_folder / config.network
    if name == "pretrained":
        return load_backbone(folder), None
    description = load_description(folder)
    torch.manual_seed(config.seed)
    backbone = build_backbone(description)
    if name == "scratch":
        return backbone, None
    layout, normalisation = config.published[name].layout, config.published[name].normalisation
    return backbone, load_published(
        backbone.encoder, published[name], layout=layout, normalisation=normalisation
    )
