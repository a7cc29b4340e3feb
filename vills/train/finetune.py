"""Fine-tuning (supplement 1): cross-entropy and triplet loss on a pre-trained backbone.

One model per initialisation and split, one after the other. The last epoch is kept, whatever the
test accuracy of the others was. Any number of processes: a batch is global, they share its rows.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from vills.config.finetune import FinetuneConfig, list_variants
from vills.data.reid import ReidData
from vills.distributed import barrier, init_process_group, is_main
from vills.models.weights import export_reid
from vills.tracking.journal import Journal
from vills.train.checkpoint import FOLDER, load_checkpoint
from vills.train.determinism import set_determinism
from vills.train.finetune_model import build_model, check_published
from vills.train.finetuning import Evaluate, FinetuneFiles, Finetuning
from vills.train.interrupt import InterruptFlag
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
) -> None:
    """Fine-tune every variant, each from its newest checkpoint, and export them to `out`.

    Args:
        config: parameters of the stage; batches are global.
        model_folder: what pre-training wrote: folders teacher and student. Training from scratch
            takes its architecture only.
        data: the data set's splits by number, for every one of `config.split_ids`.
        evaluate: test accuracy of a model in evaluation mode on a split; it selects nothing. All
            ranks call it.
        work: this run's folder for checkpoints, shared by all ranks.
        out: gets <variant>/model.safetensors and model.json, and accuracy.json: variant -> list of
            {epoch, **accuracy}; and published.json, what was loaded of each published file, if
            there are any. Rank 0 writes.
        journal: metrics by epoch under the variant's name, rewound to the checkpoint; rank 0
            writes.
        guard: raises if another attempt owns the run; called before every commit.
        published: files of `config.published` by name.
        progress: called with (text, steps done, steps in all).
        workers: loader processes; they change nothing but speed.
        cache_mb: memory for decoded images.

    Raises:
        ConfigError: if the data do not suffice, or a batch does not divide by the world size.
        InterruptedRunError: after SIGTERM or SIGUSR2 in any rank, once a checkpoint is written.
        NonFiniteError: if a loss is NaN or inf on any rank.
        WeightsError: if weights to start from are missing, damaged or of another architecture.
    """
    init_process_group()
    set_determinism(config.threads_per_rank)
    files = FinetuneFiles(work, journal, guard)
    accuracy: dict[str, list[dict[str, float]]] = {}
    paths = dict(published or {})
    reports = check_published(config, model_folder=model_folder, published=paths)
    position = _find_position(config, work)
    if is_main():
        journal.rewind(position)
    with InterruptFlag() as flag:
        for number, variant in enumerate(list_variants(config)):
            split = data[variant.split_id]
            model = build_model(
                config,
                variant.initialisation,
                model_folder=model_folder,
                num_ids=split.num_ids,
                published=paths,
            )
            run = Finetuning(
                config,
                number,
                model=model,
                data=split,
                files=files,
                workers=workers,
                cache_mb=cache_mb,
            )
            run.restore()
            while run.epoch < config.epochs:
                run.train_epoch(flag, progress)
                run.finish_epoch(evaluate)
            if is_main():
                export_reid(run.model, out / variant.name)
            accuracy[variant.name] = run.accuracy
    if is_main():
        guard()
        save_json(out / ACCURACY, accuracy)
        if reports:
            rows = {name: report.build_row() for name, report in reports.items()}
            save_json(out / PUBLISHED, rows)
    barrier()


def _find_position(config: FinetuneConfig, work: Path) -> int:
    """Epochs of all variants up to the newest checkpoint: where the journal goes on."""
    variants = list_variants(config)
    for number in reversed(range(len(variants))):
        state = load_checkpoint(work / variants[number].name / FOLDER)
        if state is not None:
            return number * config.epochs + int(state["epoch"])
    return 0
