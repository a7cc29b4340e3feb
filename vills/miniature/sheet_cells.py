"""Cells of contact sheets: pictures of one size, labels, rows of both."""

from pathlib import Path

import cv2
import numpy as np

from vills.miniature.painter import Image
from vills.miniature.sink import decode_image

CELL = (128, 64)
_GAP = 6
_WHITE = 255


def stack(pictures: list[Image], *, axis: int, gap: int = _GAP) -> Image:
    """Return pictures [H, W, 3] beside (axis 1) or below (axis 0) each other, on white."""
    other = 1 - axis
    length = max(picture.shape[other] for picture in pictures)
    padded = []
    for picture in pictures:
        border = [(0, 0), (0, 0), (0, 0)]
        border[other] = (0, length - picture.shape[other])
        border[axis] = (0, gap)
        padded.append(np.pad(picture, border, constant_values=_WHITE))
    return np.concatenate(padded, axis=axis)


def write_label(text: str, height: int, *, width: int = 40) -> Image:
    """Return a white field with a few letters."""
    field = np.full((height, width, 3), _WHITE, dtype=np.uint8)
    spot = (2, height // 2 + 4)
    cv2.putText(field, text, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return field


def draw_pictures(pictures: list[Image], count: int) -> Image:
    """Return the first `count` pictures side by side as cells; blank cells for missing ones."""
    cells = [fit_cell(picture) for picture in pictures[:count]]
    blank = np.full((*CELL, 3), _WHITE, dtype=np.uint8)
    return np.concatenate(cells + [blank] * (count - len(cells)), axis=1)


def read_image(path: Path) -> Image:
    """Return an image file as RGB uint8 [H, W, 3]."""
    return decode_image(path.read_bytes())


def fit_cell(image: Image) -> Image:
    """Return a picture in the size of a cell."""
    size = (CELL[1], CELL[0])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
