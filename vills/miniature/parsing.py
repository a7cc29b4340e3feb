"""A degraded parsing map: what a human parser makes of a picture, all persons together.

Shape legend: H, W picture size.
"""

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.areas import AREAS
from vills.miniature.truth import Instance

Labels = NDArray[np.uint8]
_GRID = 12  # px between the nodes of the distortion


def parse(
    instances: list[Instance], rng: np.random.Generator, *, height: int, width: int
) -> dict[str, NDArray[np.bool_]]:
    """Return a mask [H, W] for each area, with the errors of a parser.

    Outlines wobble, grow or shrink, holes open, and now and then a person's upper and lower
    body are taken for each other.
    """
    labels = np.zeros((height, width), dtype=np.uint8)
    for instance in instances:
        swapped = rng.random() < 0.05
        for number, area in enumerate(AREAS, start=1):
            taken = number
            if swapped and area != "head":
                taken = 1 + AREAS.index("lower_body" if area == "upper_body" else "upper_body")
            np.copyto(labels, np.uint8(taken), where=instance.areas[area])
    labels = _wobble(labels, rng)
    masks = {}
    for number, area in enumerate(AREAS, start=1):
        mask = (labels == number).astype(np.uint8)
        kernel = np.ones((3, 3), dtype=np.uint8)
        change = rng.random()
        if change < 0.35:
            mask = cv2.dilate(mask, kernel)
        elif change < 0.65:
            mask = cv2.erode(mask, kernel)
        masks[area] = mask > 0
    return masks


def _wobble(labels: Labels, rng: np.random.Generator) -> Labels:
    height, width = labels.shape
    nodes = (2, height // _GRID + 2, width // _GRID + 2)
    shift = rng.normal(0.0, 1.3, size=nodes).astype(np.float32)
    # The field is stretched over the picture: neighbouring outlines move together.
    down, across = (cv2.resize(s, (width, height), interpolation=cv2.INTER_LINEAR) for s in shift)
    rows, columns = _build_grid(height, width)
    moved = cv2.remap(labels, columns + across, rows + down, cv2.INTER_NEAREST)
    for _ in range(int(rng.integers(0, 3))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(moved, (x, y), int(rng.integers(2, 6)), 0, -1)
    return moved.astype(np.uint8)


@functools.lru_cache(maxsize=4)
def _build_grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows, columns = np.indices((height, width), dtype=np.float32)
    return rows, columns
