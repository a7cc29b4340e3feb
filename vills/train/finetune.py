"""Fine-tuning (supplement 1): cross-entropy and triplet loss on a pre-trained backbone.

One model per initialisation and split, one after the other. The last epoch is kept, whatever the
accuracy of the others was. Any number of processes: a batch is global, they share its rows.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vills.config.finetune import FinetuneConfig, count_epochs, list_variants
from vills.data.pk_sampler import check_num_ids
from vills.data.reid import ReidData
from vills.distributed import barrier, init_process_group, is_main
from vills.models.published import LoadReport
from vills.models.weights import export_reid
from vills.runner.store.interrupt import InterruptFlag
from vills.runner.store.journal import Journal
from vills.train.checkpoint import FOLDER, load_checkpoint
from vills.train.determinism import set_determinism
from vills.train.finetune_model import build_model, check_published
from vills.train.finetuning import Evaluate, FinetuneFiles, Finetuning, Point
from vills.train.monitor import Progress
from vills.train.results import save_json

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
        out: gets <variant>/model.safetensors and model.json, accuracy.json (variant -> `Point`s)
            and published.json (what was loaded). Rank 0 alone writes, here and in the journal.
        journal: metrics by epoch under the variant's name, rewound to the checkpoint.
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
                export_reid(run.model, out / variant.name)
            accuracy[variant.name] = run.accuracy
    if is_main():
        _save_results(out, accuracy, reports, guard=guard)
    barrier()


def _check_starts(
    config: FinetuneConfig, data: Mapping[int, ReidData], **starts: Any
) -> dict[str, LoadReport]:
    """What is wrong with the last model should not be met after days of training the first."""
    for split in data.values():
        check_num_ids(config.num_ids, people=split.num_ids)
    return check_published(config, **starts)


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
        save_json(out / PUBLISHED, {name: row.build_row() for name, row in reports.items()})


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
