"""Heads h^f and h^m, and the MLP of h^v and h^i: perceptrons with batch norm (supplement 2).

Legend: R rows, D width of a token, K prototypes, E = 256 bottleneck, L role tokens, N patches.

Who shares what. The paper writes one feature head per modality, h^{v,f} and h^{i,f}, that serves
all tokens of z. So a modality has one MLP and one prototype layer for all roles; a pair per role
and modality as in PASS would be nine prototype layers, 151 M parameters at K = 65536 beside a 22 M
encoder. What a role has of its own is small: its batch norms, since tokens of one role lie close
together and far from those of another, so that statistics over all roles would mostly normalise
the difference between roles; and its center (vills.losses.centering).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vills.config.model import HeadConfig
from vills.models.layers import GlobalBatchNorm1d

MIN_NORM = 1e-3
"""Rows that are all alike leave a batch norm as zeros (masked latents of `reading=literal` at step
0): torch's own 1e-12 would make their gradient 1e12."""


class Trunk(nn.Module):
    """Three-layer MLP to an L2-normalised bottleneck, with the norms of each role apart."""

    def __init__(self, width: int, heads: HeadConfig, *, roles: Sequence[str]) -> None:
        """Build with a pair of batch norms per role, or none if `heads.norm` is none."""
        super().__init__()
        bias = heads.norm == "none"  # a batch norm would take any bias away again
        self.layers = nn.ModuleList(
            [nn.Linear(width, heads.hidden, bias), nn.Linear(heads.hidden, heads.hidden, bias)]
        )
        self.norms = nn.ModuleDict()
        if heads.norm == "bn":
            for role in roles:
                for index in range(len(self.layers)):
                    self.norms[f"{role}_{index}"] = GlobalBatchNorm1d(heads.hidden)
        self.last = nn.Linear(heads.hidden, heads.bottleneck)
        for linear in (*self.layers, self.last):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor, *, role: str, row_weight: Tensor | None = None) -> Tensor:
        """[R, D] tokens of one role -> [R, E] unit vectors, fp32."""
        x = tokens
        for index, linear in enumerate(self.layers):
            x = linear(x)
            if self.norms:
                x = self.norms[f"{role}_{index}"](x, row_weight)
            x = functional.gelu(x)
        return functional.normalize(self.last(x).float(), dim=-1, eps=MIN_NORM)


class Prototypes(nn.Module):
    """K unit prototypes: a weight-normed linear layer without bias whose gain g is fixed to 1.

    Written as a normalisation of the rows instead of torch's weight_norm, whose frozen gain would
    be a parameter without gradient (it breaks loading under ZeRO-3).
    """

    def __init__(self, bottleneck: int, num_prototypes: int) -> None:
        """Build K prototypes of width E."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_prototypes, bottleneck))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[R, E] -> [R, K] cosines."""
        return functional.linear(x, functional.normalize(self.weight, dim=-1))


class ProjectionHead(nn.Module):
    """h^f or h^m of one modality: tokens to prototype logits."""

    def __init__(
        self, width: int, heads: HeadConfig, *, num_prototypes: int, roles: Sequence[str]
    ) -> None:
        """Build a trunk and its prototypes, both shared by `roles`."""
        super().__init__()
        self.trunk = Trunk(width, heads, roles=roles)
        self.prototypes = Prototypes(heads.bottleneck, num_prototypes)

    def forward(self, tokens: Tensor, *, role: str, row_weight: Tensor | None = None) -> Tensor:
        """[R, D] tokens of one role -> [R, K] logits in [-1, 1], to be divided by a temperature.

        Rows of `row_weight` 0 enter no batch statistic.
        """
        logits: Tensor = self.prototypes(self.trunk(tokens, role=role, row_weight=row_weight))
        return logits


class MaskedLatents(nn.Module):
    """The mask(.) of eq. 9 as printed: a learned token instead of masked tokens after R."""

    def __init__(self, width: int) -> None:
        """Build the token."""
        super().__init__()
        self.token = nn.Parameter(torch.empty(width))
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[..., L, D] with bool [..., L] -> the same, masked tokens replaced."""
        return torch.where(mask[..., None], self.token.to(tokens.dtype), tokens)


def convert_mask(mask: Tensor, length: int) -> Tensor:
    """Bool [..., N] over patches -> [..., length] over latents, read at evenly spaced patches.

    The literal reading masks tokens after R, which have no place in the picture; this keeps the
    share of the patch mask without a random stream of its own.
    """
    places = torch.arange(length, device=mask.device) * mask.shape[-1] // length
    return mask[..., places]
