"""DINOv2 (Oquab et al. 2023): layer scale, a mask token, and registers without positions.

Training with FSDP nests blocks in chunks, `blocks.CHUNK.BLOCK`; the second number counts through.
ViT-g/14 has another feed-forward layer (SwiGLU) and is refused.
"""

import re

from vills.models.published.layout import Layout, State, find_missing_scale, fold_layer_scale


def _unchunk(state: State) -> State:
    names = {name: re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", name) for name in state}
    if len(set(names.values())) < len(names):
        return dict(state)  # no chunks of one sequence; the names are then listed
    return {names[name]: tensor for name, tensor in state.items()}


def _find_missing(state: State) -> set[str]:
    return find_missing_scale(_unchunk(state))


def _convert(state: State) -> State:
    state = _unchunk(state)
    if "register_tokens" in state:
        state["reg_token"] = state.pop("register_tokens")
    return fold_layer_scale(state)


DINOV2 = Layout(
    "dinov2",
    source="facebookresearch/dinov2",
    dropped=r"(dino_|ibot_)?head\.|mask_token$",
    convert=_convert,
    find_missing=_find_missing,
)
