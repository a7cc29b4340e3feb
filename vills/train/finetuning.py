"""One fine-tuning: its state between two batches, its optimizer, and its rate at a step."""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vills.config.finetune import FinetuneConfig, count_epochs, list_variants
from vills.data.finetune_loading import FinetuneLoader
from vills.data.loading import ReidBatch
from vills.data.reid import ReidData
from vills.distributed import (
    average_gradients,
    get_device,
    get_rank,
    get_world_size,
    is_main,
    reduce_mean,
)
from vills.interrupt import InterruptedRunError, InterruptFlag
from vills.losses.reid import IdentityLoss, TripletLoss
from vills.models.reid import ReidModel
from vills.progress import Progress
from vills.runner.store.journal import Journal
from vills.train.checkpoint import FOLDER, load_checkpoint, save_checkpoint
from vills.train.consensus import check_finite, compute_any, compute_requeue
from vills.train.param_groups import build_finetune_groups
from vills.train.schedules import compute_warmup_cosine

Evaluate = Callable[[ReidModel, int], Mapping[str, float]]
"""(model, split) -> accuracy by name."""
Point = dict[str, float | str]
"""{epoch, people (val or test), **accuracy}."""


@dataclass(frozen=True)
class FinetuneFiles:
    """Where one run keeps its state, and how often."""

    work: Path
    """Checkpoints, a folder per variant."""
    journal: Journal
    """Metrics by epoch, under the variant's name."""
    guard: Callable[[], None]
    """Raises if another attempt owns the run; called before every commit."""
    checkpoint_minutes: float
    """Longest time between checkpoints within an epoch (0: after every batch)."""
    journalled: Collection[tuple[str, int]] = ()
    """Variants and epochs that the journal tells of: an epoch that is trained again, since the
    checkpoint behind it was damaged, must not stand there twice."""


class Finetuning:
    """One variant's training, between two batches."""

    def __init__(
        self,
        config: FinetuneConfig,
        number: int,
        *,
        model: ReidModel,
        data: ReidData,
        files: FinetuneFiles,
        loading: Mapping[str, Any],
    ) -> None:
        """Build loader, losses and optimizer around `model`, for variant `number`.

        `loading` holds what only changes the speed of `FinetuneLoader`.
        """
        self.variant = list_variants(config)[number]
        self.config, self.model = config.build_for(self.variant.initialisation), model
        self.epoch = 0
        self.accuracy: list[Point] = []
        self._epochs_before = count_epochs(config, number)
        self._epochs_in_all = count_epochs(config, len(list_variants(config)))
        self._batch = 0
        self._sums: dict[str, float] = {}
        self._files = files
        self._loader = FinetuneLoader(
            data,
            config=config,
            rank=get_rank(),
            world_size=get_world_size(),
            **loading,
        )
        self._identity = IdentityLoss(label_smoothing=config.label_smoothing)
        self._triplet = TripletLoss(margin=config.triplet_margin, scale=config.triplet_scale)
        self._optimizer = build_optimizer(model, self.config)
        self._last_commit = time.monotonic()

    def train(self, flag: InterruptFlag, *, evaluate: Evaluate, progress: Progress | None) -> None:
        """Train from the newest checkpoint to the last epoch.

        Raises:
            InterruptedRunError: if `flag` is raised in any rank, after a checkpoint.
            NonFiniteError: if a loss is NaN or inf on any rank.
        """
        self.restore()
        while self.epoch < self.config.epochs:
            self.train_epoch(flag, progress)
            self.finish_epoch(evaluate)

    def restore(self) -> None:
        """Load the newest checkpoint, if there is one; any world size can."""
        state = load_checkpoint(self._folder)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch, self._batch = state["epoch"], state["batch"]
        self.accuracy, self._sums = state["accuracy"], state["sums"]

    def train_epoch(self, flag: InterruptFlag, progress: Progress | None) -> None:
        """Train the rest of the current epoch, with a checkpoint every `checkpoint_minutes`.

        Raises:
            InterruptedRunError: if `flag` is raised in any rank, after a checkpoint.
        """
        self._commit_if_due(flag)
        self.model.train()
        with closing(self._loader.epoch(self.epoch, start=self._batch)) as batches:
            for batch in batches:
                loss = self._train_batch(batch.to(get_device()))
                self._batch += 1
                if progress is not None and is_main():
                    self._say(progress, loss)
                if self._batch < self._loader.num_batches:
                    self._commit_if_due(flag)

    def finish_epoch(self, evaluate: Evaluate) -> None:
        """Close an epoch: journal its losses, measure accuracy if it is time, checkpoint."""
        means = {f"loss/{k}": v / self._loader.num_batches for k, v in self._sums.items()}
        self.epoch, self._batch, self._sums = self.epoch + 1, 0, {}
        every = self.config.eval_epochs
        if self.epoch == self.config.epochs or (every and self.epoch % every == 0):
            self.model.eval()
            found = evaluate(self.model, self.variant.split_id)
            scores = {name: float(value) for name, value in found.items()}
            people = self.config.accuracy_people
            self.accuracy.append({"epoch": self.epoch, "people": people, **scores})
            means |= {f"accuracy/{people}/{name}": value for name, value in scores.items()}
        if is_main() and (self.variant.name, self.epoch) not in self._files.journalled:
            self._files.journal.log(self.epoch, means, context=self.variant.name)
        self._commit()

    @property
    def _folder(self) -> Path:
        return self._files.work / self.variant.name / FOLDER

    def _train_batch(self, batch: ReidBatch) -> float:
        """One step; returns the total loss over all ranks."""
        steps = self._loader.num_batches
        rate = compute_rate(self.config, self.epoch * steps + self._batch, steps_per_epoch=steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        terms = self._compute_terms(batch)
        where = f"batch {self._batch} of epoch {self.epoch + 1} ({self.variant.name})"
        check_finite(terms, batch=where, remedy="finetune.*.lr")
        weights = {
            "identity": self.config.identity_weight,
            "triplet": self.config.triplet_weight,
        }
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        self._optimizer.zero_grad()
        torch.autograd.backward(total)
        average_gradients(self.model.parameters())
        self._optimizer.step()
        values = reduce_mean(torch.stack([*terms.values(), total])).tolist()
        for name, value in zip((*terms, "total"), values, strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + value
        return float(values[-1])

    def _compute_terms(self, batch: ReidBatch) -> dict[str, Tensor]:
        """Return this rank's share of every term whose weight is not 0."""
        feature, logits = self.model(batch.inputs, batch.keys)
        terms = {}
        if self.config.identity_weight:
            terms["identity"] = self._identity(logits, batch.pids)
        if self.config.triplet_weight:
            terms["triplet"] = self._triplet(feature, batch.pids)
        return terms

    def _commit_if_due(self, flag: InterruptFlag) -> None:
        waited = time.monotonic() - self._last_commit >= 60 * self._files.checkpoint_minutes
        due, stop = compute_any([waited, flag.is_set], device=get_device())
        if due or stop:
            self._commit()
        if stop:
            raise InterruptedRunError(
                f"stopped in epoch {self.epoch + 1} of {self.config.epochs} "
                f"({self.variant.name}) on request; checkpoint written. What to do: give the same "
                "command again to continue.",
                wants_requeue=compute_requeue(flag, device=get_device()),
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
        epochs = self._epochs_before + self.epoch
        if is_main():
            state["journal"] = self._files.journal.render_commit(epochs)
        step = self.epoch * self._loader.num_batches + self._batch
        save_checkpoint(self._folder, state, step=step, guard=self._files.guard)
        if is_main():
            self._files.journal.mark_checkpoint(epochs)
        self._last_commit = time.monotonic()

    def _say(self, progress: Progress, loss: float) -> None:
        steps = self._loader.num_batches
        done = (self._epochs_before + self.epoch) * steps + self._batch
        text = f"{self.variant.name}, epoch {self.epoch + 1}, loss {loss:.3f}"
        progress(text, done, self._epochs_in_all * steps)


def build_optimizer(model: ReidModel, config: FinetuneConfig) -> torch.optim.Optimizer:
    """Build SGD with momentum 0.9, Adam (decay as part of the gradient, as CAL's), or AdamW.

    The rate is set before every step: `compute_rate` times a group's `lr_scale`.
    """
    groups = build_finetune_groups(
        model,
        num_blocks=model.backbone.encoder.depth,
        layer_decay=config.layer_decay,
        weight_decay=config.weight_decay,
        bias_lr_factor=config.bias_lr_factor,
    )
    # fused: one pass over all parameters instead of an operation per tensor and term
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, fused=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def compute_rate(config: FinetuneConfig, step: int, *, steps_per_epoch: int) -> float:
    """Compute the rate at a step: a linear warm-up, then a cosine to 0 or steps at milestones.

    A milestone m is met once m epochs are done (torch's MultiStepLR, CAL's and SINet's), also
    within the warm-up.
    """
    warmup_steps = round(min(config.warmup_epochs, config.epochs) * steps_per_epoch)
    if config.schedule == "cosine":
        return compute_warmup_cosine(
            step,
            peak=config.lr,
            end=0.0,
            warmup_steps=warmup_steps,
            num_steps=config.epochs * steps_per_epoch,
        )
    warmup = min((step + 1) / warmup_steps, 1.0) if warmup_steps else 1.0
    passed = sum(step >= milestone * steps_per_epoch for milestone in config.milestones)
    return config.lr * warmup * config.gamma**passed
