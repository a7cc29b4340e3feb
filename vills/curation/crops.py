"""Boxes of a frame to crops: which are good enough, and the pixels that they show."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vills.config.curate import CurateConfig

KEPT = ""
FRAME_REASONS = ("too_low", "too_narrow", "too_wide", "too_slim", "overlapped", "cut_off")
"""Reasons to drop a frame of a track, in the order in which they are asked."""
CropBox = tuple[int, int, int, int]


def find_reasons(
    boxes: NDArray[np.float32],
    *,
    overlaps: NDArray[np.floating],
    width: int,
    height: int,
    config: CurateConfig,
) -> list[str]:
    """Name the first reason against each box, or KEPT.

    Boxes are float32 [n, 4], px, inside a frame of `width` and `height`; overlaps float [n], the
    share of each box that another person's box covers.
    """
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    aspects = heights / np.maximum(widths, np.float32(1e-6))
    to_border = np.minimum(boxes[:, :2], np.array([width, height]) - boxes[:, 2:]).min(axis=1)
    failed = {
        "too_low": heights < config.min_height,
        "too_narrow": widths < config.min_width,
        "too_wide": aspects < config.min_aspect,
        "too_slim": aspects > config.max_aspect,
        "overlapped": overlaps > config.max_overlap,
        "cut_off": to_border < config.border_margin,
    }
    return [
        next((reason for reason in FRAME_REASONS if failed[reason][i]), KEPT)
        for i in range(len(boxes))
    ]


def compute_overlaps(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the largest share of each box that one other box covers: float32 [n] of [n, 4]."""
    if len(boxes) < 2:
        return np.zeros(len(boxes), dtype=np.float32)
    top_left = np.maximum(boxes[:, None, :2], boxes[None, :, :2])  # [n, n, 2]
    bottom_right = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    covered = np.clip(bottom_right - top_left, 0, None).prod(axis=2)  # [n, n]
    np.fill_diagonal(covered, 0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(covered.max(axis=1) / np.maximum(areas, 1e-6), dtype=np.float32)


def extract_crop(
    image: NDArray[np.uint8], *, box: NDArray[np.float32], crop_height: int
) -> tuple[NDArray[np.uint8], CropBox]:
    """Cut a box out of a frame and reduce what is higher than `crop_height` (0: never).

    Of an image, uint8 [H, W, 3], and a box, x1, y1, x2, y2 in px, not empty inside the frame.

    Returns:
        The crop, uint8 [h, w, 3], and the whole-pixel box of the frame that it shows; a point of
        the frame is found in the crop by that box and the crop's size.
    """
    height, width = image.shape[:2]
    x1, y1 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x2, y2 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    crop = np.ascontiguousarray(image[y1:y2, x1:x2])
    if crop_height and crop.shape[0] > crop_height:
        new_width = max(1, round(crop.shape[1] * crop_height / crop.shape[0]))
        # PIL's filters widen with the reduction, so fine texture does not alias.
        small = Image.fromarray(crop).resize((new_width, crop_height), Image.Resampling.BICUBIC)
        crop = np.asarray(small, dtype=np.uint8)
    return crop, (x1, y1, x2, y2)
