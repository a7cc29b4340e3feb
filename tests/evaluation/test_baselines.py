"""The colour histogram by a plain loop, and published figures on real crops."""

import colorsys
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.curated import write_entries
from vills.config.evaluate import EvaluateConfig
from vills.evaluation.baselines import (
    HUE_BINS,
    NUM_STRIPES,
    SATURATION_BINS,
    VALUE_BINS,
    ModelRow,
    StripeHistogram,
)
from vills.evaluation.entries import build_test_data
from vills.evaluation.evaluate import run_evaluation
from vills.evaluation.onnx_reid import OnnxReid

PER_STRIPE = HUE_BINS * SATURATION_BINS + VALUE_BINS


def test_pure_colours_fall_in_the_bins_that_colorsys_names() -> None:
    colours = [(200, 30, 30), (30, 200, 30), (20, 20, 180), (250, 250, 250), (5, 5, 5), (90, 60, 9)]
    image = np.repeat(np.array(colours, np.uint8)[:, None, None], 4, axis=1)  # [6, 4, 1, 3]
    image = image.transpose(0, 2, 1, 3)  # one row per stripe
    feature = StripeHistogram()(image.reshape(NUM_STRIPES, 4, 3))
    for stripe, (red, green, blue) in enumerate(colours):
        hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
        part = feature[stripe * PER_STRIPE : (stripe + 1) * PER_STRIPE]
        colour = int(hue * HUE_BINS) * SATURATION_BINS + min(int(saturation * 4), 3)
        assert part[colour] == 1
        assert part[HUE_BINS * SATURATION_BINS + int(value * 255) * VALUE_BINS // 256] == 1
        assert part.sum() == 2


def test_cosine_is_the_mean_bhattacharyya_coefficient_and_size_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 61, 23, 3)).astype(np.uint8)
    describe = StripeHistogram()
    a, b = describe(first), describe(second)
    assert a.shape == (describe.dim,)
    assert a.dtype == np.float32
    shares = (a**2).reshape(NUM_STRIPES, -1).sum(1)
    np.testing.assert_allclose(shares, 2, rtol=1e-6)
    coefficient = (a * b).sum() / (2 * NUM_STRIPES)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(cosine, coefficient, rtol=1e-6)
    np.testing.assert_allclose(describe(first.repeat(2, 1)), a, rtol=1e-6)


def test_an_image_lower_than_its_stripes_is_described() -> None:
    feature = StripeHistogram()(np.zeros((3, 2, 3), np.uint8))
    assert np.isfinite(feature).all()


@pytest.mark.slow
@pytest.mark.real
def test_real_crops_give_the_known_scores(real_data: Path, tmp_path: Path) -> None:
    """PKU, camera 1 -> 2: all 8 views of camera 1 are queries, all 304 crops of camera 2 gallery.

    Measured with a plain script under this protocol: retail-0287 R-1 .793, mAP .592.
    """
    entries = []
    for path in sorted((real_data / "reid" / "pku").glob("*.jpg")):
        camid = int(path.name[6]) - 1
        split = "gallery" if camid else "query"
        entries.append((split, int(path.name[:4]), camid, [path.read_bytes()]))
    entries.append(("train", 9999, 0, entries[0][3]))
    data = write_entries(tmp_path / "pku", entries, modality="image")
    generator = np.random.default_rng(0)
    weights = real_data / "weights" / "person-reidentification-retail-0287.onnx"
    models = [
        ModelRow("onnx", lambda: OnnxReid(weights, convention="bgr 0-255 mean 0 std 1")),
        ModelRow("histogram", StripeHistogram),
        ModelRow("random", lambda: lambda crop: generator.normal(size=64).astype(np.float32)),
    ]
    results = run_evaluation(
        EvaluateConfig(ranks=[1]),
        splits={0: build_test_data(data)},
        models=models,
        input_size=(64, 32),
        out=tmp_path / "out",
    )
    rows = {row["row"]: row for row in results["rows"]}
    assert rows["onnx"]["valid_queries"] == rows["onnx"]["gallery"] == 304
    assert rows["onnx"]["R-1"] == pytest.approx(0.793, abs=0.02)
    assert rows["onnx"]["mAP"] == pytest.approx(0.592, abs=0.02)
    assert rows["random"]["mAP"] < rows["histogram"]["mAP"] < rows["onnx"]["mAP"] - 0.3
