"""What the student sees of one area of the body (LSE views, x-hat of eq. 5), and what it does not.

Legend: Tl frames, H x W pixels of a crop, h x w of an LSE view. What it does not see are block
masks over a patch grid (BEiT blocks, DINOv2 ratios).
"""

import math
from collections.abc import Sequence

import numpy as np

from vills.config.pretrain import MaskConfig, ViewConfig
from vills.data.images import find_box
from vills.data.transforms import ViewDraw, render_view, sample_view
from vills.errors import InputError

Box = tuple[int, int, int, int]


def sample_lse_view(rng: np.random.Generator, config: ViewConfig) -> ViewDraw:
    """Return the light augmentation of an LSE view: not solarized, own crop scale and blur."""
    return sample_view(rng, config, scale=config.lse_scale, blur=config.blur[2], solarize=0.0)


def find_region(mask: np.ndarray, *, margin: float) -> Box:
    """Tight (x1, y1, x2, y2) of bool [H, W], widened by `margin` of its sides, within the crop.

    Raises:
        ValueError: if the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no region")
    x1, y1, x2, y2 = find_box(mask)
    dy, dx = round(margin * (y2 - y1)), round(margin * (x2 - x1))
    height, width = mask.shape
    return max(x1 - dx, 0), max(y1 - dy, 0), min(x2 + dx, width), min(y2 + dy, height)


def build_lse_views(
    frames: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    draw: ViewDraw,
    *,
    config: ViewConfig,
) -> np.ndarray:
    """uint8 [Tl, h, w, 3]: the area's region of every frame, all with one draw.

    frames: uint8 [H, W, 3] each. masks: bool [H, W] each, not empty. Since a crop is drawn in
    shares of its region, it keeps to the same part of the area while the region moves and grows.

    Raises:
        InputError: if a mask has another size than its frame.
    """
    parts, part_masks = [], []
    for frame, mask in zip(frames, masks, strict=True):
        if mask.shape != frame.shape[:2]:
            raise InputError(
                f"a mask of {mask.shape} does not fit a crop of {frame.shape[:2]}. What to do: the "
                "LSE cache was made from another curation; run the lse stage again."
            )
        x1, y1, x2, y2 = find_region(mask, margin=config.lse_margin)
        parts.append(frame[y1:y2, x1:x2])
        part_masks.append(np.ascontiguousarray(mask[y1:y2, x1:x2]))
    hidden = part_masks if config.lse_background == "mean" else None
    return render_view(parts, draw, size=config.lse_size, masks=hidden)


_ASPECT = 0.3
"""Blocks have aspects from this to its inverse (BEiT)."""
_BLOCK = 4
"""Least patches of a block on a grid of 32 patches or more; 1 on smaller ones (BEiT: 16 of 196)."""
_TRIES = 10


def sample_block_mask(
    rng: np.random.Generator, *, grid: tuple[int, int], config: MaskConfig
) -> np.ndarray:
    """Bool [rows * columns] of a grid, True = masked; all False with 1 - `probability`.

    The count is a drawn ratio of the patches, rounded, at least one and never all: blocks first,
    single patches where no block fits any more.
    """
    rows, columns = grid
    total = rows * columns
    mask = np.zeros((rows, columns), dtype=bool)
    ratio = float(rng.uniform(config.min_ratio, config.max_ratio))
    if rng.random() >= config.probability or total < 2:
        return mask.ravel()
    wanted = min(max(round(ratio * total), 1), total - 1)
    smallest = _BLOCK if total >= 32 else 1
    missing = wanted
    while missing:
        added = _add_block(rng, mask, smallest=min(smallest, missing), largest=missing)
        if not added:
            break
        missing -= added
    if missing:
        free = np.flatnonzero(~mask.ravel())
        mask.ravel()[rng.choice(free, size=missing, replace=False)] = True
    return mask.ravel()


def _add_block(rng: np.random.Generator, mask: np.ndarray, *, smallest: int, largest: int) -> int:
    """Mask one block with 1 to `largest` new patches; number of new ones, 0 if no try fitted."""
    rows, columns = mask.shape
    draws = rng.random((_TRIES, 4)).tolist()
    for area, aspect, row, column in draws:
        target = smallest + area * (largest - smallest)
        shape = math.exp((2 * aspect - 1) * math.log(_ASPECT))
        height, width = round(math.sqrt(target * shape)), round(math.sqrt(target / shape))
        if not (1 <= height <= rows and 1 <= width <= columns):
            continue
        top, left = int(row * (rows - height + 1)), int(column * (columns - width + 1))
        block = mask[top : top + height, left : left + width]
        new = block.size - int(block.sum())
        if 0 < new <= largest:
            block[:] = True
            return new
    return 0
