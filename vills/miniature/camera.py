"""A camera: the place that it looks at, and how it colours, blurs and compresses what it sees.

Places are cluttered and low in saturation: walls with windows, ground with marks, posts and boxes.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.miniature import Stream, sample_rng
from vills.miniature.canvas import Image

# Every camera watches a way that people walk along in one direction: identity need not be told
# from any side. Degrees; 0 comes towards the camera.
_DIRECTIONS = (12.0, 62.0, -38.0, 158.0, -96.0, 110.0)
_NOISE_SIZE = 704  # px; no picture is larger, see MiniatureConfig.image_height


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera of the world."""

    seed: int
    """Of the world."""
    index: int
    yaw: float
    """Direction in which people walk as the camera sees it, radians."""
    pitch: float
    """How far it looks down, radians."""
    matrix: tuple[tuple[float, float, float], ...]
    """Colour cast and saturation: RGB to RGB."""
    gamma: float
    blur: float
    """Standard deviation, px."""
    noise: float
    """Standard deviation, grey levels."""
    quality: int
    """JPEG quality."""


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A place without people; crops see a small piece of it, so only pieces are finished."""

    drawn: NDArray[np.float32]
    """[H, W, 3] flat colours."""
    rough: NDArray[np.float32]
    """[H, W] what is added to them."""
    light: NDArray[np.float32]
    """[W] what they are multiplied by."""

    def cut(self, top: int, left: int, height: int, width: int) -> Image:
        """Return the piece at `top`, `left` as uint8 [height, width, 3]."""
        # One more pixel on each side, where there is one, for the blur.
        above, before = min(top, 1), min(left, 1)
        rows, columns = slice(top - above, top + height + 1), slice(left - before, left + width + 1)
        piece = self.drawn[rows, columns] + self.rough[rows, columns, None]
        piece *= self.light[columns, None]
        soft = cv2.GaussianBlur(piece, (3, 3), 0.8)
        soft = soft[above : above + height, before : before + width]
        return np.clip(soft, 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=256)
def build_camera(seed: int, index: int) -> Camera:
    """Return camera `index` of the world."""
    rng = sample_rng(seed, Stream.CAMERA, index)
    cast = np.exp(np.clip(rng.normal(0.0, 0.09, size=3), -0.18, 0.18))
    cast = cast / cast.mean() * rng.uniform(0.88, 1.12)
    saturation = rng.uniform(0.68, 1.05)
    luma = np.array([0.30, 0.59, 0.11])
    matrix = cast[:, None] * (saturation * np.eye(3) + (1 - saturation) * luma[None, :])
    direction = _DIRECTIONS[index % len(_DIRECTIONS)] + rng.normal(0.0, 5.0)
    return Camera(
        seed=seed,
        index=index,
        yaw=float(np.deg2rad(direction)),
        pitch=float(rng.uniform(0.03, 0.20)),
        matrix=tuple((float(a), float(b), float(c)) for a, b, c in matrix),
        gamma=float(np.exp(rng.uniform(-0.25, 0.25))),
        blur=float(rng.uniform(0.15, 0.70)),
        noise=float(rng.uniform(2.0, 6.0)),
        quality=int(rng.integers(70, 93)),
    )


@functools.lru_cache(maxsize=16)
def build_place(camera: Camera, height: int, width: int, horizon: float) -> Background:
    """Return what `camera` sees without people, [height, width].

    The wall ends and the ground begins at `horizon`, a share of the height.
    """
    rng = sample_rng(camera.seed, Stream.CAMERA, camera.index, 1)
    wall, ground = rng.uniform(95, 190), rng.uniform(80, 170)
    line = int(height * horizon)
    image = np.zeros((height, width, 3), dtype=np.float32)
    cv2.rectangle(image, (0, 0), (width, line - 1), _tint(rng, wall), -1)
    cv2.rectangle(image, (0, line), (width, height), _tint(rng, ground), -1)
    unit = max(4, height // 16)
    _draw_wall(rng, image, line, unit, wall)
    _draw_ground(rng, image, line, unit, ground)
    _draw_clutter(rng, image, line, unit)
    coarse = rng.normal(0.0, 1.0, size=(height // 4 + 1, width // 4 + 1)).astype(np.float32)
    rough = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    light = np.linspace(rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.1), width)
    return Background(
        drawn=image,
        rough=np.asarray(rough, dtype=np.float32) * np.float32(6.0),
        light=light.astype(np.float32),
    )


def render_photo(camera: Camera, image: Image, rng: np.random.Generator) -> Image:
    """Return `image` uint8 [H, W, 3] as the camera records it, before compression."""
    exposure = float(np.exp(rng.normal(0.0, 0.06)))
    matrix = np.array(camera.matrix) * exposure
    table = 255.0 * (np.arange(256) / 255.0) ** camera.gamma
    seen = cv2.LUT(cv2.transform(image, matrix), np.clip(table, 0, 255).astype(np.uint8))
    sigma = camera.blur * float(rng.uniform(0.7, 1.3))
    seen = cv2.GaussianBlur(seen, (5, 5), sigma)
    height, width = image.shape[:2]
    top = int(rng.integers(_NOISE_SIZE - height + 1))
    left = int(rng.integers(_NOISE_SIZE - width + 1))
    grain = _build_noise()[top : top + height, left : left + width]
    # One pass in blocks, which rounds to the nearest: half a level less cuts the fraction off.
    noisy = cv2.addWeighted(seen, 1.0, grain, camera.noise, -0.5, dtype=cv2.CV_8U)
    return np.asarray(noisy, dtype=np.uint8)


@functools.cache
def _build_noise() -> NDArray[np.float32]:
    # One sheet of grain for all: drawing it anew for each frame would cost more than painting.
    rng = sample_rng(0, Stream.CAMERA)
    sheet = rng.standard_normal((_NOISE_SIZE, _NOISE_SIZE, 3), dtype=np.float32)
    mono = rng.standard_normal((_NOISE_SIZE, _NOISE_SIZE, 1), dtype=np.float32)
    return (0.5 * sheet + 0.8 * mono).astype(np.float32)


def _tint(rng: np.random.Generator, grey: float) -> tuple[float, float, float]:
    """Return a grey with a hint of colour."""
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
