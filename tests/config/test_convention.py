"""Statements of how a model takes pictures."""

import numpy as np
import pytest

from vills.config.checks import ConfigError
from vills.config.convention import COMMON, NAMED, Convention, parse_convention, parse_metadata
from vills.config.curate import CurateConfig
from vills.config.evaluate import EvaluateConfig
from vills.config.lse import LseConfig

IMAGE = np.array([[[10, 20, 250]]], np.uint8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("imagenet", [
            (10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (250 / 255 - 0.406) / 0.225,
        ]),
        ("half", [10 / 127.5 - 1, 20 / 127.5 - 1, 250 / 127.5 - 1]),
        ("bgr 0-255 mean 0 std 1", [250, 20, 10]),
        ("RGB 0-1 mean 0 std 1", [10 / 255, 20 / 255, 250 / 255]),
        # mean and std are in the order of the colours that are stated
        ("bgr 0-255 mean 103.53 116.28 123.675 std 57.375 57.12 58.395", [
            (250 - 103.53) / 57.375, (20 - 116.28) / 57.12, (10 - 123.675) / 58.395,
        ]),
    ],
)  # fmt: skip
def test_values_by_hand(text: str, expected: list[float]) -> None:
    convention = parse_convention("field", text)
    assert convention.missing == []
    np.testing.assert_allclose(convention.normalise(IMAGE)[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("text", [*COMMON, *NAMED, "rgb", "nhwc 8x4 output a/b:0", ""])
def test_what_is_described_is_parsed_to_the_same(text: str) -> None:
    convention = parse_convention("field", text)
    assert parse_convention("field", convention.describe()) == convention


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("imagnet", "has 'imagnet'"),
        ("rgb bgr", "says colour twice"),
        ("imagenet 0-255", "says white twice"),
        ("rgb 0-1 mean 0.5 0.5 std 1", "2 numbers after mean"),
        ("rgb 0-1 mean std 1", "0 numbers after mean"),
        ("rgb 0-1 mean nan std 1", "numbers after mean"),
        ("rgb 0-1 mean 0.5 std 0", "not above 0"),
        ("rgb 0-1 mean 123.675 116.28 103.53 std 58.395 57.12 57.375", "not of the range 0-1"),
        ("rgb 0-255 mean 0.485 0.456 0.406 std 0.229 0.224 0.225", "not of the range 0-255"),
        ("rgb 0-2", "has '0-2'"),
        ("rgb 0x4", "has '0x4'"),
        ("rgb output", "has 'output'"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"field = '{text}' .*{reason}.*Allowed: .*What to do"):
        parse_convention("field", text)


def test_what_is_missing_is_named() -> None:
    found = parse_convention("field", "rgb").missing
    assert found == ["range (0-1 or 0-255)", "mean", "std"]


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"convention": "imagenet"}, "imagenet"),
        (
            {"Color": "BGR", "Range": "0-255", "Mean": "0,0,0", "Std": "(1, 1, 1)"},
            "bgr 0-255 mean 0 std 1",
        ),
        ({"Image.BitmapPixelFormat": "Rgb8", "Image.NominalPixelRange": "Normalized_1_1"}, "half"),
        ({"Image.NominalPixelRange": "NominalRange_0_255"}, "0-255"),
        ({"layout": "NHWC", "size": "8x4"}, "nhwc 8x4"),
        ({"author": "somebody"}, ""),
    ],
)  # fmt: skip
def test_metadata_is_a_statement(metadata: dict[str, str], text: str) -> None:
    assert parse_metadata("a.onnx", metadata) == parse_convention("field", text)


def test_metadata_that_is_not_understood_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a.onnx, metadata colour = 'yuv' is not known"):
        parse_metadata("a.onnx", {"colour": "yuv"})


def test_the_same_on_another_scale_contradicts_nothing() -> None:
    wide = "rgb 0-255 mean 123.675 116.28 103.53 std 58.395 57.12 57.375"
    joined, wrong = parse_convention("f", "imagenet").join(parse_convention("f", wide))
    assert (joined, wrong) == (parse_convention("f", "imagenet"), [])
    assert parse_convention("f", "half").join(parse_convention("f", wide))[1] != []
    assert Convention().join(parse_convention("f", "half")) == (parse_convention("f", "half"), [])


def test_a_statement_that_nothing_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match="detector_convention = 'half' .*without detector yolox"):
        CurateConfig(detector_convention="half")
    with pytest.raises(ConfigError, match="keypoint_convention = 'half' .*keypoint_detector onnx"):
        LseConfig(keypoint_convention="half")
    with pytest.raises(ConfigError, match="onnx_convention = 'half' .*without onnx_weights"):
        EvaluateConfig(onnx_convention="half")
    with pytest.raises(ConfigError, match="onnx_convention = 'grey' has 'grey'"):
        EvaluateConfig(onnx_convention="grey", onnx_weights="a.onnx", baselines=["onnx"])
