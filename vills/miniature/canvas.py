"""A canvas that takes tapered tubes and discs, and the truth that is read off it: who is where.

Every pixel remembers which part of which person it shows, so that masks and seen keypoints follow
from what was painted.

Shape legend: H, W size of a picture; of a canvas it is SUPERSAMPLE times that. Parts hold
`instance * 32 + part`, 0 is background. 17 keypoints in COCO order.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.areas import AREAS, KEYPOINTS, NUM_KEYPOINTS
from vills.miniature.people import Actor
from vills.miniature.walk import Point

Image = NDArray[np.uint8]
Vector = NDArray[np.float64]

PARTS_PER_INSTANCE = 32
MAX_INSTANCES = 7
SUPERSAMPLE = 2
_SHIFT = 4  # fractional bits of polygon corners: limbs move smoothly between frames
_ARC = np.linspace(0.0, np.pi, 7)
# Half circles around a tube's ends: shares of the radius across it and along it.
_FIRST = np.stack((np.cos(_ARC), -np.sin(_ARC)), axis=1)
_LAST = -_FIRST
_CIRCLE = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_ROUND = np.stack((np.cos(_CIRCLE), np.sin(_CIRCLE)), axis=1)


Part = IntEnum(
    "Part",
    "HEAD HAIR NECK TORSO LEFT_UPPER_ARM RIGHT_UPPER_ARM LEFT_FOREARM RIGHT_FOREARM PELVIS "
    "LEFT_THIGH RIGHT_THIGH LEFT_SHIN RIGHT_SHIN LEFT_FOOT RIGHT_FOOT BAG",
)
"""What a pixel of a person shows, from 1."""


def convert_to_painting(image: Image) -> Image:
    """Return a picture [H, W, 3] at the painter's size."""
    height, width = image.shape[:2]
    size = (width * SUPERSAMPLE, height * SUPERSAMPLE)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def convert_to_picture(image: Image) -> Image:
    """Return a painting at the picture's size [H, W, 3]."""
    height, width = image.shape[:2]
    size = (width // SUPERSAMPLE, height // SUPERSAMPLE)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


class Canvas:
    """Colour [H, W, 3] and parts [H, W], both uint8, painted from far to near."""

    def __init__(self, background: Image) -> None:
        self.colour: Image = background
        self.parts: Image = np.zeros(background.shape[:2], dtype=np.uint8)
        self.instance = 0

    def begin(self, instance: int) -> None:
        """Give what is painted from here on to person `instance` (1 to 7; 0: an object)."""
        assert 0 <= instance <= MAX_INSTANCES
        self.instance = instance

    def paint(self, outline: Vector, texture: Image, matrix: Vector, *, part: int) -> None:
        """Fill the polygon `outline` [P, 2] with a texture placed by an affine `matrix` [2, 3].

        The matrix maps texture (column, row) to canvas (x, y); outside it, the rim repeats.
        """
        height, width = self.parts.shape
        # Plain numbers from here on: of a dozen corners, NumPy's calls cost more than its sums.
        x, y = outline.T.tolist()
        left, top = max(0, math.floor(min(x))), max(0, math.floor(min(y)))
        right, bottom = min(width, math.ceil(max(x)) + 1), min(height, math.ceil(max(y)) + 1)
        if left >= right or top >= bottom:
            return
        shifted = matrix - np.array([[0.0, 0.0, left], [0.0, 0.0, top]])
        size = (right - left, bottom - top)
        warped = cv2.warpAffine(
            texture, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros((size[1], size[0]), dtype=np.uint8)
        corners = np.round((outline - (left, top)) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1, lineType=cv2.LINE_8, shift=_SHIFT)
        cv2.copyTo(warped, mask, self.colour[top:bottom, left:right])
        code = self.instance * PARTS_PER_INSTANCE + part if self.instance else 0
        region = self.parts[top:bottom, left:right]
        cv2.fillPoly(region, [corners], code, lineType=cv2.LINE_8, shift=_SHIFT)

    def paint_tube(
        self, start: Vector, end: Vector, radii: tuple[float, float], texture: Image, *, part: int
    ) -> None:
        """Paint a tapered capsule; texture rows run from start to end, columns across it."""
        (x, y), (x_end, y_end) = start.tolist(), end.tolist()
        length = math.hypot(x_end - x, y_end - y)
        # Columns of a texture run to the image's right on a limb that hangs down: across it, as
        # seen along (a, b), is (b, -a).
        a, b = ((x_end - x) / length, (y_end - y) / length) if length > 1e-6 else (0.0, 1.0)
        ends = np.array(((x, y), (x_end, y_end)))
        turns = np.array(((b, -a), (a, b)))
        outline = np.concatenate(
            (ends[0] + radii[0] * (_FIRST @ turns), ends[1] + radii[1] * (_LAST @ turns))
        )
        radius = max(radii)
        rows, columns = texture.shape[:2]
        wide, long = 2 * radius / columns, max(length, 1.0) / rows
        matrix = np.array(
            ((b * wide, a * long, x - b * radius), (-a * wide, b * long, y + a * radius))
        )
        self.paint(outline, texture, matrix, part=part)

    def paint_disc(self, centre: Vector, radius: Vector, texture: Image, *, part: int) -> None:
        """Paint an ellipse of half axes `radius` [2], its bounding box filled by the texture."""
        outline = centre + radius * _ROUND
        rows, columns = texture.shape[:2]
        matrix = np.array(
            [
                [2 * radius[0] / columns, 0.0, centre[0] - radius[0]],
                [0.0, 2 * radius[1] / rows, centre[1] - radius[1]],
            ]
        )
        self.paint(outline, texture, matrix, part=part)


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


def compute_truth(
    canvas: Canvas, slot: int, actor: Actor, joints: dict[str, Point]
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
        outfit=painted.actor.outfit.index,
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


_KEYPOINT_PARTS = {
    name: frozenset(Part[part.format(side.upper())] for part in _JOINT_PARTS[joint])
    for name in KEYPOINTS
    for side, _, joint in [name.rpartition("_")]
}


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
