"""timm's VisionTransformer: what others are converted to, in its variants that are a plain ViT.

With or without layer scale, register tokens, rows for the prefix in the position table, and a bias
of q, k and v.
"""

import re

import torch

from vills.models.published.layout import (
    OWN,
    PERSON,
    SQUARE,
    Layout,
    State,
    find_missing_scale,
    fold_layer_scale,
)

_QKV = re.compile(r"blocks\.\d+\.attn\.qkv\.(weight|bias)")


def has_qkv_bias(state: State) -> bool:
    """Whether any block has a bias of q, k and v."""
    return any((match := _QKV.fullmatch(name)) and match[1] == "bias" for name in state)


def _convert(state: State) -> State:
    converted = fold_layer_scale(state)
    if has_qkv_bias(state):
        return converted
    for name, tensor in state.items():  # qkv_bias=False is a bias of zeros
        if _QKV.fullmatch(name) and tensor.ndim:
            converted[name.removesuffix("weight") + "bias"] = torch.zeros(len(tensor))
    return converted


TIMM = Layout(
    "timm",
    source="huggingface/pytorch-image-models",
    convert=_convert,
    find_missing=find_missing_scale,
    slots=("all", "none"),
    grids=(OWN, SQUARE, PERSON),
    normalisation="half",
    known_heads=False,
)
