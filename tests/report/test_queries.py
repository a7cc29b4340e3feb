"""Pictures of what a model found and where it looked."""

import numpy as np

from vills.report.queries import render_overlay


def test_overlay_is_hot_where_attention_is_and_reproducible() -> None:
    image = np.full((16, 8, 3), 128, np.uint8)
    heat = np.zeros((4, 2), np.float32)
    heat[3] = 2.0
    data = render_overlay(image, heat)
    assert (data == render_overlay(image, heat)).all()
    pixels = data.astype(int)
    assert pixels.shape == image.shape
    assert (pixels[-1, 4] - pixels[0, 4])[0] > 20  # redder below
    assert (render_overlay(image, heat, peak=100.0) != data).any()
    assert np.isfinite(render_overlay(image, 0 * heat)).all()
