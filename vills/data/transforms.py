"""Random views of person crops: the augmentation of DINO and PASS on uint8 pixels.

Legend: T frames that share one draw (1 for an image), H x W pixels of a source, h x w of a view.

A view is drawn first (`sample_view`) and applied then (`render_view`), so that all frames of a clip
get the same one. Differences to torchvision, both for speed on a CPU:
- brightness, contrast, saturation and hue are composed, in their random order, to one affine map
  of RGB that is applied and clipped once; hue turns the chroma plane of YIQ (as NVIDIA DALI's
  ColorTwist does) instead of going through HSV;
- shrinking averages areas, enlarging is bicubic.
A crop is drawn in shares of its region, whatever the region's aspect: PASS's absolute aspect of
3/4 to 4/3 would squeeze a standing person to half its height.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vills.config.pretrain import ViewConfig

# workers are processes; OpenCV's own threads would fight with them for the same cores
cv2.setNumThreads(0)

MEAN = STD = 0.5
"""Pixels in [0, 1] are normalised by (x - MEAN) / STD."""
FILL = 128
"""The mean colour as uint8: what is masked or padded."""
RESIZE = "areas averaged to shrink, bicubic to enlarge"
"""How `resize` does it, in words."""
_CROP_TRIES = 10
_ERASE_AREA = (0.02, 1 / 3)
_ERASE_ASPECT = (0.3, 1 / 0.3)
_ERASE_TRIES = 10
_LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array(
    [_LUMA, [0.59590059, -0.27455667, -0.32134392], [0.21153661, -0.52273617, 0.31119955]]
)
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
# a turn of the IQ plane is kept + cos * cos part + sin * sin part
_HUE_KEPT = _FROM_YIQ @ np.diag([1.0, 0, 0]) @ _TO_YIQ
_HUE_COS = _FROM_YIQ @ np.diag([0, 1.0, 1.0]) @ _TO_YIQ
_HUE_SIN = _FROM_YIQ @ np.array([[0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]) @ _TO_YIQ


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle in shares of its region's sides."""

    x: float
    y: float
    width: float
    height: float

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2) px within a region of height x width, at least one pixel."""
        x1 = min(round(self.x * width), width - 1)
        y1 = min(round(self.y * height), height - 1)
        x2 = max(round((self.x + self.width) * width), x1 + 1)
        y2 = max(round((self.y + self.height) * height), y1 + 1)
        return x1, y1, x2, y2


@dataclass(frozen=True, slots=True)
class ColorDraw:
    """Factors of colour jitter, the order they act in, and whether grey follows."""

    factors: tuple[float, float, float, float] | None
    """Brightness, contrast, saturation (1 = unchanged), hue (turns); None = no jitter."""
    order: tuple[int, ...]
    """Permutation of the four."""
    gray: bool
    """Greyscale at the end."""
    gains: tuple[float, float, float] | None = None
    """Factors of red, green and blue after the jitter, of mean 1; None = unchanged."""


@dataclass(frozen=True, slots=True)
class ViewDraw:
    """Everything that is random about a view."""

    crop: Crop
    """What is cut."""
    flip: bool
    """Mirrored."""
    color: ColorDraw
    """Colour jitter and greyscale."""
    blur: float
    """Standard deviation, px of a view of `BLUR_HEIGHT`; 0 = none."""
    solarize: bool
    """Values from 128 inverted."""
    erase: int | None = None
    """Seed of a rectangle of noise; None = none."""


BLUR_HEIGHT = 256
"""`blur_sigma` is said for views of this height, px; for others it goes with their height."""


def sample_crop(
    rng: np.random.Generator, *, scale: Sequence[float], ratio: Sequence[float]
) -> Crop:
    """Return a crop of a share `scale` of the area, whose aspect is `ratio` times the region's own.

    Tries that do not fit are drawn again, as in torchvision's RandomResizedCrop; after ten the
    largest centred crop of aspect 1 within the scale is taken.
    """
    draws = rng.random((_CROP_TRIES, 2)).tolist()
    place_x, place_y = rng.random(2).tolist()
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for share, aspect in draws:
        area = scale[0] + share * (scale[1] - scale[0])
        root = math.exp((low + aspect * (high - low)) / 2)
        width, height = math.sqrt(area) * root, math.sqrt(area) / root
        if width <= 1 and height <= 1:
            return Crop(place_x * (1 - width), place_y * (1 - height), width, height)
    side = math.sqrt(scale[1])
    return Crop((1 - side) / 2, (1 - side) / 2, side, side)


def sample_gains(rng: np.random.Generator, deviation: float) -> tuple[float, float, float] | None:
    """Gains of the colour channels: exp(N(0, deviation)) over their mean; 0 draws nothing."""
    if not deviation:
        return None
    gains = np.exp(rng.normal(0.0, deviation, size=3))
    red, green, blue = (gains / gains.mean()).tolist()
    return red, green, blue


def sample_color(rng: np.random.Generator, config: ViewConfig) -> ColorDraw:
    """Colour jitter with probability `jitter`, white balance, grey with probability `gray`."""
    u = rng.random(10).tolist()
    gains = sample_gains(rng, config.white_balance)
    gray = u[9] < config.gray
    if u[0] >= config.jitter:
        return ColorDraw(None, (), gray, gains)
    factors = [
        max(0.0, 1 - s) + draw * (1 + s - max(0.0, 1 - s))
        for s, draw in zip(config.jitter_strength[:3], u[1:4], strict=True)
    ]
    hue = config.jitter_strength[3] * (2 * u[4] - 1)
    order = tuple(sorted(range(4), key=u[5:9].__getitem__))
    return ColorDraw((factors[0], factors[1], factors[2], hue), order, gray, gains)


def sample_view(
    rng: np.random.Generator,
    config: ViewConfig,
    *,
    scale: Sequence[float],
    blur: float,
    solarize: float,
    erase: float = 0.0,
) -> ViewDraw:
    """Draw a view; `blur`, `solarize` and `erase` are probabilities."""
    crop = sample_crop(rng, scale=scale, ratio=config.crop_ratio)
    color = sample_color(rng, config)
    flip, blurred, sigma, solarized = rng.random(4).tolist()
    low, high = config.blur_sigma
    # drawn last and only where it is on: the views of a run without it stay as they are
    erased = bool(erase) and rng.random() < erase
    return ViewDraw(
        crop=crop,
        flip=flip < config.flip,
        color=color,
        blur=low + sigma * (high - low) if blurred < blur else 0.0,
        solarize=solarized < solarize,
        erase=int(rng.integers(2**63)) if erased else None,
    )


def compute_color_matrix(draw: ColorDraw, mean: np.ndarray) -> np.ndarray | None:
    """Return `draw` as a map [3, 4] of (r, g, b, 1) in 0..255; None if it changes nothing.

    mean: [3], of the pixels it will act on: contrast pulls towards their mean grey.
    """
    if draw.factors is None and draw.gains is None and not draw.gray:
        return None
    matrix = np.eye(3, 4)
    for kind in draw.order:
        assert draw.factors is not None
        factor = draw.factors[kind]
        if kind == 0:
            matrix *= factor
        elif kind == 1:
            level = _LUMA @ (matrix[:, :3] @ mean + matrix[:, 3])
            matrix *= factor
            matrix[:, 3] += (1 - factor) * level
        elif kind == 2:
            matrix = factor * matrix + (1 - factor) * (_LUMA @ matrix)
        else:
            angle = 2 * math.pi * factor
            turn = _HUE_KEPT + math.cos(angle) * _HUE_COS + math.sin(angle) * _HUE_SIN
            matrix = turn @ matrix
    if draw.gains is not None:
        matrix *= np.array(draw.gains)[:, None]
    if draw.gray:
        matrix[:] = _LUMA @ matrix
    return matrix


def convert_color(views: np.ndarray, draw: ColorDraw) -> None:
    """Change the colours of contiguous uint8 [T, h, w, 3] in place."""
    tall = views.reshape(-1, views.shape[2], 3)
    matrix = compute_color_matrix(draw, np.array(cv2.mean(tall)[:3]))
    if matrix is not None:
        cv2.transform(tall, matrix, dst=tall)


def load_inputs(frames: Sequence[np.ndarray], *, size: Sequence[int]) -> np.ndarray:
    """uint8 [T, 3, H, W] of uint8 frames [h, w, 3], resized and nothing else: for testing."""
    height, width = size
    resized = np.stack([resize(frame, height=height, width=width) for frame in frames])
    return np.ascontiguousarray(resized.transpose(0, 3, 1, 2))


def resize(pixels: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3] -> [height, width, 3]: area average to shrink, bicubic to enlarge."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = height * width < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method))


def render_view(
    frames: Sequence[np.ndarray],
    draw: ViewDraw,
    *,
    size: Sequence[int],
    masks: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Return the view of every frame, uint8 [T, h, w, 3]; all frames share the draw.

    frames: uint8 [H, W, 3] each, sizes may differ. masks: bool [H, W] each; what is outside becomes
    `FILL` at the end, whatever the colours did.
    """
    height, width = size
    views = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for view, frame in zip(views, frames, strict=True):
        x1, y1, x2, y2 = draw.crop.pixels(*frame.shape[:2])
        resized = resize(frame[y1:y2, x1:x2], height=height, width=width)
        view[:] = resized[:, ::-1] if draw.flip else resized
    convert_color(views, draw.color)
    sigma = draw.blur * height / BLUR_HEIGHT
    if sigma > 0:
        for view in views:
            cv2.GaussianBlur(view, (0, 0), sigma, dst=view, borderType=cv2.BORDER_REFLECT_101)
    if draw.solarize:
        np.subtract(255, views, out=views, where=views >= 128)
    if draw.erase is not None:
        set_noise(views, np.random.default_rng(draw.erase))
    for view, mask in zip(views, masks or (), strict=masks is not None):
        view[~_apply_mask(mask, draw, height=height, width=width)] = FILL
    return views


def set_noise(views: np.ndarray, rng: np.random.Generator) -> None:
    """Fill a rectangle of uint8 [T, h, w, 3] with noise per pixel, the same in every frame.

    Random erasing (Zhong et al. 2020), with noise as timm's mode `pixel` has it.
    """
    height, width = views.shape[1:3]
    for _ in range(_ERASE_TRIES):
        area = rng.uniform(*_ERASE_AREA) * height * width
        aspect = np.exp(rng.uniform(*np.log(_ERASE_ASPECT)))
        h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            # standard normal after normalisation with mean and std 0.5, cut at black and white
            noise = 127.5 + 127.5 * rng.standard_normal((h, w, 3), dtype=np.float32)
            views[:, y : y + h, x : x + w] = np.clip(noise, 0, 255).astype(np.uint8)
            return


def _apply_mask(mask: np.ndarray, draw: ViewDraw, *, height: int, width: int) -> np.ndarray:
    x1, y1, x2, y2 = draw.crop.pixels(*mask.shape)
    part = mask[y1:y2, x1:x2].view(np.uint8)
    resized = cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    return np.asarray(resized[:, ::-1] if draw.flip else resized)


def compute_padded_size(size: Sequence[int], patch: int) -> tuple[int, int]:
    """`size` rounded up to whole patches: 64 x 44 becomes 64 x 48 for patch 16."""
    return -(-size[0] // patch) * patch, -(-size[1] // patch) * patch


def set_channels(views: np.ndarray, *, out: np.ndarray) -> None:
    """Write uint8 [T, h, w, 3] into the middle of out [T, 3, h', w'], whose border stays as is."""
    height, width = views.shape[1:3]
    top, left = (out.shape[2] - height) // 2, (out.shape[3] - width) // 2
    out[:, :, top : top + height, left : left + width] = views.transpose(0, 3, 1, 2)
