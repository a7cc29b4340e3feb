"""A canvas that takes tapered tubes and discs, and remembers which body part each pixel shows.

Shape legend: H, W canvas size (supersampled); parts hold `instance * 32 + part`, 0 is background.
"""

import math
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

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


class Part(IntEnum):
    """What a pixel of a person shows."""

    HEAD = 1
    HAIR = 2
    NECK = 3
    TORSO = 4
    LEFT_UPPER_ARM = 5
    RIGHT_UPPER_ARM = 6
    LEFT_FOREARM = 7
    RIGHT_FOREARM = 8
    PELVIS = 9
    LEFT_THIGH = 10
    RIGHT_THIGH = 11
    LEFT_SHIN = 12
    RIGHT_SHIN = 13
    LEFT_FOOT = 14
    RIGHT_FOOT = 15
    BAG = 16


def enlarge(image: Image) -> Image:
    """Return a picture [H, W, 3] at the painter's size."""
    height, width = image.shape[:2]
    size = (width * SUPERSAMPLE, height * SUPERSAMPLE)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def shrink(image: Image) -> Image:
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
