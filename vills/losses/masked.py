"""L^m, the masking loss (eq. 9).

Legend: M masked tokens of both global views, K prototypes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from vills.losses.centering import CenteredLoss
from vills.losses.views import Term, WeightedLogits, average_terms, compute_cross_entropy

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
        zero = torch.zeros(())
        for source, tokens in student.items():
            targets = self.centering.compute_targets(
                teacher[source].logits, key=source, temperature=teacher_temperature
            )
            with torch.autocast(targets.device.type, enabled=False):
                entropies = compute_cross_entropy(
                    targets, tokens.logits.float(), temperature=self.student_temperature
                )
                weight = tokens.weight.float()
                terms[source] = [((entropies * weight).sum(), weight.sum())]
            zero = tokens.logits.sum() * 0.0
        return average_terms(terms, zero)

    @torch.no_grad()
    def update_centers(self, teacher: Masked) -> None:
        """Move the centers towards this step's teacher logits, once per step."""
        for source, tokens in teacher.items():
            self.centering.update(tokens.logits, key=source)
