"""Low-saturation, cluttered places: walls with windows, ground with marks, posts and boxes."""

import cv2
import numpy as np

from vills.miniature.painter import Image


def build_background(rng: np.random.Generator, *, height: int, width: int, horizon: float) -> Image:
    """Return a uint8 [height, width, 3] picture of a place without people.

    Args:
        rng: decides everything.
        height: px.
        width: px.
        horizon: share of the height at which the wall ends and the ground begins.
    """
    wall, ground = rng.uniform(95, 190), rng.uniform(80, 170)
    line = int(height * horizon)
    image = np.empty((height, width, 3), dtype=np.float32)
    image[:line] = _tint(rng, wall)
    image[line:] = _tint(rng, ground)
    image = np.ascontiguousarray(image)
    unit = max(4, height // 16)
    _draw_wall(rng, image, line, unit, wall)
    _draw_ground(rng, image, line, unit, ground)
    _draw_clutter(rng, image, line, unit)
    coarse = rng.normal(0.0, 1.0, size=(height // 4 + 1, width // 4 + 1)).astype(np.float32)
    rough = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image += np.asarray(rough, dtype=np.float32)[..., None] * 6.0
    light = np.linspace(rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.1), width)
    image *= light[None, :, None].astype(np.float32)
    soft = cv2.GaussianBlur(image, (3, 3), 0.8)
    return np.clip(soft, 0, 255).astype(np.uint8)


def _tint(rng: np.random.Generator, grey: float) -> tuple[float, float, float]:
    """A grey with a hint of colour."""
    red, green, blue = grey + rng.normal(0.0, 5.0, size=3)
    return float(red), float(green), float(blue)


def _draw_wall(
    rng: np.random.Generator, image: np.ndarray, line: int, unit: int, grey: float
) -> None:
    width = image.shape[1]
    pane = _tint(rng, grey * rng.uniform(0.5, 0.8))
    step_x, step_y = int(unit * rng.uniform(2.5, 5)), int(unit * rng.uniform(2, 4))
    for top in range(unit // 2, max(line - step_y // 2, 1), step_y):
        for left in range(int(rng.integers(step_x)), width, step_x):
            if rng.random() < 0.6:
                corner = (left + step_x // 2, top + int(step_y * 0.6))
                cv2.rectangle(image, (left, top), corner, pane, -1)


def _draw_ground(
    rng: np.random.Generator, image: np.ndarray, line: int, unit: int, grey: float
) -> None:
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(3, 9))):
        y = int(rng.integers(line, height))
        shift = int(rng.integers(-unit, unit + 1))
        colour = _tint(rng, grey * rng.uniform(0.75, 1.25))
        cv2.line(image, (0, y), (width, y + shift), colour, int(rng.integers(1, 4)))


def _draw_clutter(rng: np.random.Generator, image: np.ndarray, line: int, unit: int) -> None:
    height, width = image.shape[:2]
    count = max(4, width // (2 * unit))
    for _ in range(count):
        x = int(rng.integers(0, width))
        foot = int(line + rng.integers(-unit, max(1, (height - line) // 2)))
        colour = _tint(rng, rng.uniform(50, 200))
        kind = rng.random()
        if kind < 0.35:  # a post
            cv2.rectangle(image, (x, foot - unit * 6), (x + max(1, unit // 4), foot), colour, -1)
        elif kind < 0.8:  # a box, a bench, a car
            size = rng.uniform(0.6, 3.0, size=2) * unit
            cv2.rectangle(image, (x, foot - int(size[1])), (x + int(size[0]), foot), colour, -1)
        else:  # a bush
            axes = (int(unit * rng.uniform(0.5, 1.6)), int(unit * rng.uniform(0.4, 1.2)))
            cv2.ellipse(image, (x, foot), axes, 0, 0, 360, colour, -1)
