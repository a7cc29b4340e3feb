"""The truth of a picture: who is where, which pixels show which area, which keypoint is seen.

Shape legend: H, W picture size; 17 keypoints in COCO order.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.areas import AREAS, KEYPOINTS, NUM_KEYPOINTS
from vills.miniature.painter import PARTS_PER_INSTANCE, SUPERSAMPLE, Canvas
from vills.miniature.parts import AREA_NUMBERS, KEYPOINT_PARTS
from vills.miniature.walk import Point

_LEAST_PIXELS = 12  # on the supersampled canvas: less of a person is nobody


@dataclass(frozen=True, slots=True)
class Instance:
    """One person in one picture; lengths in px of the picture."""

    person: int
    outfit: int
    box: NDArray[np.float32]
    """[4] x1, y1, x2, y2: the whole figure within the picture, hidden parts included."""
    visible: float
    """Share of the figure that nothing hides and the picture does not cut off."""
    keypoints: NDArray[np.float32]
    """[17, 3] x, y, seen (1) or hidden (0)."""
    areas: dict[str, NDArray[np.bool_]]
    """Visible pixels of each area, [H, W]."""


@dataclass(frozen=True, slots=True)
class Painted:
    """What is known of a figure when it has just been painted, before others hide it."""

    slot: int
    person: int
    outfit: int
    joints: dict[str, Point]
    box: NDArray[np.float32]
    pixels: int
    inside: float
    """Share of the figure's extent that lies on the canvas."""


def measure(
    canvas: Canvas, *, slot: int, person: int, outfit: int, joints: dict[str, Point]
) -> Painted | None:
    """Measure figure `slot` right after it was painted; None where nothing of it shows."""
    points = np.stack([joint[:2] for joint in joints.values()])
    height, width = canvas.parts.shape
    reach = 0.08 * float(np.ptp(points[:, 1])) + 2.0
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
    size = np.array([width, height])
    start, stop = np.clip(low, 0, size).astype(int), np.clip(np.ceil(high), 0, size).astype(int)
    region = _find_slot(canvas.parts[start[1] : stop[1], start[0] : stop[0]], slot)
    pixels = int(np.count_nonzero(region))
    if pixels < _LEAST_PIXELS:
        return None
    left, top, wide, tall = cv2.boundingRect(region)
    edges = np.array([left, top, left + wide, top + tall]) + np.tile(start, 2)
    box = edges.astype(np.float32) / np.float32(SUPERSAMPLE)
    inside = float(np.prod(np.clip(high, 0, size) - np.clip(low, 0, size)) / np.prod(high - low))
    return Painted(slot, person, outfit, joints, box, pixels, inside)


def build_instance(canvas: Canvas, painted: Painted) -> Instance:
    """Return the truth about a figure in the finished picture."""
    left, top, right, bottom = (int(edge) for edge in painted.box * SUPERSAMPLE)
    region = canvas.parts[top:bottom, left:right]
    own = np.zeros_like(canvas.parts)
    mine = _find_slot(region, painted.slot)
    own[top:bottom, left:right] = region & mine & (PARTS_PER_INSTANCE - 1)
    shown = int(np.count_nonzero(mine))
    return Instance(
        person=painted.person,
        outfit=painted.outfit,
        box=painted.box,
        visible=min(1.0, shown / painted.pixels) * painted.inside,
        keypoints=_find_keypoints(own, painted.joints),
        areas=_find_areas(own, painted.box),
    )


def _find_slot(parts: NDArray[np.uint8], slot: int) -> NDArray[np.uint8]:
    """Return 255 where `parts` show figure `slot`, else 0."""
    low = slot * PARTS_PER_INSTANCE
    if parts.size == 0:
        return parts
    return np.asarray(cv2.inRange(parts, low, low + PARTS_PER_INSTANCE - 1), dtype=np.uint8)


def _find_areas(own: NDArray[np.uint8], box: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """Return the areas on the picture, of which all lies in `box`."""
    small = own[::SUPERSAMPLE, ::SUPERSAMPLE]
    (left, top), (right, bottom) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    numbers = AREA_NUMBERS[small[top:bottom, left:right]]
    areas = {}
    for number, area in enumerate(AREAS, start=1):
        areas[area] = np.zeros(small.shape, dtype=np.bool_)
        np.equal(numbers, number, out=areas[area][top:bottom, left:right])
    return areas


def _find_keypoints(own: NDArray[np.uint8], joints: dict[str, Point]) -> NDArray[np.float32]:
    height, width = own.shape
    found = np.zeros((NUM_KEYPOINTS, 3), dtype=np.float32)
    head = joints["head"]
    shoulders = abs(float(joints["left_shoulder"][2] - joints["right_shoulder"][2]))
    for row, name in enumerate(KEYPOINTS):
        x, y, depth = joints[name]
        found[row, :2] = x / SUPERSAMPLE, y / SUPERSAMPLE
        column, line = int(x), int(y)
        if not (0 <= column < width and 0 <= line < height):
            continue
        near = own[max(0, line - 2) : line + 3, max(0, column - 2) : column + 3]
        seen = not KEYPOINT_PARTS[name].isdisjoint(near.ravel().tolist())
        if "shoulder" in name or "hip" in name:  # not through the trunk, seen from the side
            seen = seen and depth > -0.35 * shoulders - 0.03
        if name == "nose" or name.endswith(("eye", "ear")):
            seen = seen and depth > head[2] - 0.012
        found[row, 2] = float(seen)
    return found
