"""What distinguishes one publisher's checkpoints from another's: a Layout each, in LAYOUTS.

Legend: D width, N patches, R register tokens.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vills.areas import AREAS

State = dict[str, Tensor]
SQUARE, OWN, PERSON = "square", "own", "person"
"""Patch grids of a position table: as many down as across, the encoder's own, twice as high."""
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Width -> attention heads of published ViT-T, S, B, L and H: no tensor of a file says it."""
_SCALE = re.compile(r"blocks\.\d+\.ls[12]\.gamma")
_BRANCHES = {"ls1": "attn.proj", "ls2": "mlp.fc2"}
_QKV = re.compile(r"blocks\.(?:\d+\.)?\d+\.attn\.qkv\.(weight|bias)")
# PASS: the parts are the top, middle and bottom of a person.
_PARTS = {"head": 1, "upper_body": 2, "lower_body": 3}
_PAIRS = {area: (f"part_token{part}", f"part{part}_pos") for area, part in _PARTS.items()}
_REQUIRED = {"cls_token", "cls_pos"} | {name for pair in _PAIRS.values() for name in pair}


@dataclass(frozen=True)
class Layout:
    """How the tensors of one publisher become those of timm's VisionTransformer."""

    name: str
    dropped: str = r"head\."
    """Pattern at the start of names that are known to be no part of an encoder."""
    convert: Callable[[State], State] = lambda state: state
    """Names and tensors of the publisher to those of timm, all but the position table."""
    find_missing: Callable[[State], set[str]] = lambda state: set()
    """Names that a file of this layout must have, lacks, and that the encoder does not have."""
    slots: tuple[str, ...] = ("class",)
    """Prefix tokens with a row in the position table, as alternatives: class, all, none."""
    grids: tuple[str, ...] = (SQUARE, OWN, PERSON)
    """Grids of the position table, tried in this order, since a count may fit two of them."""
    normalisation: str = "imagenet"
    """Of pixels, that `publisher` stands for: imagenet, half, or empty: what the file says."""
    known_heads: bool = True
    """Whether all its ViTs have the usual number of heads for their width, see HEADS."""

    def is_dropped(self, name: str) -> bool:
        """Whether a tensor belongs to no encoder."""
        return re.match(self.dropped, name) is not None


def find_missing_scale(state: State) -> set[str]:
    """Find the names of layer scale that are missing although some block has it."""
    if not any(_SCALE.fullmatch(name) for name in state):
        return set()
    blocks = {match[0] for match in map(re.compile(r"blocks\.\d+\.").match, state) if match}
    return {f"{block}{branch}.gamma" for block in blocks for branch in _BRANCHES} - state.keys()


def convert_layer_scale(state: State) -> State:
    """Take layer scale away: gamma times a branch is the branch with its last layer scaled."""
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


def _unchunk(state: State) -> State:
    """Undo the nesting of FSDP, `blocks.CHUNK.BLOCK`: the second number counts through."""
    names = {name: re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", name) for name in state}
    if len(set(names.values())) < len(names):
        return dict(state)  # no chunks of one sequence; the names are then listed
    return {names[name]: tensor for name, tensor in state.items()}


def _convert_dinov2(state: State) -> State:
    state = _unchunk(state)
    if "register_tokens" in state:
        state["reg_token"] = state.pop("register_tokens")
    return convert_layer_scale(state)


def _convert_pass(state: State) -> State:
    """Add a token and its position: the sum is all that the encoder needs."""
    shapes = {state[name].shape for name in _REQUIRED & state.keys()}
    if not state.keys() >= _REQUIRED or [len(shape) for shape in shapes] != [3]:
        return state  # what does not fit to each other is then listed
    converted = {name: tensor for name, tensor in state.items() if name not in _REQUIRED}
    converted["cls_token"] = state["cls_token"] + state["cls_pos"]
    tokens = [state[token] + state[position] for token, position in (_PAIRS[a] for a in AREAS)]
    converted["reg_token"] = torch.cat(tokens, dim=1)
    return converted


def _convert_mae(state: State) -> State:
    """Take `fc_norm` of a model fine-tuned with global pooling for `norm`.

    It norms the mean of the patches, as the encoder's norm does with each token.
    """
    if {"norm.weight", "norm.bias"} & state.keys():
        return state
    pooled = ("fc_norm.weight", "fc_norm.bias")
    return {n.removeprefix("fc_") if n in pooled else n: t for n, t in state.items()}


def has_qkv_bias(state: State) -> bool:
    """Whether any block has a bias of q, k and v."""
    return any((match := _QKV.fullmatch(name)) and match[1] == "bias" for name in state)


def _convert_timm(state: State) -> State:
    converted = convert_layer_scale(state)
    if has_qkv_bias(state):
        return converted
    for name, tensor in state.items():  # qkv_bias=False is a bias of zeros
        if _QKV.fullmatch(name) and tensor.ndim:
            converted[name.removesuffix("weight") + "bias"] = torch.zeros(len(tensor))
    return converted


LAYOUTS = {
    layout.name: layout
    for layout in (
        # DINO (Caron et al. 2021, facebookresearch/dino): names of early timm, a class row in the
        # position table. The backbone file is flat; the full checkpoint holds `student`
        # (`module.backbone.*`) and `teacher` (`backbone.*`), each with its projection head.
        Layout("dino"),
        # iBOT (Zhou et al. 2022, bytedance/ibot): DINO's names under `state_dict`, a mask token.
        Layout("ibot", dropped=r"head\.|masked_embed$"),
        # DINOv2 (Oquab et al. 2023, facebookresearch/dinov2): layer scale, a mask token, and
        # registers without positions. ViT-g/14 has another feed-forward layer (SwiGLU) and is
        # refused.
        Layout(
            "dinov2",
            dropped=r"(dino_|ibot_)?head\.|mask_token$",
            convert=_convert_dinov2,
            find_missing=lambda state: find_missing_scale(_unchunk(state)),
        ),
        # PASS (Zhu et al. 2022, CASIA-IVA-Lab/PASS-reID): three part tokens; every prefix token has
        # a position of its own, the table covers patches only. Pre-trained with ImageNet's
        # normalisation, but fine-tuned by its authors with mean and deviation 0.5
        # (PASS_transreid/configs), which is followed here.
        Layout(
            "pass",
            convert=_convert_pass,
            find_missing=lambda state: _REQUIRED - state.keys(),
            slots=("none",),
            grids=(OWN, PERSON, SQUARE),
            normalisation="half",
        ),
        # TransReID-SSL (Luo et al. 2021, damo-cv/TransReID-SSL): DINO on persons, 256x128 px. Its
        # release with ICS, a stem of convolutions with instance and batch norm before the patches,
        # is no plain ViT and is refused. Normalisation: as PASS.
        Layout("transreid_ssl", grids=(OWN, PERSON, SQUARE), normalisation="half"),
        # MAE (He et al. 2022, facebookresearch/mae): encoder and decoder under `model`, fixed sine
        # and cosine positions.
        Layout("mae", dropped=r"decoder_|mask_token$|head\.", convert=_convert_mae),
        # timm's VisionTransformer (huggingface/pytorch-image-models): what others are converted to,
        # in its variants that are a plain ViT. Some are trained with mean and deviation 0.5, others
        # with ImageNet's, which no tensor tells. With or without layer scale, register tokens, rows
        # for the prefix in the position table, and a bias of q, k and v.
        Layout(
            "timm",
            convert=_convert_timm,
            find_missing=find_missing_scale,
            slots=("all", "none"),
            grids=(OWN, SQUARE, PERSON),
            normalisation="",
            known_heads=False,
        ),
    )
}
