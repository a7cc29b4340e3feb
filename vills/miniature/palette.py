"""Colours of the world, RGB 0-255.

Everyone dresses from the same few colour sets: a colour says little about who wears it, which
colour sits where says more.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

CLOTHES: Final[dict[str, Colour]] = {
    "black": (38, 38, 42),
    "white": (222, 222, 216),
    "grey": (128, 130, 132),
    "navy": (42, 54, 104),
    "denim": (88, 122, 166),
    "red": (172, 52, 50),
    "maroon": (104, 38, 54),
    "olive": (98, 104, 58),
    "khaki": (190, 168, 126),
    "green": (48, 120, 82),
    "mustard": (206, 164, 56),
    "pink": (208, 142, 154),
    "brown": (110, 74, 48),
    "teal": (54, 126, 134),
}

# Sets of three: most contain a dark, a light and a coloured garment, and every colour is in
# several sets, so that people who share all their colours differ by where they wear them.
COLOUR_SETS: Final[tuple[tuple[str, str, str], ...]] = (
    ("black", "white", "red"),
    ("navy", "white", "grey"),
    ("black", "denim", "mustard"),
    ("olive", "khaki", "black"),
    ("maroon", "grey", "white"),
    ("teal", "khaki", "navy"),
    ("brown", "denim", "white"),
    ("pink", "navy", "grey"),
    ("green", "black", "khaki"),
    ("red", "denim", "grey"),
)

HAIR: Final[tuple[Colour, ...]] = (
    (28, 24, 24),
    (62, 42, 30),
    (112, 76, 44),
    (186, 152, 96),
    (150, 148, 146),
    (124, 54, 34),
)

SKIN: Final[tuple[Colour, ...]] = (
    (236, 200, 176),
    (218, 176, 142),
    (184, 138, 104),
    (134, 94, 68),
    (92, 64, 48),
)


def shade(colour: Colour, factor: float) -> Colour:
    """Return `colour` made darker (< 1) or lighter (> 1)."""
    red, green, blue = (int(min(255.0, max(0.0, c * factor))) for c in colour)
    return red, green, blue


def fill(height: int, width: int, colour: Colour) -> NDArray[np.uint8]:
    """Return a uint8 [height, width, 3] patch of one colour."""
    return np.full((height, width, 3), colour, dtype=np.uint8)
