"""The only user of torch.distributed: process group, collectives with gradient, global means.

Legend: B rows on this rank, W world size. Every rank holds the same number of rows, so that
row r * B + i of a gathered tensor is row i of rank r, which is the global batch's own order.
"""

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vills.errors import UserError

_BUCKET = 1 << 23
"""Gradients that travel together: 32 MB of fp32."""


class DeviceError(UserError, ValueError):
    """A process has no GPU of its own."""


def init_process_group(timeout_minutes: float = 30.0) -> None:
    """Join the group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe, once."""
    if dist.is_initialized():
        return
    os.environ.setdefault("RANK", "0")
    os.environ.setdefault("WORLD_SIZE", "1")
    os.environ.setdefault("LOCAL_RANK", "0")
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "0" if os.environ["WORLD_SIZE"] == "1" else "29511")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(get_device())
    dist.init_process_group(backend, timeout=timedelta(minutes=timeout_minutes))


def get_device() -> torch.device:
    """Return this rank's device: its GPU, or the CPU where there is none; needs no process group.

    Of several visible GPUs it is that of LOCAL_RANK. SLURM's `--gpus-per-task` and `--gpu-bind`
    show each process its own GPU alone, as number 0, whatever its LOCAL_RANK.

    Raises:
        DeviceError: if more processes than GPUs run on this machine.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank, visible = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if visible == 1:
        return torch.device("cuda", 0)
    if local_rank >= visible:
        raise DeviceError(
            f"LOCAL_RANK = {local_rank} is not allowed with {visible} visible GPUs. Allowed: 0 to "
            f"{visible - 1}. What to do: start as many processes on a node as it has GPUs."
        )
    return torch.device("cuda", local_rank)


def destroy_process_group() -> None:
    """Leave the group; a barrier first, since a peer may still be reading from this rank."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def get_rank() -> int:
    """Rank of this process, 0 without a group."""
    return dist.get_rank() if dist.is_initialized() else 0


def get_world_size() -> int:
    """Return the number of processes, 1 without a group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is rank 0, the only rank that writes files."""
    return get_rank() == 0


def barrier() -> None:
    """Wait for all ranks."""
    if get_world_size() > 1:
        dist.barrier()


class _GatherWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        grad = grad.contiguous()
        dist.all_reduce(grad)
        share = grad.shape[0] // get_world_size()
        return grad[get_rank() * share : (get_rank() + 1) * share]


class _ReduceWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def all_gather(x: Tensor) -> Tensor:
    """[B, ...] -> [W * B, ...], differentiable: the backward sums the gradients of all ranks."""
    if get_world_size() == 1:
        return x
    gathered: Tensor = _GatherWithGrad.apply(x)
    return gathered


def all_reduce_sum(x: Tensor) -> Tensor:
    """Sum over ranks, differentiable: the backward sums the gradients of all ranks."""
    if get_world_size() == 1:
        return x
    total: Tensor = _ReduceWithGrad.apply(x)
    return total


def global_mean(total: Tensor, count: Tensor | float) -> Tensor:
    """Local share of sum(total) / sum(count) over ranks, scaled so that the mean over ranks is it.

    Data parallelism averages gradients over ranks. A rank that returned its own mean would weigh
    rows of a rank with few valid rows more; this returns W * total / global count instead.
    A global count of 0 gives 0 with a zero gradient.
    """
    device = total.device
    counts = torch.as_tensor(count, dtype=torch.float32, device=device).detach().clone()
    if get_world_size() > 1:
        dist.all_reduce(counts)
    return get_world_size() * total / counts.clamp(min=1e-12) if counts > 0 else total * 0.0


def reduce_mean(x: Tensor) -> Tensor:
    """Mean of `x` over ranks without gradient, for logging and for centers."""
    value = x.detach().clone()
    if get_world_size() > 1:
        dist.all_reduce(value)
        value /= get_world_size()
    return value


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over ranks, for a model that no engine wraps.

    All ranks must have gradients for the same parameters, which one computation on different rows
    gives them. Nothing happens in a single process.
    """
    if get_world_size() == 1:
        return
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if parameter.grad is None:
            continue
        bucket.append(parameter.grad)
        size += parameter.grad.numel()
        if size >= _BUCKET:
            _average(bucket)
            bucket, size = [], 0
    if bucket:
        _average(bucket)


def _average(bucket: list[Tensor]) -> None:
    """One collective for many small tensors."""
    flat = torch.cat([grad.reshape(-1) for grad in bucket])
    dist.all_reduce(flat)
    flat /= get_world_size()
    parts = torch.split(flat, [grad.numel() for grad in bucket])
    for grad, part in zip(bucket, parts, strict=True):
        grad.copy_(part.reshape(grad.shape))


def broadcast_object(value: Any) -> Any:
    """Return rank 0's value on every rank (a small Python object of our own making)."""
    if get_world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: Any) -> list[Any]:
    """Return the values of all ranks, in rank order, on every rank."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values
