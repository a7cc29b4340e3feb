"""L^r, the regularisation loss (eq. 10).

Legend: V views, B samples of this rank, R rows of this rank (its tokens), W ranks, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vills.distributed import all_gather, get_rank, global_mean


class KoLeoLoss(nn.Module):
    """Kozachenko-Leonenko spread of the student's tokens (eq. 10): minus log nearest distance.

    Neighbours are sought over the global batch, or within logical groups of it, never within a
    process. Two views of a sample are never neighbours, as each view is regularised by itself.
    Views and modalities are averaged (DINOv2 sums two views: its weight is half of ours).

    The distance is sqrt(|x - y|^2 + eps^2): duplicates, such as clips of a standing person, give a
    zero gradient and near ones at most 1 / eps, where |x - y + eps| would give about 1 / eps to
    all of them. Computed in fp32.
    """

    def __init__(self, *, group: int = 0, eps: float = 1e-4) -> None:
        """Take the samples of a group within the global batch; 0 = one group of all of them."""
        super().__init__()
        self.group = group
        self.eps = eps

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Mean over modalities and views; one [V, B, D] or [V, B, tokens, D] per modality."""
        losses = [self._compute_view(view) for modality in tokens for view in modality]
        return torch.stack(losses).mean()

    def _compute_view(self, view: Tensor) -> Tensor:
        """[B, ..., D] -> scalar, this rank's share of the mean over the global batch."""
        rows = view.flatten(0, -2)  # [R, D], a sample's tokens are neighbours
        with torch.autocast(rows.device.type, enabled=False):
            own = functional.normalize(rows.float(), dim=-1)
            everyone = all_gather(own)  # [W * R, D]
            group = self.group * (len(rows) // len(view))
            neighbours, exists = self._find_neighbours(own.detach(), everyone.detach(), group)
            squared = (own - everyone[neighbours]).square().sum(dim=-1)
            distance = (squared + self.eps**2).sqrt()
            logs = torch.where(exists, (distance + self.eps).log(), 0.0)
            return -global_mean(logs.sum(), exists.float().sum())

    def _find_neighbours(self, own: Tensor, everyone: Tensor, group: int) -> tuple[Tensor, Tensor]:
        """Index long [R] of each row's nearest other row of its group, and whether there is one."""
        place = get_rank() * len(own) + torch.arange(len(own), device=own.device)
        places = torch.arange(len(everyone), device=own.device)
        barred = place[:, None] == places[None]
        if group:
            barred |= (place // group)[:, None] != (places // group)[None]
        cosine = (own @ everyone.T).masked_fill(barred, -2.0)
        return cosine.argmax(dim=1), ~barred.all(dim=1)
