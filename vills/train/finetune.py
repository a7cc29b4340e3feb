"""Fine-tuning (supplement 1): cross-entropy and triplet loss on the teacher's backbone.

One process: a ReID data set and its batch of 64 fit one GPU, and batch-hard mining wants the whole
batch in one place. The last epoch is kept, whatever the test accuracy of the others was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.config.model import ModelConfig
from vills.data.batch import ReidBatch
from vills.data.reid import ReidData, build_finetune_loader
from vills.distributed import get_world_size
from vills.losses.reid import IdentityLoss, TripletLoss
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel
from vills.models.weights import export_reid, load_backbone, load_description
from vills.tracking.journal import Journal
from vills.train.checkpoint import FOLDER, load_checkpoint, save_checkpoint
from vills.train.consensus import check_finite
from vills.train.determinism import get_device, set_determinism
from vills.train.interrupt import InterruptedRunError, InterruptFlag
from vills.train.monitor import Progress
from vills.train.param_groups import build_finetune_groups
from vills.train.results import save_json
from vills.train.schedules import compute_warmup_cosine

Evaluate = Callable[[ReidModel], Mapping[str, float]]


@dataclass(frozen=True)
class FinetuneFiles:
    """Where one run keeps its state and its results."""

    work: Path
    """Checkpoints, a folder per initialisation."""
    out: Path
    """Gets <initialisation>/model.safetensors and model.json, and accuracy.json."""
    journal: Journal
    """Metrics by epoch, under the initialisation's name."""
    guard: Callable[[], None]
    """Raises if another attempt owns the run; called before every commit."""


def run_finetune(
    config: FinetuneConfig,
    *,
    model_folder: Path,
    data: ReidData,
    evaluate: Evaluate,
    work: Path,
    out: Path,
    journal: Journal,
    guard: Callable[[], None],
    progress: Progress | None = None,
    workers: int = 0,
    cache_mb: float = 0.0,
) -> None:
    """Fine-tune once per initialisation, each from its newest checkpoint, and export to `out`.

    Args:
        config: parameters of the stage.
        model_folder: what pre-training wrote: folders teacher and student. Training from scratch
            takes its architecture only.
        data: splits of the data set.
        evaluate: test accuracy of a model in evaluation mode; it selects nothing.
        work: this run's folder for checkpoints.
        out: gets models and accuracy.json: initialisation -> list of {epoch, **accuracy}.
        journal: metrics, rewound to the checkpoint.
        guard: raises if another attempt owns the run.
        progress: called with (text, steps done, steps in all).
        workers: loader processes; they change nothing but speed.
        cache_mb: memory for decoded images.

    Raises:
        InterruptedRunError: after SIGTERM or SIGUSR2, once a checkpoint is written.
        NonFiniteError: if a loss is NaN or inf.
    """
    assert get_world_size() == 1, "fine-tuning runs in one process"
    set_determinism(config.threads_per_rank)
    files = FinetuneFiles(work, out, journal, guard)
    loading = {"workers": workers, "cache_mb": cache_mb}
    accuracy: dict[str, list[dict[str, float]]] = {}
    journal.rewind(_find_position(config, work))
    with InterruptFlag() as flag:
        for name in config.initialisations:
            model = build_model(config, name, model_folder=model_folder, num_ids=data.num_ids)
            run = Finetuning(config, name, model=model, data=data, files=files, loading=loading)
            run.restore()
            while run.epoch < config.epochs:
                run.train_epoch(flag, progress)
                run.finish_epoch(evaluate)
            export_reid(run.model, out / name)
            accuracy[name] = run.accuracy
    guard()
    save_json(out / "accuracy.json", accuracy)


def build_model(
    config: FinetuneConfig, initialisation: str, *, model_folder: Path, num_ids: int
) -> ReidModel:
    """Backbone with pre-trained or seeded fresh weights, and a new neck and classifier.

    Raises:
        ConfigError: if a video data set meets a picture of a size that the encoder cannot cut.
        WeightsError: if the pre-trained weights are missing or damaged.
    """
    folder = model_folder / config.network
    architecture = load_description(folder)["architecture"]
    patch = architecture["model"]["patch_size"]
    if any(side % patch for side in config.input_size):
        raise ConfigError(
            f"finetune.*.input_size = {list(config.input_size)} is not allowed. Allowed: [height, "
            f"width], multiples of the encoder's patch size {patch}. What to do: round them."
        )
    torch.manual_seed(config.seed)
    backbone = Backbone(
        ModelConfig(**architecture["model"]),
        areas=architecture["areas"],
        video=architecture["video"],
    )
    if initialisation == "pretrained":
        backbone = load_backbone(folder)
    # Seeded again: neck and classifier then start alike for every initialisation.
    torch.manual_seed(config.seed)
    return ReidModel(
        backbone, num_ids=num_ids, modality=config.modality, drop_path=config.drop_path
    ).to(get_device())


class Finetuning:
    """One initialisation's training, between two batches."""

    def __init__(
        self,
        config: FinetuneConfig,
        name: str,
        *,
        model: ReidModel,
        data: ReidData,
        files: FinetuneFiles,
        loading: Mapping[str, Any],
    ) -> None:
        """Build loader, losses and optimizer around `model`."""
        self.config, self.name, self.model = config, name, model
        self.epoch = 0
        self.accuracy: list[dict[str, float]] = []
        self._batch = 0
        self._sums: dict[str, float] = {}
        self._files = files
        self._loader = build_finetune_loader(data, config=config, **loading)
        self._identity = IdentityLoss(label_smoothing=config.label_smoothing)
        self._triplet = TripletLoss(margin=config.triplet_margin)
        self._optimizer = build_optimizer(model, config)

    def restore(self) -> None:
        """Load the newest checkpoint, if there is one."""
        state = load_checkpoint(self._files.work / self.name / FOLDER)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch, self._batch = state["epoch"], state["batch"]
        self.accuracy, self._sums = state["accuracy"], state["sums"]

    def train_epoch(self, flag: InterruptFlag, progress: Progress | None) -> None:
        """Train the rest of the current epoch.

        Raises:
            InterruptedRunError: if `flag` is raised, after a checkpoint.
        """
        self._stop_if(flag)
        self.model.train()
        for batch in self._loader.epoch(self.epoch, start=self._batch):
            loss = self._train_batch(batch.to(get_device()))
            self._batch += 1
            if progress is not None:
                self._say(progress, loss)
            if self._batch < self._loader.num_batches:
                self._stop_if(flag)

    def finish_epoch(self, evaluate: Evaluate) -> None:
        """Close an epoch: journal its losses, measure accuracy if it is time, checkpoint."""
        means = {f"loss/{k}": v / self._loader.num_batches for k, v in self._sums.items()}
        self.epoch, self._batch, self._sums = self.epoch + 1, 0, {}
        every = self.config.eval_epochs
        if self.epoch == self.config.epochs or (every and self.epoch % every == 0):
            self.model.eval()
            scores = {name: float(value) for name, value in evaluate(self.model).items()}
            self.accuracy.append({"epoch": self.epoch, **scores})
            means |= {f"accuracy/{name}": value for name, value in scores.items()}
        self._files.journal.log(self.epoch, means, context=self.name)
        self._commit()

    def _train_batch(self, batch: ReidBatch) -> float:
        """One step; returns the total loss."""
        steps = self._loader.num_batches
        rate = compute_warmup_cosine(
            self.epoch * steps + self._batch,
            peak=self.config.lr,
            end=0.0,
            warmup_steps=round(min(self.config.warmup_epochs, self.config.epochs) * steps),
            num_steps=self.config.epochs * steps,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        feature, logits = self.model(batch.inputs, batch.keys)
        terms = {"identity": self._identity(logits, batch.pids)}
        total = terms["identity"]
        if self.config.triplet_weight:
            terms["triplet"] = self._triplet(feature, batch.pids)
            total = total + self.config.triplet_weight * terms["triplet"]
        where = f"batch {self._batch} of epoch {self.epoch + 1} ({self.name})"
        check_finite(terms, batch=where, remedy="finetune.*.lr")
        self._optimizer.zero_grad()
        total.backward()
        self._optimizer.step()
        for name, term in {**terms, "total": total}.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(term.detach())
        return float(total.detach())

    def _stop_if(self, flag: InterruptFlag) -> None:
        if flag.is_set:
            self._commit()
            raise InterruptedRunError(
                f"stopped in epoch {self.epoch + 1} of {self.config.epochs} ({self.name}) on "
                "request, checkpoint written. What to do: give the same command again to continue."
            )

    def _commit(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "epoch": self.epoch,
            "batch": self._batch,
            "accuracy": self.accuracy,
            "sums": self._sums,
        }
        step = self.epoch * self._loader.num_batches + self._batch
        folder = self._files.work / self.name / FOLDER
        save_checkpoint(folder, state, step=step, guard=self._files.guard)
        first = self.config.initialisations.index(self.name) * self.config.epochs
        self._files.journal.mark_checkpoint(first + self.epoch)

    def _say(self, progress: Progress, loss: float) -> None:
        steps, names = self._loader.num_batches, self.config.initialisations
        whole = self.config.epochs * steps
        done = names.index(self.name) * whole + self.epoch * steps + self._batch
        text = f"{self.name}, epoch {self.epoch + 1}, loss {loss:.3f}"
        progress(text, done, len(names) * whole)


def build_optimizer(model: ReidModel, config: FinetuneConfig) -> torch.optim.Optimizer:
    """SGD with momentum 0.9, or AdamW; the rate is set before every step."""
    groups = build_finetune_groups(
        model,
        num_blocks=model.backbone.encoder.depth,
        layer_decay=config.layer_decay,
        weight_decay=config.weight_decay,
    )
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=config.lr)


def _find_position(config: FinetuneConfig, work: Path) -> int:
    """Epochs of all initialisations up to the newest checkpoint: where the journal goes on."""
    for index in reversed(range(len(config.initialisations))):
        state = load_checkpoint(work / config.initialisations[index] / FOLDER)
        if state is not None:
            return index * config.epochs + int(state["epoch"])
    return 0
