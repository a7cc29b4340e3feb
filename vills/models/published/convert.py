"""Tensors under timm's names, but for another grid and other pixels, become the encoder's.

Position tables: rows of the prefix move into its tokens, patches are resampled to the grid. Pixel
normalisation: folded into the patch embedding.

Legend: N patches, R register tokens, D width, C colours, p patch side.
"""

import math

import torch
from torch import Tensor

from vills.data.transforms import MEAN, STD
from vills.models.encoder import build_resampling
from vills.models.published.layouts import OWN, SQUARE, Layout, State

Grid = tuple[int, int]
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_WEIGHT, _BIAS = "patch_embed.proj.weight", "patch_embed.proj.bias"


def convert_positions(state: State, layout: Layout, *, grid: Grid) -> tuple[State, Grid | None]:
    """Fold the table's rows of prefix tokens into them and resample the rest.

    Resampling is bicubic with antialias and half-pixel centres (`align_corners=False`), as in timm
    and in DINOv2's models with registers; DINO, iBOT, MAE and the first DINOv2 have no antialias
    (and another cubic), and DINO's family adds .1 to the new size.

    Args:
        state: tensors under timm's names.
        layout: says which prefix tokens have a row.
        grid: of the encoder, down and across.

    Returns:
        The tensors, and the table's own grid; None and no change if its rows are no grid.
    """
    found = find_table_grid(state, layout, own=grid)
    if found is None:
        return state, None
    slots, old = found
    table, converted = state["pos_embed"], dict(state)
    if slots:
        converted["cls_token"] = state["cls_token"] + table[:, :1]
    if slots > 1:
        converted["reg_token"] = state["reg_token"] + table[:, 1:slots]
    patches = table[:, slots:]
    converted["pos_embed"] = patches if old == grid else build_resampling(old, grid) @ patches
    return converted, old


def find_table_grid(state: State, layout: Layout, *, own: Grid | None) -> tuple[int, Grid] | None:
    """Rows of prefix tokens and the grid of the others, if the table's rows are a grid."""
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    counts = {"class": 1, "all": 1 + registers, "none": 0}
    for kind in layout.grids:
        for slots in (counts[name] for name in layout.slots):
            old = _find_grid(state["pos_embed"].shape[1] - slots, kind, own=own)
            if old is not None:
                return slots, old
    return None


def has_positions(state: State) -> bool:
    """Whether there is a table that fits to the prefix tokens beside it."""
    table, token = state.get("pos_embed"), state.get("cls_token")
    if table is None or token is None or table.ndim != 3 or len(table) != 1:
        return False
    registers = state.get("reg_token", token)
    return token.shape == (1, 1, table.shape[2]) and (
        registers.ndim == 3 and registers.shape[::2] == token.shape[::2]
    )


def _find_grid(rows: int, kind: str, *, own: Grid | None) -> Grid | None:
    if rows < 1:
        return None
    if kind == OWN:
        return own if own is not None and rows == own[0] * own[1] else None
    if kind == SQUARE:
        side = math.isqrt(rows)
        return (side, side) if side * side == rows else None
    width = math.isqrt(rows // 2)
    return (2 * width, width) if 2 * width * width == rows else None


def convert_normalisation(state: State) -> State:
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
