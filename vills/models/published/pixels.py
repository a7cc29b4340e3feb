"""Pixel normalisation of a publisher, folded into the patch embedding.

Legend: D width, C colours, p patch side.
"""

import torch
from torch import Tensor

from vills.data.transforms import MEAN, STD
from vills.models.published.layout import State

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_WEIGHT, _BIAS = "patch_embed.proj.weight", "patch_embed.proj.bias"


def fold_imagenet(state: State) -> State:
    """Patch embedding for pixels normalised as here, by MEAN and STD, not by ImageNet's.

    A patch embedding is linear and has no padding, so that features of a picture stay exactly
    those that the publisher's pipeline gives.
    """
    weight = state[_WEIGHT].double()  # [D, C, p, p]
    mean, std = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (_MEAN, _STD))
    shift = (weight * ((MEAN - mean) / std)).sum(dim=(1, 2, 3))
    folded: dict[str, Tensor] = {
        _WEIGHT: (weight * (STD / std)).float(),
        _BIAS: (state[_BIAS].double() + shift).float(),
    }
    return {**state, **folded}
