"""Optimizer and learning rate of fine-tuning; the rate is a pure function of the step."""

import torch

from vills.config.finetune import FinetuneConfig
from vills.models.reid import ReidModel
from vills.train.param_groups import build_finetune_groups
from vills.train.schedules import compute_warmup_cosine


def build_optimizer(model: ReidModel, config: FinetuneConfig) -> torch.optim.Optimizer:
    """SGD with momentum 0.9, Adam (decay as part of the gradient, as CAL's), or AdamW.

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
    """Learning rate at a step: a linear warm-up, then a cosine to 0 or steps at the milestones.

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
