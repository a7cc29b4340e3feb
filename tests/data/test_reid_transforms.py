from typing import Any

import numpy as np
import pytest

from tests.data.sources import make_crop
from vills.config.finetune import FinetuneConfig
from vills.data.finetune_loading import sample_inputs
from vills.data.samplers import sample_rng
from vills.data.transforms import load_inputs

OFF = {"flip": 0.0, "pad": 0, "erase": 0.0, "jitter": 0.0}


def augment(seed: int, frames: int = 1, **changes: Any) -> np.ndarray:
    config = FinetuneConfig(input_size=[64, 32], **{**OFF, **changes})
    return sample_inputs([make_crop(7)] * frames, sample_rng(seed), config=config)


def plain() -> np.ndarray:
    return load_inputs([make_crop(7)], size=[64, 32])


def test_everything_off_is_the_resized_picture() -> None:
    assert (augment(0) == plain()).all()
    assert (plain()[0] == make_crop(7).transpose(2, 0, 1)).all()
    config = FinetuneConfig(input_size=[128, 48], **OFF)  # type: ignore[arg-type]
    assert sample_inputs([make_crop(7)], sample_rng(0), config=config).shape == (1, 3, 128, 48)


def test_flip() -> None:
    assert (augment(0, flip=1.0) == plain()[..., ::-1]).all()
    share = np.mean([(augment(s, flip=0.5) != plain()).any() for s in range(400)])
    assert share == pytest.approx(0.5, abs=0.08)


def test_pad_and_crop_moves_the_picture_evenly() -> None:
    padded = np.pad(plain(), ((0, 0), (0, 0), (3, 3), (3, 3)))
    windows = {
        padded[..., y : y + 64, x : x + 32].tobytes(): (y, x) for y in range(7) for x in range(7)
    }
    seen = {windows[augment(seed, pad=3).tobytes()] for seed in range(400)}
    assert len(seen) == 49


def test_erasing_is_one_rectangle_of_noise() -> None:
    areas = []
    for seed in range(300):
        changed = (augment(seed, erase=1.0) != plain()).any(axis=(0, 1))
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert changed.sum() > 0.9 * box
        areas.append(box / changed.size)
    assert 0.01 < min(areas) < 0.06
    assert 0.28 < max(areas) < 0.36
    share = np.mean([(augment(s, erase=0.5) != plain()).any() for s in range(400)])
    assert share == pytest.approx(0.5, abs=0.08)


def test_jitter() -> None:
    outputs = [augment(seed, jitter=1.0) for seed in range(20)]
    assert len({output.tobytes() for output in outputs}) == 20
    means = np.array([output.mean() for output in outputs]) / plain().mean()
    assert 0.6 < means.min() < 0.9
    assert 1.05 < means.max() < 1.4


def test_white_balance_is_a_gain_per_channel_and_takes_its_draw_after_jitter() -> None:
    for seed in range(10):
        rng = sample_rng(seed)
        rng.random(3)  # flip, jitter, erase
        rng.integers(0, 1, size=2)  # where the window is
        gains = np.exp(0.4 * rng.standard_normal(3))
        gains /= (gains[0] + gains[1] + gains[2]) / 3
        expected = np.empty_like(plain())
        for channel in range(3):
            values = plain()[0, channel].astype(np.float64) * gains[channel]
            expected[0, channel] = np.minimum(np.round(values), 255)
        assert (augment(seed, white_balance=0.4) == expected).all()
    # what erasing draws comes later, what jitter draws came before
    jittered, both = (augment(3, jitter=1.0, white_balance=s) for s in (0.0, 0.2))
    ratios = [
        float(np.median(b[a > 0] / a[a > 0]))
        for a, b in zip(jittered[0].astype(float), both[0].astype(float), strict=True)
    ]
    assert len({round(ratio, 2) for ratio in ratios}) > 1
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)


def test_a_clip_has_one_draw() -> None:
    for seed in range(10):
        views = augment(seed, frames=4, flip=0.5, pad=5, erase=1.0, jitter=1.0, white_balance=0.2)
        assert views.shape == (4, 3, 64, 32)
        assert (views == views[:1]).all()


def test_padding_wider_than_the_picture() -> None:
    assert any(not augment(seed, pad=100).any() for seed in range(20))


def test_zoom_takes_every_window_of_the_picture_enlarged_by_an_eighth() -> None:
    large = load_inputs([make_crop(7)], size=[72, 36])
    windows = {
        large[..., y : y + 64, x : x + 32].tobytes(): (y, x) for y in range(9) for x in range(5)
    }
    seen = {windows[augment(seed, zoom=1.0).tobytes()] for seed in range(400)}
    assert len(seen) == 45
    share = np.mean([(augment(s, zoom=0.5) != plain()).any() for s in range(400)])
    assert share == pytest.approx(0.5, abs=0.08)
    views = augment(3, frames=4, zoom=1.0, flip=0.5, erase=0.5)
    assert (views == views[:1]).all()
