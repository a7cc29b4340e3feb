"""What distinguishes one publisher's checkpoints from another's.

Legend: D width, N patches, R register tokens.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

State = dict[str, Tensor]
SQUARE, OWN, PERSON = "square", "own", "person"
"""Patch grids of a position table: as many down as across, the encoder's own, twice as high."""


def _keep(state: State) -> State:
    return state


def _miss_nothing(state: State) -> set[str]:
    return set()


@dataclass(frozen=True)
class Layout:
    """How the tensors of one publisher become those of timm's VisionTransformer."""

    name: str
    source: str
    """Repository whose code writes the files."""
    dropped: str = r"head\."
    """Pattern at the start of names that are known to be no part of an encoder."""
    convert: Callable[[State], State] = field(default=_keep)
    """Names and tensors of the publisher to those of timm, all but the position table."""
    find_missing: Callable[[State], set[str]] = field(default=_miss_nothing)
    """Names that a file of this layout must have, lacks, and that the encoder does not have."""
    slots: tuple[str, ...] = ("class",)
    """Prefix tokens with a row in the position table, as alternatives: class, all, none."""
    grids: tuple[str, ...] = (SQUARE, OWN, PERSON)
    """Grids of the position table, tried in this order, since a count may fit two of them."""
    normalisation: str = "imagenet"
    """Of pixels, that `publisher` stands for: imagenet, or half, see PublishedConfig."""
    known_heads: bool = True
    """Whether all its ViTs have the usual number of heads for their width, see HEADS."""

    def is_dropped(self, name: str) -> bool:
        """Whether a tensor belongs to no encoder."""
        return re.match(self.dropped, name) is not None


_SCALE = re.compile(r"blocks\.\d+\.ls[12]\.gamma")
_BRANCHES = {"ls1": "attn.proj", "ls2": "mlp.fc2"}

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Width -> attention heads of published ViT-T, S, B, L and H: no tensor of a file says it."""


def find_missing_scale(state: State) -> set[str]:
    """Names of layer scale that are missing although some block has it."""
    if not any(_SCALE.fullmatch(name) for name in state):
        return set()
    blocks = {match[0] for match in map(re.compile(r"blocks\.\d+\.").match, state) if match}
    return {f"{block}{branch}.gamma" for block in blocks for branch in _BRANCHES} - state.keys()


def fold_layer_scale(state: State) -> State:
    """Layer scale away: gamma times a branch is the branch with its last linear layer scaled."""
    folded = dict(state)
    for name in [name for name in state if _SCALE.fullmatch(name)]:
        block, branch, _ = name.rsplit(".", 2)
        linear = f"{block}.{_BRANCHES[branch]}"
        weight, bias = (state.get(f"{linear}.{part}") for part in ("weight", "bias"))
        gamma = state[name]
        if weight is None or bias is None or weight.ndim != 2:
            continue  # left in place, so that it is listed
        if not gamma.shape == bias.shape == weight.shape[:1]:
            continue
        folded[f"{linear}.weight"] = weight * gamma[:, None]
        folded[f"{linear}.bias"] = bias * gamma
        del folded[name]
    return folded
