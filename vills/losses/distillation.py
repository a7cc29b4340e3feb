"""L^f and L^m (eq. 8 and 9): the student learns the teacher's distributions over prototypes.

A term is a (sum, count) pair; terms of a modality are pooled over all ranks, so that each valid
pair of distributions counts once, and modalities weigh the same (recipe note 33).

Legend: G = 2 global views, S >= G student views (the global ones first), B rows, M masked tokens of
both global views, K prototypes.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from vills.config.model import MODALITY_SOURCES
from vills.distributed import global_mean
from vills.losses.centering import build_centering


class WeightedLogits(Protocol):
    """Logits [..., K] with a weight [...] per row, 0 where a row does not exist."""

    @property
    def logits(self) -> Tensor:
        """Before the temperature."""

    @property
    def weight(self) -> Tensor:
        """Float, not negative."""


Term = tuple[Tensor, Tensor]
"""Weighted sum of cross-entropies, and the sum of weights."""


class CenteredLoss(nn.Module):
    """What L^f and L^m have in common: a student at a temperature, a teacher that is centered."""

    def __init__(
        self,
        keys: Sequence[str],
        num_prototypes: int,
        *,
        student_temperature: float = 0.1,
        centering: str = "ema",
        center_momentum: float = 0.9,
    ) -> None:
        """Take the keys that have a center each."""
        super().__init__()
        self.student_temperature = student_temperature
        self.centering = build_centering(centering, keys, num_prototypes, momentum=center_momentum)


Features = Mapping[str, Mapping[str, WeightedLogits]]
"""Source -> role -> logits [S, B, K] and weight [S, B]."""


class FeatureLoss(CenteredLoss):
    """Cross-entropy from the teacher's global views to all other views of the student (eq. 8).

    Each role is matched with itself: which LSE views hold a role is the network's choice (the
    coarse token in all of them, an area's token in that area's, the temporal one in none). PASS's
    pairing: teacher view i meets every student view but view i. All pairs of a modality count
    alike; image and video weigh the same. Keys are `source/role`. Anchors: DINO, PASS.
    """

    def forward(
        self, student: Features, teacher: Features, *, teacher_temperature: float
    ) -> Tensor:
        """Loss over all sources and roles; call `update_centers` after the step's losses."""
        terms: dict[str, list[Term]] = {}
        for source, roles in student.items():
            terms[source] = []
            for role, views in roles.items():
                targets = self.centering.compute_targets(
                    teacher[source][role].logits,
                    key=f"{source}/{role}",
                    temperature=teacher_temperature,
                )
                terms[source].append(self._compute_term(views, targets))
        return _average_terms(terms)

    @torch.no_grad()
    def update_centers(self, teacher: Features) -> None:
        """Move the centers towards this step's teacher logits, once per step."""
        for source, roles in teacher.items():
            for role, views in roles.items():
                self.centering.update(views.logits, key=f"{source}/{role}")

    def _compute_term(self, views: WeightedLogits, targets: Tensor) -> Term:
        """Sum of weighted cross-entropies, and of weights, of one role.

        Plain loop::

            for i in range(G):
                for j in range(S):
                    for b in range(B):
                        if i != j:
                            total += weight[j, b] * H(targets[i, b], softmax(logits[j, b] / tau))
                            count += weight[j, b]
        """
        with torch.autocast(targets.device.type, enabled=False):
            scaled = views.logits.float() / self.student_temperature
            # H(t, s) = logsumexp(s) - <t, s>, as t sums to 1: no log-probabilities are stored.
            agreement = torch.einsum("ibk,jbk->ijb", targets, scaled)
            entropies = scaled.logsumexp(dim=-1) - agreement  # [G, S, B]
            pairs = 1.0 - torch.eye(*entropies.shape[:2], device=targets.device)
            weight = views.weight.float() * pairs[..., None]
            return (entropies * weight).sum(), weight.sum()


Masked = Mapping[str, WeightedLogits]
"""Source -> logits [M, K] and weight [M]."""


class MaskedTokenLoss(CenteredLoss):
    """Cross-entropy from the unmasked teacher to the masked student, token by token (eq. 9).

    Weights of 1 / masked tokens of a view make it a mean over masked views of means over their
    tokens (iBOT, DINOv2). A view without mask does not count, unlike in DINOv2, so that the loss
    does not shrink with the share of masked views. Keys are sources.
    """

    def forward(self, student: Masked, teacher: Masked, *, teacher_temperature: float) -> Tensor:
        """Loss over all sources; call `update_centers` after the step's losses."""
        terms: dict[str, list[Term]] = {}
        for source, tokens in student.items():
            targets = self.centering.compute_targets(
                teacher[source].logits, key=source, temperature=teacher_temperature
            )
            with torch.autocast(targets.device.type, enabled=False):
                scaled = tokens.logits.float() / self.student_temperature
                entropies = scaled.logsumexp(dim=-1) - (targets * scaled).sum(dim=-1)  # as above
                weight = tokens.weight.float()
                terms[source] = [((entropies * weight).sum(), weight.sum())]
        return _average_terms(terms)

    @torch.no_grad()
    def update_centers(self, teacher: Masked) -> None:
        """Move the centers towards this step's teacher logits, once per step."""
        for source, tokens in teacher.items():
            self.centering.update(tokens.logits, key=source)


def _average_terms(terms: Mapping[str, Sequence[Term]]) -> Tensor:
    """Average over modalities the pooled means of their sources' terms; 0 if there is none."""
    means = []
    for sources in MODALITY_SOURCES.values():
        pooled = [term for source in sources for term in terms.get(source, ())]
        if pooled:
            total = torch.stack([total for total, _ in pooled]).sum()
            count = torch.stack([count for _, count in pooled]).sum()
            means.append(global_mean(total, count))
    return torch.stack(means).mean() if means else torch.zeros(())
