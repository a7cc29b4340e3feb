"""Block masks over a patch grid: what the student does not see (BEiT blocks, DINOv2 ratios)."""

import math

import numpy as np

from vills.config.pretrain import MaskConfig

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
