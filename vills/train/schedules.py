"""Learning rate, weight decay, EMA momentum and temperature as pure functions of the step.

Nothing is stored, so a resumed run continues its curves by construction, whatever its world size.
"""

import math
from dataclasses import dataclass

from vills.config.pretrain import PretrainConfig

LR_BATCH = 256
"""`base_lr` is the rate at this many images (DINO's and PASS's linear rule)."""


def compute_cosine(step: int, *, start: float, end: float, num_steps: int) -> float:
    """Half a cosine from `start` at step 0 to `end` at the last step, num_steps - 1."""
    progress = min(step / max(num_steps - 1, 1), 1.0)
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress))


def compute_warmup_cosine(
    step: int, *, peak: float, end: float, warmup_steps: int, num_steps: int
) -> float:
    """Linear to `peak` over `warmup_steps`, then a cosine to `end` at the last step.

    The first step has the rate peak / warmup_steps: DINO's ramp starts at 0 and so wastes a step.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    rest = num_steps - warmup_steps
    return compute_cosine(step - warmup_steps, start=peak, end=end, num_steps=rest)


def compute_linear(step: int, *, start: float, end: float, num_steps: int) -> float:
    """From `start` at step 0 to `end` at step `num_steps`, and `end` from there on."""
    return end if step >= num_steps else start + (end - start) * step / num_steps


def compute_num_steps(config: PretrainConfig, *, steps_per_epoch: float) -> int:
    """Optimizer steps of the whole run: `epochs` passes, capped by `max_steps`."""
    steps = max(1, round(config.epochs * steps_per_epoch))
    return min(steps, config.max_steps) if config.max_steps else steps


@dataclass(frozen=True)
class Schedules:
    """Everything that changes with the step in pre-training."""

    config: PretrainConfig
    num_steps: int
    steps_per_epoch: float

    def compute_lr(self, step: int) -> float:
        """Rate of all groups but frozen prototypes."""
        optim = self.config.optim
        return compute_warmup_cosine(
            step,
            peak=optim.base_lr * self.config.image_batch / LR_BATCH,
            end=optim.min_lr,
            warmup_steps=min(self._steps(optim.warmup_epochs), self.num_steps),
            num_steps=self.num_steps,
        )

    def compute_prototype_lr(self, step: int) -> float:
        """Rate of the prototype layers: 0 in the first epochs, so that logits settle first."""
        frozen = step < self._steps(self.config.optim.freeze_prototypes_epochs)
        return 0.0 if frozen else self.compute_lr(step)

    def compute_weight_decay(self, step: int) -> float:
        """Decay of weight matrices."""
        optim = self.config.optim
        return compute_cosine(
            step, start=optim.weight_decay, end=optim.weight_decay_end, num_steps=self.num_steps
        )

    def compute_momentum(self, step: int) -> float:
        """EMA momentum of the teacher: to 1, or constant if a half-life is given."""
        if self.config.optim.half_life:
            return float(0.5 ** (1.0 / max(self.config.optim.half_life * self.num_steps, 1.0)))
        return compute_cosine(
            step, start=self.config.optim.momentum, end=1.0, num_steps=self.num_steps
        )

    def compute_teacher_temperature(self, step: int) -> float:
        """Softmax temperature of the teacher."""
        return compute_linear(
            step,
            start=self.config.teacher_temperature_start,
            end=self.config.teacher_temperature,
            num_steps=self._steps(self.config.temperature_warmup_epochs),
        )

    def compute_all(self, step: int) -> dict[str, float]:
        """All of them by name, for the journal."""
        return {
            "schedule/lr": self.compute_lr(step),
            "schedule/weight_decay": self.compute_weight_decay(step),
            "schedule/momentum": self.compute_momentum(step),
            "schedule/teacher_temperature": self.compute_teacher_temperature(step),
        }

    def _steps(self, epochs: float) -> int:
        return round(epochs * self.steps_per_epoch)
