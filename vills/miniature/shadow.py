"""The shadow that holds a figure to the ground."""

import cv2
import numpy as np

from vills.miniature.painter import Canvas
from vills.miniature.projection import Placement


def draw_shadow(canvas: Canvas, place: Placement) -> None:
    """Darken the ground below a person."""
    axes = (int(place.scale * 0.14), int(place.scale * 0.025))
    left, right = int(place.x) - axes[0] - 1, int(place.x) + axes[0] + 2
    top, bottom = int(place.y) - axes[1] - 1, int(place.y) + axes[1] + 2
    region = canvas.colour[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if region.size == 0:
        return
    dark = (region * 0.7).astype(np.uint8)
    mask = np.zeros(region.shape[:2], dtype=np.uint8)
    centre = (int(place.x) - max(0, left), int(place.y) - max(0, top))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
    cv2.copyTo(dark, mask, region)
