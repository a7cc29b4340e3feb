"""What the ranks of a run must have alike.

Before the first step: thread count and deterministic kernels, on which bit-identity rests besides
the seeds. Between steps: is every loss finite, and who was asked to stop.
"""

import math
import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vills.distributed import all_gather
from vills.errors import UserError
from vills.interrupt import InterruptFlag


class NonFiniteError(UserError, RuntimeError):
    """NaN or inf in a loss or a gradient; the message names rank, term and batch."""


def set_determinism(threads_per_rank: int) -> None:
    """Refuse another thread count than the receipt says, and ask for deterministic kernels.

    Args:
        threads_per_rank: what the launcher set before torch started; sums over another number of
            threads differ in their last bits.

    Raises:
        UserError: if torch runs with another number of threads.
    """
    if torch.get_num_threads() != threads_per_rank:
        raise UserError(
            f"torch runs with {torch.get_num_threads()} threads, threads_per_rank says "
            f"{threads_per_rank}. What to do: start the stage with `vills run`, or set "
            f"OMP_NUM_THREADS={threads_per_rank} before Python starts."
        )
    # Only warned about on GPUs: the bicubic position table has no deterministic backward there.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Filling every fresh tensor with NaN would cost a tenth of a CPU step and prove nothing here.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010


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
        raise NonFiniteError(describe_non_finite(bad, batch=batch, remedy=remedy))


def describe_non_finite(
    bad: Sequence[str], *, batch: str, remedy: str = "pretrain.optim.base_lr"
) -> str:
    """Message of NonFiniteError: what, where, and what to do."""
    return (
        f"loss is not finite at {batch}: {'; '.join(bad)}. No weight was changed, and the newest "
        f"checkpoint is from before this step. What to do: check that batch; lower {remedy}, or "
        "the weight of the named term."
    )


def compute_any(flags: Sequence[bool], *, device: torch.device) -> list[bool]:
    """For each flag: whether any rank raised it. One collective for all of them."""
    local = torch.tensor([[float(flag) for flag in flags]], device=device)
    agreed: list[bool] = (all_gather(local).amax(dim=0) > 0).tolist()
    return agreed


def compute_requeue(flag: InterruptFlag, *, device: torch.device) -> bool:
    """Whether any rank's signals say that the run may be queued again.

    Asked once the ranks have agreed to stop and the checkpoint is written: SLURM may send SIGTERM
    before SIGUSR2, and to one node before another.
    """
    (wanted,) = compute_any([flag.wants_requeue], device=device)
    return wanted
