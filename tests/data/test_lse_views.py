import numpy as np
import pytest

from tests.data.sources import make_crop
from vills.config.pretrain import ViewConfig
from vills.data.pretrain_views import build_lse_views, find_region, sample_lse_view
from vills.data.samplers import sample_rng
from vills.data.transforms import FILL

PLAIN = ViewConfig(
    lse_size=[32, 16], lse_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], flip=0.0, jitter=0.0, gray=0.0,
    blur=[0.0, 0.0, 0.0], lse_margin=0.25,
)  # fmt: skip


def make_mask(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((64, 32), dtype=bool)
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = True
    return mask


def test_the_region_is_tight_with_a_margin_inside_the_crop() -> None:
    assert find_region(make_mask((8, 10, 16, 30)), margin=0.0) == (8, 10, 16, 30)
    assert find_region(make_mask((8, 10, 16, 30)), margin=0.25) == (6, 5, 18, 35)
    assert find_region(make_mask((0, 0, 31, 64)), margin=0.5) == (0, 0, 32, 64)
    with pytest.raises(ValueError, match="empty mask"):
        find_region(make_mask((0, 0, 0, 0)), margin=0.1)


def test_only_the_area_is_seen() -> None:
    pixels = make_crop(0)
    pixels[pixels == FILL] = 127
    mask = make_mask((8, 16, 16, 32))
    draw = sample_lse_view(sample_rng(0), PLAIN)
    (view,) = build_lse_views([pixels], [mask], draw, config=PLAIN)
    assert view.shape == (32, 16, 3)
    seen = (view != FILL).any(axis=2)
    assert seen.mean() == pytest.approx(128 / (12 * 24), abs=0.06)
    kept = ViewConfig(**{**vars(PLAIN), "lse_background": "keep"})
    (whole,) = build_lse_views([pixels], [mask], draw, config=kept)
    assert (whole[seen] == view[seen]).all()
    assert (whole != FILL).any(axis=2).mean() > 0.95


def test_a_clip_looks_at_the_same_part_of_a_moving_area() -> None:
    config = ViewConfig(lse_size=[32, 16], flip=0.5)
    stripes = np.zeros((64, 32, 3), dtype=np.uint8)
    area = make_crop(3, 16, 8)
    frames, masks = [], []
    for x, y in ((4, 4), (20, 40)):
        frame = stripes.copy()
        frame[y : y + 16, x : x + 8] = area
        frames.append(frame)
        masks.append(make_mask((x, y, x + 8, y + 16)))
    for seed in range(10):
        draw = sample_lse_view(sample_rng(seed), config)
        one, two = build_lse_views(frames, masks, draw, config=config)
        assert (one == two).all()
        assert not draw.solarize


def test_a_mask_of_another_size() -> None:
    draw = sample_lse_view(sample_rng(0), PLAIN)
    with pytest.raises(ValueError, match="run the lse stage again"):
        build_lse_views([make_crop(0, 80, 40)], [make_mask((1, 1, 9, 9))], draw, config=PLAIN)
