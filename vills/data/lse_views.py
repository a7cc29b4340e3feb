"""LSE views (x-hat of eq. 5): what the student sees of one area of the body.

Legend: Tl frames, H x W pixels of a crop, h x w of an LSE view.
"""

from collections.abc import Sequence

import numpy as np

from vills.config.pretrain import ViewConfig
from vills.data.transforms import ViewDraw, apply_view, sample_view

Box = tuple[int, int, int, int]


def sample_lse_view(rng: np.random.Generator, config: ViewConfig) -> ViewDraw:
    """The light augmentation of an LSE view: no solarization, its own crop scale and blur."""
    return sample_view(rng, config, scale=config.lse_scale, blur=config.blur[2], solarize=0.0)


def find_region(mask: np.ndarray, *, margin: float) -> Box:
    """Tight (x1, y1, x2, y2) of bool [H, W], widened by `margin` of its sides, within the crop.

    Raises:
        ValueError: if the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("an empty mask has no region")
    y1, y2, x1, x2 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
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
        ValueError: if a mask has another size than its frame.
    """
    parts, part_masks = [], []
    for frame, mask in zip(frames, masks, strict=True):
        if mask.shape != frame.shape[:2]:
            raise ValueError(
                f"a mask of {mask.shape} lies over a crop of {frame.shape[:2]}. What to do: the "
                "LSE cache is of another build of its source; run the lse stage again."
            )
        x1, y1, x2, y2 = find_region(mask, margin=config.lse_margin)
        parts.append(frame[y1:y2, x1:x2])
        part_masks.append(np.ascontiguousarray(mask[y1:y2, x1:x2]))
    hidden = part_masks if config.lse_background == "mean" else None
    return apply_view(parts, draw, size=config.lse_size, masks=hidden)
