import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from tests.data.sources import make_crop
from vills.config.pretrain import ViewConfig
from vills.data.samplers import sample_rng
from vills.data.transforms import (
    FILL,
    ColorDraw,
    Crop,
    ViewDraw,
    compute_color_matrix,
    compute_padded_size,
    render_view,
    resize,
    sample_color,
    sample_crop,
    sample_gains,
    sample_view,
    set_channels,
)

NO_COLOR = ColorDraw(None, (), gray=False)
WHOLE = Crop(0.0, 0.0, 1.0, 1.0)
PLAIN = ViewDraw(crop=WHOLE, flip=False, color=NO_COLOR, blur=0.0, solarize=False)


def gentle(seed: int = 0) -> np.ndarray:
    """Colours far from 0 and 255, so that clipping once or after every step is the same."""
    return (96 + make_crop(seed, 128, 64) // 4).astype(np.uint8)


def draw_with(color: ColorDraw = NO_COLOR, **changes: Any) -> ViewDraw:
    fields: dict[str, Any] = {
        "crop": WHOLE,
        "flip": False,
        "color": color,
        "blur": 0.0,
        "solarize": False,
    }
    return ViewDraw(**{**fields, **changes})


def apply(pixels: np.ndarray, draw: ViewDraw, size: tuple[int, int] = (128, 64)) -> np.ndarray:
    return render_view([pixels], draw, size=size)[0]


def test_crops_have_the_distribution_of_random_resized_crop() -> None:
    """torchvision on a square image: there its aspect is relative to the region's own too."""
    scale, ratio = (0.4, 1.0), (0.75, 4 / 3)
    rng = sample_rng(1)
    ours = [sample_crop(rng, scale=scale, ratio=ratio) for _ in range(4000)]
    image = torch.zeros(1, 1000, 1000)
    torch.manual_seed(0)
    theirs = [
        v2.RandomResizedCrop((8, 8), scale=scale, ratio=ratio).make_params([image])
        for _ in range(4000)
    ]
    for mine, other in (
        ([c.width * c.height for c in ours], [p["width"] * p["height"] / 1e6 for p in theirs]),
        ([c.width / c.height for c in ours], [p["width"] / p["height"] for p in theirs]),
        ([c.x for c in ours], [p["left"] / 1000 for p in theirs]),
        ([c.y for c in ours], [p["top"] / 1000 for p in theirs]),
    ):
        quantiles = np.linspace(0.05, 0.95, 10)
        assert np.quantile(mine, quantiles) == pytest.approx(
            np.quantile(other, quantiles), abs=0.035
        )
    assert all(c.x >= 0 and c.y >= 0 for c in ours)
    assert all(c.x + c.width <= 1 + 1e-9 and c.y + c.height <= 1 + 1e-9 for c in ours)


def test_a_crop_that_never_fits_is_centred() -> None:
    crop = sample_crop(sample_rng(0), scale=(0.81, 0.81), ratio=(3.0, 3.0))
    assert (crop.x, crop.width) == pytest.approx((0.05, 0.9))


def test_crop_pixels_are_inside_and_never_empty() -> None:
    for seed in range(200):
        rng = sample_rng(seed)
        crop = sample_crop(rng, scale=(0.001, 1.0), ratio=(0.2, 5.0))
        height, width = (int(n) for n in rng.integers(1, 9, 2))
        x1, y1, x2, y2 = crop.pixels(height, width)
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize("seed", range(4))
def test_brightness_contrast_saturation_as_in_torchvision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.uniform(0.7, 1.3, 3).tolist()
    order = rng.permutation(4).tolist()
    pixels = gentle(seed)
    ours = apply(pixels, draw_with(ColorDraw((*factors, 0.0), tuple(order), gray=False)))
    theirs = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    steps = (tvf.adjust_brightness, tvf.adjust_contrast, tvf.adjust_saturation)
    for kind in order:
        if kind < 3:
            theirs = steps[kind](theirs, factors[kind])
    expected = (theirs * 255).permute(1, 2, 0).numpy()
    assert np.abs(ours - expected).max() < 2.5


@pytest.mark.parametrize("turns", [-0.1, -0.05, 0.05, 0.1])
def test_hue_turns_colours_the_way_of_torchvision(turns: float) -> None:
    """The plane differs (YIQ keeps the luma, HSV the value), the direction of the turn does not."""
    draw = draw_with(ColorDraw((1, 1, 1, turns), (3, 0, 1, 2), gray=False))
    for color in ((160, 100, 100), (90, 150, 100), (80, 90, 160), (150, 140, 90)):
        pixels = np.full((4, 4, 3), color, dtype=np.uint8)
        ours = apply(pixels, draw, (4, 4))[0, 0].astype(float)
        turned = tvf.adjust_hue(torch.from_numpy(pixels).permute(2, 0, 1), turns)
        theirs = turned[:, 0, 0].numpy().astype(float)
        luma = np.array([0.299, 0.587, 0.114])
        assert luma @ ours == pytest.approx(luma @ np.array(color), abs=1)
        # within the plane of constant luma both move the same way
        moved, expected = ours - color, theirs - color
        expected = expected - luma @ expected
        cosine = moved @ expected / np.linalg.norm(moved) / np.linalg.norm(expected)
        assert cosine > 0.7
    grey = np.full((4, 4, 3), 77, dtype=np.uint8)
    assert np.abs(apply(grey, draw, (4, 4)).astype(int) - 77).max() <= 1


def test_grey_is_luma() -> None:
    pixels = gentle()
    ours = apply(pixels, draw_with(ColorDraw(None, (), gray=True)))
    expected = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(int)
    assert np.abs(ours.astype(int) - expected[..., None]).max() <= 1


def test_no_colour_is_no_matrix() -> None:
    assert compute_color_matrix(NO_COLOR, np.full(3, 99.0)) is None
    unit = compute_color_matrix(
        ColorDraw((1, 1, 1, 0.0), (0, 1, 2, 3), gray=False), np.full(3, 9.0)
    )
    assert unit is not None
    assert np.allclose(unit, np.eye(3, 4), atol=1e-6)


def test_colour_draws_have_the_parameters_of_dino() -> None:
    config = ViewConfig()
    draws = [sample_color(sample_rng(seed), config) for seed in range(3000)]
    jittered = np.array([draw.factors for draw in draws if draw.factors is not None])
    assert len(jittered) / len(draws) == pytest.approx(0.8, abs=0.025)
    assert np.mean([draw.gray for draw in draws]) == pytest.approx(0.2, abs=0.025)
    for column, (low, high) in enumerate(((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1))):
        values = jittered[:, column]
        assert low <= values.min() < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
        assert values.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.05)
    assert len({draw.order for draw in draws}) == 25  # 24 permutations, and none


def test_flip_and_solarize() -> None:
    pixels = make_crop(1, 128, 64)
    assert (apply(pixels, draw_with(flip=True)) == pixels[:, ::-1]).all()
    expected = tvf.solarize(torch.from_numpy(pixels), 128).numpy()
    assert (apply(pixels, draw_with(solarize=True)) == expected).all()
    assert (apply(pixels, PLAIN) == pixels).all()


def test_blur_goes_with_the_height_of_the_view() -> None:
    pixels = np.zeros((128, 64, 3), dtype=np.uint8)
    pixels[64, 32] = 255
    wide = apply(np.repeat(np.repeat(pixels, 2, 0), 2, 1), draw_with(blur=2.0), (256, 128))
    expected = cv2.GaussianBlur(pixels, (0, 0), 1.0)
    assert np.abs(apply(pixels, draw_with(blur=2.0)).astype(int) - expected).max() <= 1
    assert (wide[..., 0] > 0).sum() > 2 * (expected[..., 0] > 0).sum()


def test_inputs_are_not_written_to() -> None:
    pixels = make_crop(2, 128, 64)
    pixels.flags.writeable = False
    before = pixels.copy()
    draw = draw_with(
        ColorDraw((1.3, 0.7, 1.2, 0.1), (0, 1, 2, 3), gray=False), blur=2.0, solarize=True
    )
    assert not (apply(pixels, draw) == before).all()
    assert (pixels == before).all()


def test_a_clip_has_one_draw() -> None:
    config = ViewConfig()
    frames = [gentle(5)] * 3
    for seed in range(20):
        draw = sample_view(sample_rng(seed), config, scale=(0.4, 1), blur=0.5, solarize=0.2)
        views = render_view(frames, draw, size=(64, 44))
        assert (views == views[:1]).all()
        assert (apply(frames[0], draw, (64, 44)) == views[0]).all()


def test_a_draw_is_made_by_its_key() -> None:
    config = ViewConfig()
    settings = {"scale": (0.4, 1.0), "blur": 0.5, "solarize": 0.2}
    draws = [sample_view(sample_rng(0, seed), config, **settings) for seed in range(9)]  # type: ignore[arg-type]
    again = [sample_view(sample_rng(0, seed), config, **settings) for seed in range(9)]  # type: ignore[arg-type]
    assert draws == again
    assert len({(d.crop, d.color) for d in draws}) == 9


@pytest.mark.parametrize(("height", "width"), [(64, 32), (200, 150), (5, 3), (128, 64)])
def test_resize_keeps_a_ramp(height: int, width: int) -> None:
    ramp = np.repeat(np.linspace(0, 255, height).astype(np.uint8)[:, None, None], width, 1)
    ramp = np.repeat(ramp, 3, 2)
    resized = resize(ramp, height=96, width=40)
    expected = np.linspace(0, 255, 96)[:, None, None]
    assert np.abs(resized - expected)[8:-8].max() < (40 if height == 5 else 8)


def test_masked_pixels_are_filled_after_colours() -> None:
    mask = np.zeros((128, 64), dtype=bool)
    mask[20:80, 10:30] = True
    draw = draw_with(
        ColorDraw((1.4, 1.0, 1.0, 0.0), (0, 1, 2, 3), gray=False),
        crop=Crop(0.1, 0.1, 0.8, 0.8),
        flip=True,
        blur=2.0,
    )
    (view,) = render_view([gentle()], draw, size=(64, 32), masks=[mask])
    x1, y1, x2, y2 = draw.crop.pixels(128, 64)
    expected = cv2.resize(
        mask[y1:y2, x1:x2].astype(np.uint8), (32, 64), interpolation=cv2.INTER_NEAREST_EXACT
    )[:, ::-1]
    assert (view[expected == 0] == FILL).all()
    assert (view[expected == 1] != FILL).any(axis=1).mean() > 0.9


def test_frames_are_padded_symmetrically_to_whole_patches() -> None:
    assert compute_padded_size((64, 44), 16) == (64, 48)
    assert compute_padded_size((64, 44), 4) == (64, 44)
    assert compute_padded_size((250, 125), 16) == (256, 128)
    out = np.full((2, 3, 64, 48), FILL, dtype=np.uint8)
    views = np.random.default_rng(0).integers(0, 120, (2, 64, 44, 3), dtype=np.uint8)
    set_channels(views, out=out)
    assert (out[..., :2] == FILL).all()
    assert (out[..., -2:] == FILL).all()
    assert (out[..., 2:-2].transpose(0, 2, 3, 1) == views).all()


def test_white_balance_is_a_gain_per_channel_after_the_jitter() -> None:
    draw = ColorDraw((1.2, 1.0, 1.0, 0.0), (0, 1, 2, 3), gray=False, gains=(1.1, 0.9, 1.0))
    pixels = gentle().astype(np.float64)
    matrix = compute_color_matrix(draw, pixels.reshape(-1, 3).mean(axis=0))
    assert matrix is not None
    expected = pixels * 1.2 * np.array([1.1, 0.9, 1.0])
    np.testing.assert_allclose(pixels @ matrix[:, :3].T + matrix[:, 3], expected, atol=1e-9)
    gains = np.array([sample_gains(sample_rng(seed), 0.2) for seed in range(2000)])
    np.testing.assert_allclose(gains.mean(axis=1), 1.0)
    assert np.log(gains).std() == pytest.approx(0.2 * (2 / 3) ** 0.5, abs=0.01)
    state = sample_rng(3)
    assert sample_gains(state, 0.0) is None
    assert state.random() == sample_rng(3).random()


def test_erasing_fills_one_rectangle_of_every_frame_with_the_same_noise() -> None:
    def draw(seed: int, erase: float) -> ViewDraw:
        views = ViewConfig(white_balance=0.1)
        rng = sample_rng(seed)
        return sample_view(rng, views, scale=[0.9, 1.0], blur=0.0, solarize=0.0, erase=erase)

    frames = [np.full((64, 32, 3), value, dtype=np.uint8) for value in (90, 160)]
    plain, erased = draw(5, 0.0), draw(5, 1.0)
    assert plain == replace(erased, erase=None)
    before, after = (render_view(frames, d, size=(64, 32)) for d in (plain, erased))
    changed = (before != after).any(axis=-1)
    rows, columns = (np.flatnonzero(changed.any(axis=(0, axis))) for axis in (2, 1))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert 0.01 < height * width / (64 * 32) < 0.36
    box = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert changed[box].mean() > 0.95
    assert changed.sum() == changed[box].sum()
    np.testing.assert_array_equal(after[box][0], after[box][1])
    shares = [draw(seed, 0.5).erase is not None for seed in range(1000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
