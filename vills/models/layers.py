"""Layers that give the same however the global batch is split over processes.

Batch norm over the global batch, since torch's SyncBatchNorm refuses CPU tensors; and stochastic
depth whose noise belongs to the sample, not to the process.

Legend: R rows on this rank (may differ between ranks, may be 0), F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vills.distributed import all_reduce_sum

# Odd 64-bit constants of the splitmix64 generator, as signed integers.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def convert_rows(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """[R, ...] -> [*shape, ...], where the product of `shape` is R; torch's `unflatten`, typed."""
    return rows.reshape(*shape, *rows.shape[1:])


class GlobalBatchNorm1d(nn.Module):
    """torch.nn.BatchNorm1d whose statistics cover the rows of all ranks.

    Rows of weight 0 (views that do not exist) enter no statistic. Computed in fp32.
    """

    weight: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, num_features: int, *, eps: float = 1e-5, momentum: float = 0.1, bias: bool = True
    ) -> None:
        """Build the layer; without `bias` it has none (the BNNeck's reading of "frozen")."""
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features)) if bias else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor, row_weight: Tensor | None = None) -> Tensor:
        """[R, F] -> [R, F]; `row_weight` float [R], 1 or 0."""
        with torch.autocast(x.device.type, enabled=False):
            rows = x.float()
            if self.training:
                mean, var = self._compute_statistics(rows, row_weight)
            else:
                mean, var = self.running_mean, self.running_var
            normal = (rows - mean) * (var + self.eps).rsqrt() * self.weight
            return normal if self.bias is None else normal + self.bias

    def _compute_statistics(self, rows: Tensor, row_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and biased variance [F] of all ranks' rows.

        Two passes, since E[x^2] - E[x]^2 cancels.
        """
        weight = rows.new_ones(len(rows)) if row_weight is None else row_weight.float()
        sums = all_reduce_sum(torch.cat([weight @ rows, weight.sum()[None]]))
        count = sums[-1].detach()
        mean = sums[:-1] / count.clamp(min=1.0)
        var = all_reduce_sum(weight @ (rows - mean).square()) / count.clamp(min=1.0)
        with torch.no_grad():
            momentum = self.momentum * (count > 0)
            unbiased = var * count / (count - 1).clamp(min=1.0)
            self.running_mean += momentum * (mean - self.running_mean)
            self.running_var += momentum * (unbiased - self.running_var)
        return mean, var


def compute_keys(keys: Tensor, *salts: int | Tensor) -> Tensor:
    """Hash long keys with salts (integers or broadcastable long tensors) into new long keys."""
    mixed = _scramble(keys.long())
    for salt in salts:
        mixed = _scramble(mixed + _GAMMA + salt)
    return mixed


class DropPathNoise:
    """Keep-or-drop factors of the residual branches of one encoder pass.

    The rate rises linearly from 0 in the first block to `rate` in the last one (DINO, PASS).
    """

    def __init__(self, keys: Tensor, *, rate: float, depth: int) -> None:
        """Take `keys` long [R], one per row of the pass."""
        self._keys = keys
        self._rates = [rate * layer / max(depth - 1, 1) for layer in range(depth)]
        if depth == 1:
            self._rates = [rate]

    def compute_scale(self, *, layer: int, branch: int) -> Tensor | None:
        """[R, 1, 1] factors with mean 1: 0 or 1 / (1 - rate); None where nothing is dropped."""
        rate = self._rates[layer]
        if rate == 0.0:
            return None
        if rate >= 1.0:
            return torch.zeros_like(self._keys, dtype=torch.float32)[:, None, None]
        uniform = _shift(compute_keys(self._keys, layer, branch), 11).double() * 2.0**-53
        return ((uniform >= rate).float() / (1.0 - rate))[:, None, None]


def _scramble(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; that of torch keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
