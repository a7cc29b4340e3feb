"""What a loss over prototype logits takes, and how its terms are averaged.

A term is a (sum, count) pair; terms of a modality are pooled over all ranks, so that each valid
pair of distributions counts once, and modalities weigh the same (recipe note 33).
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from vills.config.model import MODALITY_SOURCES
from vills.distributed import global_mean


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


def compute_cross_entropy(targets: Tensor, logits: Tensor, *, temperature: float) -> Tensor:
    """H(targets, softmax(logits / temperature)) over the last axis of equally shaped tensors.

    As targets sum to 1, it is logsumexp minus a dot product: no log-probabilities are stored.
    """
    scaled = logits / temperature
    return scaled.logsumexp(dim=-1) - (targets * scaled).sum(dim=-1)


def average_terms(terms: Mapping[str, Sequence[Term]], zero: Tensor) -> Tensor:
    """Mean over modalities of the pooled mean of the terms of their sources.

    Args:
        terms: source -> its terms.
        zero: what to return if there is no term, a scalar.
    """
    means = []
    for sources in MODALITY_SOURCES.values():
        pooled = [term for source in sources for term in terms.get(source, ())]
        if pooled:
            total = torch.stack([total for total, _ in pooled]).sum()
            count = torch.stack([count for _, count in pooled]).sum()
            means.append(global_mean(total, count))
    return torch.stack(means).mean() if means else zero
