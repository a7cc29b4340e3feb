"""A camera: where it looks, how it colours, blurs and compresses what it sees."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.miniature.background import Background, build_background
from vills.miniature.painter import Image
from vills.miniature.rng import Stream, sample_rng

# Every camera watches a way that people walk along in one direction: identity need not be told
# from any side. Degrees; 0 comes towards the camera.
_DIRECTIONS = (12.0, 62.0, -38.0, 158.0, -96.0, 110.0)
_NOISE_SIZE = 704  # px; no picture is larger, see MiniatureConfig.image_height


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera of the world."""

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
def build_place(seed: int, index: int, height: int, width: int, horizon: float) -> Background:
    """Return what camera `index` sees without people, [height, width]."""
    rng = sample_rng(seed, Stream.CAMERA, index, 1)
    return build_background(rng, height=height, width=width, horizon=horizon)


def develop(camera: Camera, image: Image, rng: np.random.Generator) -> Image:
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
