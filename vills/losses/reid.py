"""Losses of fine-tuning: cross-entropy over identities and batch-hard triplets (supplement 1).

Legend: B rows of this rank, W ranks, C identities, D feature width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vills.distributed import all_gather, global_mean


class IdentityLoss(nn.Module):
    """Cross-entropy over identities with label smoothing."""

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        """Take the share of probability that is spread evenly over all identities."""
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, pids: Tensor) -> Tensor:
        """[B, C] logits, long [B] relabelled identities -> scalar."""
        total = functional.cross_entropy(
            logits.float(), pids, reduction="sum", label_smoothing=self.label_smoothing
        )
        return global_mean(total, float(len(pids)))


class TripletLoss(nn.Module):
    """Batch-hard triplets over the global batch: farthest positive against nearest negative.

    Anchors: Hermans et al. 2017, PASS. Features are those before the BNNeck. An anchor without a
    positive or a negative does not count.
    """

    def __init__(self, *, margin: float = 0.0, scale: float = 0.0) -> None:
        """Take margin and scale.

        Args:
            margin: 0 = soft margin, log(1 + exp(positive - negative)).
            scale: length that features are brought to; 0 = they stay as they are.
        """
        super().__init__()
        self.margin, self.scale = margin, scale

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """[B, D] features, long [B] identities -> scalar."""
        with torch.autocast(features.device.type, enabled=False):
            own = features.float()
            if self.scale:
                own = self.scale * functional.normalize(own, dim=1)
            everyone = all_gather(own)
            with torch.no_grad():
                all_pids = all_gather(pids)
            # Exact differences: the faster |a|^2 + |b|^2 - 2ab cancels for near people.
            distance = torch.cdist(own, everyone, compute_mode="donot_use_mm_for_euclid_dist")
            same = pids[:, None] == all_pids[None]
            farthest = distance.masked_fill(~same, float("-inf")).amax(dim=1)
            nearest = distance.masked_fill(same, float("inf")).amin(dim=1)
            exists = (same.sum(dim=1) > 1) & ~same.all(dim=1)
            gap = torch.where(exists, farthest - nearest, 0.0)
            if self.margin == 0.0:
                terms = functional.softplus(gap)
            else:
                terms = (gap + self.margin).clamp(min=0.0)
            return global_mean((terms * exists).sum(), exists.float().sum())
