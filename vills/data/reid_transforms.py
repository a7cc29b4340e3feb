"""Augmentation of fine-tuning (PASS, TransReID, SOLIDER; CAL), consistent within a clip.

Legend: T frames of a clip (1 for an image), H x W pixels of an input.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from vills.config.finetune import FinetuneConfig
from vills.data.transforms import ColorDraw, compute_color_matrix, erase_rectangle, resize

_ZOOM = 1.125
"""Of torchreid's Random2DTranslation and CAL's RandomCroping."""
_JITTER = 0.3


def load_inputs(frames: Sequence[np.ndarray], *, size: Sequence[int]) -> np.ndarray:
    """uint8 [T, 3, H, W] of uint8 frames [h, w, 3], resized and nothing else: for testing."""
    height, width = size
    resized = np.stack([resize(frame, height=height, width=width) for frame in frames])
    return np.ascontiguousarray(resized.transpose(0, 3, 1, 2))


def augment_inputs(
    frames: Sequence[np.ndarray], rng: np.random.Generator, *, config: FinetuneConfig
) -> np.ndarray:
    """uint8 [T, 3, H, W]: resized, then changed by one draw for all frames.

    In this order: flip, pad and crop, jitter, white balance, erase.
    """
    views = _resize_or_zoom(frames, rng, config=config)
    flip, jitter, erase = rng.random(3).tolist()
    if flip < config.flip:
        views = views[:, :, ::-1]
    views = _pad_and_crop(views, rng, pad=config.pad)
    if jitter < config.jitter:
        _jitter(views, rng)
    if config.white_balance:
        _balance(views, rng, deviation=config.white_balance)
    if erase < config.erase:
        erase_rectangle(views, rng)
    return np.ascontiguousarray(views.transpose(0, 3, 1, 2))


def _resize_or_zoom(
    frames: Sequence[np.ndarray], rng: np.random.Generator, *, config: FinetuneConfig
) -> np.ndarray:
    """[T, H, W, 3]: the whole picture, or a window of it enlarged by an eighth."""
    height, width = config.input_size
    top = left = 0
    tall, wide = height, width
    if config.zoom and rng.random() < config.zoom:
        tall, wide = round(height * _ZOOM), round(width * _ZOOM)
        top, left = int(rng.integers(tall - height + 1)), int(rng.integers(wide - width + 1))
    views = np.stack([resize(frame, height=tall, width=wide) for frame in frames])
    return views[:, top : top + height, left : left + width]


def _pad_and_crop(views: np.ndarray, rng: np.random.Generator, *, pad: int) -> np.ndarray:
    """[T, H, W, 3] moved by up to `pad` px; black comes in, as in the recipes."""
    dy, dx = (int(value) - pad for value in rng.integers(0, 2 * pad + 1, size=2))
    height, width = views.shape[1:3]
    moved = np.zeros(views.shape, dtype=np.uint8)
    if abs(dy) >= height or abs(dx) >= width:
        return moved
    to_y, to_x = slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0))
    from_y, from_x = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
    moved[:, to_y, to_x] = views[:, from_y, from_x]
    return moved


def _jitter(views: np.ndarray, rng: np.random.Generator) -> None:
    brightness, contrast, saturation = rng.uniform(1 - _JITTER, 1 + _JITTER, 3).tolist()
    order = tuple(rng.permutation(3).tolist())
    draw = ColorDraw((brightness, contrast, saturation, 0.0), order, gray=False)
    tall = views.reshape(-1, views.shape[2], 3)
    matrix = compute_color_matrix(draw, np.array(cv2.mean(tall)[:3]))
    if matrix is not None:
        cv2.transform(tall, matrix, dst=tall)


def _balance(views: np.ndarray, rng: np.random.Generator, *, deviation: float) -> None:
    """Another colour of light: a gain per channel, log-normal; their mean is 1."""
    gains = np.exp(rng.normal(0.0, deviation, 3))
    table = np.arange(256)[:, None] * (gains / gains.mean())
    tall = views.reshape(-1, views.shape[2], 3)
    cv2.LUT(tall, np.clip(np.rint(table), 0, 255).astype(np.uint8)[None], dst=tall)
