"""Cylindrical maps of garments: rows run down the body, columns around it.

Shape legend: H rows, W columns; column W/2 is the front of the body, W/4 more is its left.
"""

import numpy as np
from numpy.typing import NDArray

from vills.miniature.outfit import Outfit
from vills.miniature.palette import Colour, fill

Map = NDArray[np.uint8]
ROWS = 48
AROUND = 72
WIDTH = 28
_LIGHT = 0.5  # radians by which the light comes from the image's right
_ACROSS = np.arcsin(np.linspace(-0.98, 0.98, WIDTH))
_SHADE = (0.66 + 0.36 * np.cos(_ACROSS - _LIGHT)).astype(np.float32)[None, :, None]


def build_torso_map(outfit: Outfit) -> Map:
    """Return the top as uint8 [ROWS, AROUND, 3]."""
    if outfit.top == "open_jacket":
        # A jacket shows its own colour around and the pattern of what is under it in front.
        body = fill(ROWS, AROUND, outfit.top_colour)
        inner = _build_pattern(outfit, outfit.top_second, outfit.bottom_second)
        opening = np.abs(_columns()) < 0.09 + 0.012 * outfit.num_bands
        body[:, opening] = inner[:, opening]
        return body
    return _build_pattern(outfit, outfit.top_colour, outfit.top_second)


def build_sleeve_map(outfit: Outfit) -> Map:
    """Return a sleeve; hoops and checks go on along the arm, other patterns do not."""
    colour = outfit.top_second if outfit.sleeve_second else outfit.top_colour
    other = outfit.top_colour if outfit.sleeve_second else outfit.top_second
    sleeve = fill(ROWS, AROUND, colour)
    if outfit.top != "open_jacket" and outfit.top_pattern in ("hoops", "checks"):
        sleeve[_bands(outfit.num_bands)] = other
    return sleeve


def build_leg_map(outfit: Outfit) -> Map:
    """Return one leg of the trousers from hip (row 0) to ankle."""
    leg = fill(ROWS, AROUND, outfit.bottom_colour)
    second = outfit.bottom_second
    rows = np.arange(ROWS) / ROWS
    if outfit.bottom_pattern == "side_stripe":
        leg[:, np.abs(np.abs(_columns()) - 0.25) < 0.07] = second
    elif outfit.bottom_pattern == "checks":
        leg[_checks(outfit.bottom_bands + 2, 10)] = second
    elif outfit.bottom_pattern == "knee_panel":
        leg[(rows > 0.42) & (rows < 0.62)] = second
    elif outfit.bottom_pattern == "cuffs":
        leg[rows > 0.80] = second
    return leg


def turn(texture: Map, yaw: float) -> Map:
    """Return what a viewer sees of a cylinder turned by `yaw`, shaded.

    Args:
        texture: map [H, W, 3].
        yaw: 0 when its front faces the viewer, pi/2 when it points to the image's right.

    Returns:
        uint8 [H, WIDTH, 3].
    """
    around = texture.shape[1]
    columns = np.round(((_ACROSS - yaw) / (2 * np.pi) + 0.5) * around).astype(np.intp) % around
    return np.asarray(np.minimum(texture[:, columns] * _SHADE, 255.0), dtype=np.uint8)


def _columns() -> NDArray[np.float64]:
    """Signed turn of each column from the front, in -0.5 to 0.5."""
    return np.arange(AROUND) / AROUND - 0.5


def _bands(count: int) -> NDArray[np.bool_]:
    return np.asarray((np.arange(ROWS) * 2 * count // ROWS) % 2 == 1)


def _checks(down: int, around: int) -> NDArray[np.bool_]:
    rows = (np.arange(ROWS) * 2 * down // ROWS) % 2
    columns = (np.arange(AROUND) * 2 * around // AROUND) % 2
    return np.asarray((rows[:, None] + columns[None, :]) % 2 == 1)


def _build_pattern(outfit: Outfit, colour: Colour, second: Colour) -> Map:
    garment = fill(ROWS, AROUND, colour)
    rows, columns = np.arange(ROWS) / ROWS, _columns()
    where: NDArray[np.bool_] = np.zeros((ROWS, AROUND), dtype=np.bool_)
    pattern = outfit.top_pattern
    if pattern == "hoops":
        where[_bands(outfit.num_bands)] = True
    elif pattern == "pinstripes":
        where[:, (np.arange(AROUND) * (outfit.num_bands + 6) // AROUND) % 2 == 1] = True
    elif pattern == "checks":
        where = _checks(outfit.num_bands, outfit.num_bands + 3)
    elif pattern in ("yoke", "hem", "chest_band"):
        low, high = {"yoke": (-1, 0.36), "hem": (0.62, 2), "chest_band": (0.30, 0.58)}[pattern]
        where[(rows > low) & (rows < high)] = True
    elif pattern == "dots":
        where = _build_dots(outfit.num_bands)
    elif pattern == "diagonal":
        slope = rows[:, None] + np.abs(columns)[None, :] * 2.2
        where = (slope * (outfit.num_bands - 1)).astype(np.intp) % 2 == 1
    elif pattern == "logo":
        where = _build_logo(outfit.logo, 0.0) | _build_logo(outfit.logo, 0.5)
    garment[where] = second
    return garment


def _build_dots(count: int) -> NDArray[np.bool_]:
    y = (np.arange(ROWS) / ROWS * count) % 1.0 - 0.5
    x = (np.arange(AROUND) / AROUND * count * 2) % 1.0 - 0.5
    return np.asarray(y[:, None] ** 2 + x[None, :] ** 2 < 0.11)


def _build_logo(shape: str, centre: float) -> NDArray[np.bool_]:
    """A large sign at the front (centre 0) or the back (0.5) of the top."""
    x = ((_columns() - centre + 0.5) % 1.0 - 0.5)[None, :] * 5.0
    y = (np.arange(ROWS) / ROWS - 0.42)[:, None] * 3.2
    radius = np.hypot(x, y)
    shapes = {
        "disc": radius < 0.72,
        "ring": (radius < 0.82) & (radius > 0.42),
        "bar": (np.abs(y) < 0.24) & (np.abs(x) < 0.95),
        "cross": ((np.abs(x) < 0.24) | (np.abs(y) < 0.24)) & (np.maximum(abs(x), abs(y)) < 0.85),
        "triangle": (y > -0.7) & (y < 0.7) & (np.abs(x) < (y + 0.7) * 0.6),
    }
    return shapes[shape]
