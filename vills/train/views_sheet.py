"""A picture of the first step's views: what the networks really see.

Legend: B images, V videos, T frames, A areas, K LSE views per area, h x w pixels of a view.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vills.data.loading import PretrainBatch
from vills.data.transforms import MEAN, STD
from vills.io import open_atomic

TILE = 128
"""Height of every tile, px."""
GAP = 4
"""White space between tiles, px."""


def save_views(path: Path, batch: PretrainBatch, *, num_rows: int = 8) -> None:
    """Write a PNG: one row per image, then per video.

    A row shows both global views (hidden patches grey), then every LSE view; of a video the frame
    z^vi stands for the clip. A missing area is an empty tile.
    """
    rows = [
        _build_row(v) for v in [*_list_images(batch)[:num_rows], *_list_videos(batch)[:num_rows]]
    ]
    width = max(row.shape[2] for row in rows)
    padded = [F.pad(row, (0, width - row.shape[2], 0, GAP), value=1.0) for row in rows]
    pixels = (torch.cat(padded, dim=1) * 255).round().byte().permute(1, 2, 0).numpy()
    with open_atomic(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG")


def _list_images(batch: PretrainBatch) -> list[list[Tensor]]:
    if batch.images is None or batch.image_masks is None:
        return []
    rows = []
    for i in range(batch.images.shape[1]):
        row = [_hide(batch.images[v, i], batch.image_masks[v, i]) for v in range(2)]
        if batch.image_lse is not None:
            row += list(batch.image_lse[:, :, i].flatten(0, 1))
        rows.append(row)
    return rows


def _list_videos(batch: PretrainBatch) -> list[list[Tensor]]:
    if batch.frames is None or batch.frame_masks is None or batch.frame_index is None:
        return []
    rows = []
    for i in range(batch.frames.shape[1]):
        frame = batch.frames[:, i, batch.frame_index[i]]
        row = [_hide(frame[v], batch.frame_masks[v, i]) for v in range(2)]
        row += list(batch.frames[0, i])
        if batch.clip_lse is not None:
            row += list(batch.clip_lse[:, i].flatten(0, 1))
        rows.append(row)
    return rows


def _hide(view: Tensor, mask: Tensor) -> Tensor:
    """[3, H, W] with the patches of bool [N] in mid grey."""
    height, width = view.shape[-2:]
    patch = round((height * width / mask.numel()) ** 0.5)
    grid = mask.reshape(height // patch, width // patch)
    hidden = grid.repeat_interleave(patch, 0).repeat_interleave(patch, 1)
    return view.masked_fill(hidden, (0.5 - MEAN) / STD)


def _build_row(views: list[Tensor]) -> Tensor:
    """[3, TILE, sum of widths], values 0 to 1."""
    tiles = []
    for view in views:
        width = max(1, round(view.shape[-1] * TILE / view.shape[-2]))
        tile = F.interpolate((view.float().cpu() * STD + MEAN)[None], size=(TILE, width))[0]
        tiles.append(F.pad(tile.clamp(0, 1), (0, GAP), value=1.0))
    return torch.cat(tiles, dim=2)
