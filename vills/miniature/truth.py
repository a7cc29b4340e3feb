"""The truth of a picture: who is where, which pixels show which area, which keypoint is seen.

Shape legend: H, W picture size; 17 keypoints in COCO order.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.areas import AREAS, KEYPOINTS, NUM_KEYPOINTS
from vills.miniature.painter import PARTS_PER_INSTANCE, SUPERSAMPLE, Canvas, Part
from vills.miniature.people import Actor
from vills.miniature.walk import Point

_LEAST_PIXELS = 12  # on the supersampled canvas: less of a person is nobody

# Parts of both sides by their names without the side.
_AREA_PARTS = {
    "head": ("HEAD", "HAIR", "NECK"),
    "upper_body": ("TORSO", "UPPER_ARM", "FOREARM"),
    "lower_body": ("PELVIS", "THIGH", "SHIN", "FOOT"),
}
# Parts that show a keypoint; {} stands for its side.
_JOINT_PARTS = {
    "nose": ("HEAD",),
    "eye": ("HEAD",),
    "ear": ("HEAD",),
    "shoulder": ("{}_UPPER_ARM", "TORSO"),
    "elbow": ("{}_UPPER_ARM", "{}_FOREARM"),
    "wrist": ("{}_FOREARM",),
    "hip": ("PELVIS", "TORSO", "{}_THIGH"),
    "knee": ("{}_THIGH", "{}_SHIN"),
    "ankle": ("{}_SHIN", "{}_FOOT"),
}


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
    actor: Actor
    joints: dict[str, Point]
    box: NDArray[np.float32]
    pixels: int
    inside: float
    """Share of the figure's extent that lies on the canvas."""


def measure(canvas: Canvas, slot: int, actor: Actor, joints: dict[str, Point]) -> Painted | None:
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
    return Painted(slot, actor, joints, box, pixels, inside)


def build_instance(canvas: Canvas, painted: Painted) -> Instance:
    """Return the truth about a figure in the finished picture."""
    left, top, right, bottom = (int(edge) for edge in painted.box * SUPERSAMPLE)
    region = canvas.parts[top:bottom, left:right]
    own = np.zeros_like(canvas.parts)
    mine = _find_slot(region, painted.slot)
    own[top:bottom, left:right] = region & mine & (PARTS_PER_INSTANCE - 1)
    shown = int(np.count_nonzero(mine))
    return Instance(
        person=painted.actor.person,
        outfit=painted.actor.look.outfit.index,
        box=painted.box,
        visible=min(1.0, shown / painted.pixels) * painted.inside,
        keypoints=_find_keypoints(own, painted.joints),
        areas=_find_areas(own, painted.box),
    )


def _build_area_numbers() -> NDArray[np.uint8]:
    table = np.zeros(PARTS_PER_INSTANCE, dtype=np.uint8)
    for part in Part:
        name = part.name.removeprefix("LEFT_").removeprefix("RIGHT_")
        table[part] = next((n for n, area in enumerate(AREAS, 1) if name in _AREA_PARTS[area]), 0)
    return table


_AREA_NUMBERS = _build_area_numbers()
"""[32] area of a part, 1 for the first of AREAS; 0 for a part of none."""


def _find_parts(keypoint: str) -> frozenset[int]:
    side, _, joint = keypoint.rpartition("_")
    return frozenset(Part[name.format(side.upper())] for name in _JOINT_PARTS[joint])


_KEYPOINT_PARTS = {name: _find_parts(name) for name in KEYPOINTS}


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
    numbers = _AREA_NUMBERS[small[top:bottom, left:right]]
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
        seen = not _KEYPOINT_PARTS[name].isdisjoint(near.ravel().tolist())
        if "shoulder" in name or "hip" in name:  # not through the trunk, seen from the side
            seen = seen and depth > -0.35 * shoulders - 0.03
        if name == "nose" or name.endswith(("eye", "ear")):
            seen = seen and depth > head[2] - 0.012
        found[row, 2] = float(seen)
    return found
