"""Teacher targets of eq. 8 and 9 that do not collapse: EMA centers, or Sinkhorn-Knopp.

Legend: R rows on this rank (any leading shape; ranks may differ, 0 is fine), K prototypes. A key
names what is centered together: a source and a role, since each has a mean of its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vills.distributed import all_gather, all_reduce_sum


class Centering(nn.Module):
    """DINO's centering: softmax((logits - center) / temperature), a center per key.

    Targets use the centers as they are; `update` moves them afterwards (DINO's order).
    """

    centers: Tensor

    def __init__(self, keys: Sequence[str], num_prototypes: int, *, momentum: float = 0.9) -> None:
        """Start with zero centers, [keys, K]."""
        super().__init__()
        self.momentum = momentum
        self._index = {key: index for index, key in enumerate(keys)}
        self.register_buffer("centers", torch.zeros(len(self._index), num_prototypes))

    @torch.no_grad()
    def compute_targets(self, logits: Tensor, *, key: str, temperature: float) -> Tensor:
        """[..., K] teacher logits -> [..., K] distributions, fp32."""
        shifted = logits.float() - self.centers[self._index[key]]
        return (shifted / temperature).softmax(dim=-1)

    @torch.no_grad()
    def update(self, logits: Tensor, *, key: str) -> None:
        """Move a center towards the mean of all ranks' rows; without rows it stays."""
        rows = logits.float().flatten(0, -2)
        sums = torch.cat([rows.sum(dim=0), rows.new_full((1,), len(rows))])
        sums = all_reduce_sum(sums)
        rate = (1.0 - self.momentum) * (sums[-1] > 0)
        center = self.centers[self._index[key]]
        center += rate * (sums[:-1] / sums[-1].clamp(min=1.0) - center)


class Sinkhorn(nn.Module):
    """SwAV's and DINOv2's alternative: rows and prototypes normalised in turn over the batch.

    In the log domain, so that no temperature can overflow it. Keeps no state.
    """

    def __init__(self, num_iterations: int = 3) -> None:
        """Take the number of rounds (DINOv2: 3)."""
        super().__init__()
        self.num_iterations = num_iterations

    @torch.no_grad()
    def compute_targets(self, logits: Tensor, *, key: str, temperature: float) -> Tensor:
        """[..., K] teacher logits -> [..., K] distributions over all ranks' rows, fp32."""
        del key  # keys are balanced one call at a time, they need no name
        rows = (logits.float() / temperature).flatten(0, -2)
        for _ in range(self.num_iterations):
            local = rows.logsumexp(dim=0, keepdim=True)  # [1, K], -inf without rows
            rows = rows - all_gather(local).logsumexp(dim=0)
            rows = rows - rows.logsumexp(dim=-1, keepdim=True)
        return rows.exp().reshape(logits.shape)

    @torch.no_grad()
    def update(self, logits: Tensor, *, key: str) -> None:
        """Do nothing: there is no center."""


def build_centering(
    kind: str, keys: Sequence[str], num_prototypes: int, *, momentum: float
) -> Centering | Sinkhorn:
    """`pretrain.centering`: ema or sinkhorn."""
    if kind == "sinkhorn":
        return Sinkhorn()
    assert kind == "ema"
    return Centering(keys, num_prototypes, momentum=momentum)
