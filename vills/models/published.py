"""Starts the encoder from published weights: DINO, iBOT, PASS, TransReID-SSL, timm, DINOv2.

Legend: N patches, D width. Every tensor of a file must be used or belong to a named part that the
encoder lacks (heads, mask tokens), and every tensor of the encoder must be filled, but for area
tokens that a layout lacks: a remapper that loads two of two hundred tensors is refused.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vills.areas import AREAS
from vills.models.encoder import Encoder, build_resampling
from vills.models.weights import WeightsError

LAYOUTS = ("dino", "ibot", "pass", "timm", "dinov2")
"""Key layouts; TransReID-SSL's files are `dino`."""

_WRAPPERS = ("teacher", "state_dict", "model", "student")
_PREFIXES = ("module.", "backbone.")
_UNUSED = {
    "dino": r"head\.",
    "ibot": r"head\.|masked_embed$",
    "pass": r"head\.|(mlp|last_layer)_|(cls|pt[123])_head\.",
    "timm": r"head\.",
    "dinov2": r"(dino_|ibot_)?head\.|mask_token$",
}
# Rows of the position table before the patches; counting cannot tell: 289 is 24x12 + 1 and 17x17.
_CLASS_SLOTS = {"dino": (1,), "ibot": (1,), "pass": (0,), "timm": (1, 0), "dinov2": (1,)}
# PASS's parts are the top, middle and bottom of a person.
_PASS_PARTS = {"head": 1, "upper_body": 2, "lower_body": 3}


def load_published(encoder: Encoder, path: Path, *, layout: str) -> list[str]:
    """Fill `encoder` from a published file, position table resampled to its grid.

    Args:
        encoder: of the file's width, depth and patch size.
        path: a .safetensors, or a file of torch.save, which is read as data only.
        layout: one of LAYOUTS.

    Returns:
        Names of the encoder's tensors that the layout lacks and that keep their random start.

    Raises:
        WeightsError: if a tensor is missing, left over or of another shape.
    """
    if layout not in LAYOUTS:
        raise WeightsError(f"layout {layout!r} is not allowed. Allowed: {', '.join(LAYOUTS)}.")
    state = _drop_unused(_read(path), layout)
    if layout == "pass":
        state = _convert_parts(state, path)
    if "register_tokens" in state:
        state["reg_token"] = state.pop("register_tokens")
    state = _fold_layer_scale(state)
    own = encoder.vit.state_dict()
    if "pos_embed" in state and "cls_token" in state:
        _convert_positions(state, encoder.grid, layout=layout, path=path)
    kept = sorted({"reg_token"} - state.keys())
    _check(state, {name: own[name] for name in own.keys() - set(kept)}, path, layout)
    encoder.vit.load_state_dict({**{name: own[name] for name in kept}, **state})
    return kept


def _read(path: Path) -> dict[str, Tensor]:
    """Flat tensors of a file, wrappers and prefixes taken off."""
    if not path.is_file():
        raise WeightsError(f"{path} does not exist. What to do: name a weights file.")
    content: Any
    if path.suffix == ".safetensors":
        content = load_file(path)
    else:
        content = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(
            f"{path} holds no tensors by name. Allowed: a state dict, alone or under "
            f"{', '.join(_WRAPPERS)}. What to do: check that this is a weights file."
        )
    return {_strip(name): value for name, value in content.items()}


def _strip(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _drop_unused(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """Without the parts of the layout that are no encoder."""
    unused = re.compile(_UNUSED[layout])
    return {name: value for name, value in state.items() if not unused.match(name)}


def _convert_parts(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """PASS: tokens with positions of their own -> class and register tokens that hold both."""
    names = [f"part{part}_pos" for part in _PASS_PARTS.values()]
    names += [f"part_token{part}" for part in _PASS_PARTS.values()] + ["cls_pos", "cls_token"]
    missing = sorted(set(names) - state.keys())
    if missing:
        raise WeightsError(f"{path} is not of layout pass: missing {', '.join(missing)}.")
    converted = {name: value for name, value in state.items() if name not in names}
    converted["cls_token"] = state["cls_token"] + state["cls_pos"].reshape(1, 1, -1)
    parts = [_PASS_PARTS[area] for area in AREAS]
    converted["reg_token"] = torch.cat(
        [state[f"part_token{p}"] + state[f"part{p}_pos"].reshape(1, 1, -1) for p in parts], dim=1
    )
    return converted


def _fold_layer_scale(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2's gamma times a branch is the branch with its last linear layer scaled: exact."""
    folded = dict(state)
    for name in [name for name in state if re.fullmatch(r"blocks\.\d+\.ls[12]\.gamma", name)]:
        gamma = folded.pop(name)
        block = name.rsplit(".", 2)[0]
        linear = f"{block}.attn.proj" if ".ls1." in name else f"{block}.mlp.fc2"
        for part in (f"{linear}.weight", f"{linear}.bias"):
            if part in folded:
                scale = gamma[:, None] if part.endswith("weight") else gamma
                folded[part] = folded[part] * scale
    return folded


def _convert_positions(
    state: dict[str, Tensor], grid: tuple[int, int], *, layout: str, path: Path
) -> None:
    """Move the class token's slot into the token and resample the rest to `grid`, in place."""
    table = state["pos_embed"]
    for slots in _CLASS_SLOTS[layout]:
        old = _find_grid(table.shape[1] - slots, grid)
        if old is not None:
            break
    if slots:
        state["cls_token"] = state["cls_token"] + table[:, :1]
        table = table[:, 1:]
    if old is None:
        raise WeightsError(
            f"{path}: pos_embed of {table.shape[1]} patches is no grid. Allowed: a square, one "
            f"twice as high as wide, or {grid[0]}x{grid[1]}. What to do: check the layout."
        )
    if old != grid:
        table = build_resampling(old, grid) @ table.float()
    state["pos_embed"] = table


def _find_grid(rows: int, grid: tuple[int, int]) -> tuple[int, int] | None:
    """The grid of a table without class slot: the encoder's own, 2:1 (a person), or a square."""
    if rows == grid[0] * grid[1]:
        return grid
    side = math.isqrt(max(rows, 0))
    if side and side * side == rows:
        return side, side
    width = math.isqrt(max(rows, 0) // 2)
    return (2 * width, width) if width and 2 * width * width == rows else None


def _check(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path, layout: str) -> None:
    missing, left_over = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(own.keys() & state.keys())
        if state[name].shape != own[name].shape
    ]
    if missing or left_over or wrong:
        raise WeightsError(
            f"{path} does not fit as layout {layout}: missing {missing[:3] or 'none'}; left over "
            f"{left_over[:3] or 'none'}; of another shape {wrong[:3] or 'none'}. What to do: check "
            "the layout, and model.width, model.depth and model.patch_size."
        )
