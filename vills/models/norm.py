"""Batch norm over the global batch: torch's SyncBatchNorm refuses CPU tensors.

Legend: R rows on this rank (may differ between ranks, may be 0), F features.
"""

import torch
from torch import Tensor, nn

from vills.distributed import all_reduce_sum


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
