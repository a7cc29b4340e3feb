"""Fine-tuning (supplement 1): cross-entropy and triplet loss on a pre-trained backbone.

One model per initialisation (pre-trained, published or fresh weights) and split, one after the
other. The last epoch is kept, whatever the accuracy of the others was. Any number of processes: a
batch is global, they share its rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig, list_variants
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
from vills.runner.store.journal import Journal, load_journal
from vills.train.checkpoint import FOLDER, load_checkpoint
from vills.train.consensus import set_determinism
from vills.train.finetuning import Evaluate, FinetuneFiles, Finetuning, Point

ACCURACY = "accuracy.json"
PUBLISHED = "published.json"


@dataclass(frozen=True)
class Starts:
    """What models start from, and what they are: all of one fine-tuning share an architecture."""

    model_folder: Path | None = None
    """What pre-training wrote: folders teacher and student; None if no model starts from it."""
    architecture: Mapping[str, Any] | None = None
    """As `describe_architecture`; None: that of `model_folder`."""
    published: Mapping[str, Path] = field(default_factory=dict)
    """Files of `config.published` by name."""

    def find_architecture(self, network: str) -> Mapping[str, Any]:
        """Find what all models are: what is asked for, and what pre-training wrote if it is read.

        Raises:
            ConfigError: if the two differ.
        """
        asked = self.architecture
        if self.model_folder is None:
            assert asked is not None, "nothing else says what the models are"
            return asked
        written: dict[str, Any] = load_description(self.model_folder / network)["architecture"]
        if asked is not None and asked != written:
            flat = [{**entry, **entry["model"]} for entry in (asked, written)]
            keys = sorted(key for key in flat[0] if key != "model" and flat[0][key] != flat[1][key])
            differ = ", ".join(f"{key} {flat[1][key]}, not {flat[0][key]}" for key in keys)
            raise ConfigError(
                f"{self.model_folder / network} is no model of params.yaml's pretrain.model, areas "
                f"and modalities: it has {differ}. Allowed: the same. What to do: run pretrain "
                "again, or set them back."
            )
        return written


def run_finetune(
    config: FinetuneConfig,
    *,
    starts: Starts,
    data: Mapping[int, ReidData],
    evaluate: Evaluate,
    work: Path,
    out: Path,
    journal: Journal,
    guard: Callable[[], None],
    progress: Progress | None = None,
    workers: int = 0,
    cache_mb: float = 0.0,
    checkpoint_minutes: float = 5.0,
) -> None:
    """Fine-tune every variant, each from its newest checkpoint, and export them to `out`.

    Args:
        config: parameters of the stage; batches are global.
        starts: what models start from.
        data: the data set's splits by number, for every one of `config.split_ids`.
        evaluate: accuracy of a model on a split; it selects nothing. All ranks call it.
        work: this run's folder for checkpoints, shared by all ranks.
        out: gets <variant>/model.safetensors and model.json, accuracy.json (variant -> list of
            `Point`), and published.json (what was loaded of published files). Rank 0 alone writes.
        journal: metrics by epoch under the variant's name, restored from the checkpoint; by rank 0.
        guard: raises if another attempt owns the run; called before every commit.
        progress: called with (text, steps done, steps in all).
        workers: loader processes; they change nothing but speed.
        cache_mb: memory for decoded images.
        checkpoint_minutes: longest time between checkpoints, which change no bit.

    Raises:
        ConfigError: if the data do not suffice, a batch does not divide by the world size, or
            pre-training wrote another architecture.
        InterruptedRunError: after SIGTERM or SIGUSR2 in any rank, once a checkpoint is written.
        NonFiniteError: if a loss is NaN or inf on any rank.
        WeightsError: if weights to start from are missing, damaged or of another architecture.
    """
    init_process_group()
    set_determinism(config.threads_per_rank)
    loading = {"workers": workers, "cache_mb": cache_mb}
    reports = _check_starts(config, data, starts)
    known = _rewind(config, work, journal)
    files = FinetuneFiles(work, journal, guard, checkpoint_minutes, known)
    accuracy = {}
    with InterruptFlag() as flag:
        for number, variant in enumerate(list_variants(config)):
            split = data[variant.split_id]
            name = variant.initialisation
            model = build_model(config, name, starts=starts, num_ids=split.num_ids)
            run = Finetuning(config, number, model=model, data=split, files=files, loading=loading)
            run.train(flag, evaluate=evaluate, progress=progress)
            if is_main():
                save_reid(run.model, out / variant.name, trained=config)
            accuracy[variant.name] = run.accuracy
    if is_main():
        _save_results(out, accuracy, reports, guard=guard)
    barrier()


def _check_starts(
    config: FinetuneConfig, data: Mapping[int, ReidData], starts: Starts
) -> dict[str, LoadReport]:
    """Meet what is wrong with the last model now, not after days of training the first.

    Returns:
        What was loaded of published files and what stays random, by initialisation.
    """
    for split in data.values():
        check_num_ids(config.num_ids, people=split.num_ids)
    names = [name for name in config.initialisations if name in config.published]
    reports = {name: _build_backbone(config, name, starts)[1] for name in names}
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


def _rewind(config: FinetuneConfig, work: Path, journal: Journal) -> set[tuple[str, int]]:
    """Take the journal back to the newest checkpoint: epochs of all variants up to it.

    Returns:
        The variants and epochs of which it tells.
    """
    kept = ""
    variants = list_variants(config)
    for number in reversed(range(len(variants))):
        state = load_checkpoint(work / variants[number].name / FOLDER)
        if state is not None:
            kept = state["journal"]
            break
    if not is_main():
        return set()
    journal.restore(kept)
    told = load_journal(journal.path)
    records = (*told.committed, *told.pending)
    return {(name.split("/")[0], record.step) for record in records for name in record.metrics}


def build_model(
    config: FinetuneConfig, initialisation: str, *, starts: Starts, num_ids: int
) -> ReidModel:
    """Build a backbone with the weights of an initialisation, and a new neck and classifier.

    Args:
        config: parameters of the stage.
        initialisation: pretrained, scratch, or a name of `config.published`.
        starts: what models start from.
        num_ids: people of the training split.

    Raises:
        ConfigError: if a data set meets a picture of a size that the encoder cannot cut, or
            pre-training wrote another architecture.
        WeightsError: if weights are missing, damaged or of another architecture.
    """
    patch = starts.find_architecture(config.network)["model"]["patch_size"]
    if any(side % patch for side in config.input_size):
        raise ConfigError(
            f"finetune.*.input_size = {list(config.input_size)} is not allowed. Allowed: [height, "
            f"width], multiples of the encoder's patch size {patch}. What to do: round both "
            "numbers."
        )
    backbone, _ = _build_backbone(config, initialisation, starts)
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
    config: FinetuneConfig, name: str, starts: Starts
) -> tuple[Backbone, LoadReport | None]:
    """Build the backbone of an initialisation, and say what of a published file is in it.

    pretrained: E and R of the pre-training. scratch: fresh weights of the seed. Else E from the
    published file of that name, and a fresh R.
    """
    architecture = starts.find_architecture(config.network)
    if name == "pretrained":
        assert starts.model_folder is not None, "the stage reads it if a model starts from it"
        return load_backbone(starts.model_folder / config.network), None
    torch.manual_seed(config.seed)
    backbone = build_backbone({"architecture": architecture})
    if name == "scratch":
        return backbone, None
    entry = config.published[name]
    return backbone, load_published(
        backbone.encoder,
        starts.published[name],
        layout=entry.layout,
        normalisation=entry.normalisation,
    )
