"""What ranks must agree on between steps: is every loss finite, who was asked to stop."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vills.distributed import all_gather
from vills.runner.store.interrupt import InterruptFlag
from vills.train.engine import NonFiniteError


def check_finite(
    terms: Mapping[str, Tensor], *, batch: str, remedy: str = "pretrain.optim.base_lr"
) -> None:
    """Stop all ranks if a loss term of any rank is NaN or inf.

    Args:
        terms: raw loss terms of this rank, the same names on all ranks.
        batch: what to call this step's rows in the message.
        remedy: the parameter to lower.

    Raises:
        NonFiniteError: on every rank alike, naming rank, term, value and batch.
    """
    if not terms:
        return
    local = torch.stack([term.detach().float().reshape(()) for term in terms.values()])
    values = all_gather(local[None]).tolist()  # [W, terms]
    bad = [
        f"rank {rank}: {name} = {value}"
        for rank, row in enumerate(values)
        for name, value in zip(terms, row, strict=True)
        if not math.isfinite(value)
    ]
    if bad:
        raise NonFiniteError(explain_non_finite(bad, batch=batch, remedy=remedy))


def explain_non_finite(
    bad: Sequence[str], *, batch: str, remedy: str = "pretrain.optim.base_lr"
) -> str:
    """Message of NonFiniteError: what, where, and what to do."""
    return (
        f"loss is not finite at {batch}: {'; '.join(bad)}. Nothing was updated and the newest "
        f"checkpoint is from before this step. What to do: look at that batch; lower {remedy}, or "
        "the weight of the term that is named."
    )


def agree_any(flags: Sequence[bool], *, device: torch.device) -> list[bool]:
    """For each flag: whether any rank raised it. One collective for all of them."""
    local = torch.tensor([[float(flag) for flag in flags]], device=device)
    agreed: list[bool] = (all_gather(local).amax(dim=0) > 0).tolist()
    return agreed


def agree_requeue(flag: InterruptFlag, *, device: torch.device) -> bool:
    """Whether any rank's signals say that the run may be queued again.

    Asked once the ranks have agreed to stop and the checkpoint is written: SLURM may send SIGTERM
    before SIGUSR2, and to one node before another.
    """
    (wanted,) = agree_any([flag.wants_requeue], device=device)
    return wanted
