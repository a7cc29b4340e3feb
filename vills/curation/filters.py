"""Which boxes of a track are good enough for a crop, and why the others are not."""

import numpy as np
from numpy.typing import NDArray

from vills.config.curate import CurateConfig

KEPT = ""
FRAME_REASONS = ("too_low", "too_narrow", "too_wide", "too_slim", "overlapped", "cut_off")
"""Reasons to drop a frame of a track, in the order in which they are asked."""


def find_reasons(
    boxes: NDArray[np.float32],
    *,
    overlaps: NDArray[np.floating],
    width: int,
    height: int,
    config: CurateConfig,
) -> list[str]:
    """Name the first reason against each box, or KEPT.

    Args:
        boxes: float32 [n, 4], px, inside the frame.
        overlaps: float [n], share of each box that another person's box covers.
        width: Width of the frame, px.
        height: Height of the frame, px.
        config: The thresholds.
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
