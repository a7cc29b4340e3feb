"""L^f, the feature loss (eq. 8).

Legend: G = 2 global views, S >= G student views (the global ones first), B rows, K prototypes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from vills.losses.centering import CenteredLoss
from vills.losses.views import Term, WeightedLogits, average_terms

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
        zero = torch.zeros(())
        for source, roles in student.items():
            terms[source] = []
            for role, views in roles.items():
                targets = self.centering.compute_targets(
                    teacher[source][role].logits,
                    key=f"{source}/{role}",
                    temperature=teacher_temperature,
                )
                terms[source].append(self._compute_term(views, targets))
                zero = views.logits.sum() * 0.0
        return average_terms(terms, zero)

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
