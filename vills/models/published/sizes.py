"""Sizes of a ViT as its tensors tell them.

Legend: D width, C colours, p patch side.
"""

import re
from dataclasses import dataclass

from vills.models.published.layout import State


@dataclass(frozen=True)
class Sizes:
    """Fields of ModelConfig that a file fixes; 0 where it does not say."""

    width: int
    depth: int
    patch_size: int

    def build_settings(self, other: "Sizes | None" = None) -> list[str]:
        """`pretrain.model.width=384` and so on, only what differs from `other`."""
        return [
            f"pretrain.model.{name}={value}"
            for name, value in vars(self).items()
            if value and (other is None or value != getattr(other, name))
        ]


def find_sizes(state: State) -> Sizes:
    """Sizes of tensors under timm's names."""
    blocks = [re.match(r"blocks\.(\d+)\.", name) for name in state]
    depth = 1 + max((int(match[1]) for match in blocks if match), default=-1)
    patches, token = state.get("patch_embed.proj.weight"), state.get("cls_token")
    width = token.shape[-1] if token is not None else 0
    if patches is None or patches.ndim != 4:
        return Sizes(width, depth, 0)
    return Sizes(patches.shape[0], depth, patches.shape[-1])
