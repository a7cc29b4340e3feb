"""A foreign ReID model: the right pixels, and what is found before a data set is described."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.curated import NUM_PEOPLE, write_curated
from tests.onnx_files import FLOAT, save_onnx, save_reid_onnx
from vills.config.checks import ConfigError
from vills.config.evaluate import EvaluateConfig
from vills.evaluation.baselines import build_baselines
from vills.evaluation.entries import build_test_data
from vills.evaluation.evaluate import run_evaluation
from vills.evaluation.onnx_reid import OnnxReid, compute_separation, read_pairs

IMAGE = np.full((20, 10, 3), (10, 20, 250), np.uint8)
RAW = "rgb 0-255 mean 0 std 1"


def save_head(path: Path, nodes: list[Any], shape: list[Any], constants: Any = None) -> Path:
    """A model of nodes from `crop` [N, 3, 8, 4] to `feature`."""
    return save_onnx(
        path, nodes, constants=constants,
        inputs={"crop": (FLOAT, ["N", 3, 8, 4])}, outputs={"feature": (FLOAT, shape)},
    )  # fmt: skip


def save_centred(path: Path) -> Path:
    """A model that sees colours around the mean of ImageNet's, and saturates far from it.

    Its feature is tanh of four stripes by colour: trained for mean 0 and deviation 1.
    """
    return save_head(
        path,
        [
            ("AveragePool", ["crop"], ["pooled"], {"kernel_shape": [2, 4], "strides": [2, 4]}),
            ("Tanh", ["pooled"], ["squashed"], {}),
            ("Flatten", ["squashed"], ["feature"], {"axis": 1}),
        ],
        ["N", 12],
    )


def make_pairs(num: int = 16) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    people = rng.integers(20, 235, (num, 1, 4, 1, 3))
    noise = rng.normal(0, 8, (num, 2, 4, 1, 3))
    crops = np.clip(people + noise, 0, 255).astype(np.uint8)
    crops = crops.repeat(8, axis=2).repeat(16, axis=3)
    return [(pair[0], pair[1]) for pair in crops]


@pytest.mark.parametrize(
    ("convention", "expected"), [(RAW, [10, 20, 250]), ("bgr 0-255 mean 0 std 1", [250, 20, 10])]
)
def test_the_stated_pixels_are_fed(tmp_path: Path, convention: str, expected: list[int]) -> None:
    path = save_reid_onnx(tmp_path / "mean.onnx")
    np.testing.assert_allclose(OnnxReid(path, convention=convention)(IMAGE), expected)


def test_trailing_sides_of_one_are_taken_off_and_tables_are_refused(tmp_path: Path) -> None:
    pooled: list[Any] = [("GlobalAveragePool", ["crop"], ["feature"], {})]
    path = save_head(tmp_path / "pooled.onnx", pooled, ["N", 3, 1, 1])
    np.testing.assert_allclose(OnnxReid(path, convention=RAW)(IMAGE), [10, 20, 250])
    path = save_head(tmp_path / "map.onnx", [("Relu", ["crop"], ["feature"], {})], ["N", 3, 8, 4])
    with pytest.raises(ConfigError, match=r"map.onnx gives \[1, 3, 8, 4\].*a feature \[1, D\]"):
        OnnxReid(path, convention=RAW)(IMAGE)


def test_separation_is_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(9, 2, 5)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=2, keepdims=True)
    wins = [
        (unit[i, 0] @ unit[i, 1] > unit[a, 0] @ unit[b, 1])
        for i in range(9) for a in range(9) for b in range(9) if a != b
    ]  # fmt: skip
    assert compute_separation(features) == pytest.approx(np.mean(wins))
    assert compute_separation(features[:7]) is None


def test_a_wrong_scale_is_named_beside_the_one_that_tells_people_apart(tmp_path: Path) -> None:
    path = save_centred(tmp_path / "centred.onnx")
    (right,) = OnnxReid(path, convention="imagenet").check(make_pairs())
    assert "centred.onnx takes rgb 0-1 mean 0.485" in right
    assert "of 16 people, pictures of one are nearer than of two in" in right
    assert "compare" not in right
    wrong = OnnxReid(path, convention="rgb 0-255 mean 100 std 200")
    assert "compare" not in wrong.check(make_pairs())[0]  # not ours to say: it is as good
    with pytest.raises(ConfigError, match=r"nearly the same feature for 32 pictures of 16 people"):
        OnnxReid(path, convention=RAW).check(make_pairs())
    (odd,) = OnnxReid(path, convention="rgb 0-255 mean 0 std 16").check(make_pairs())
    assert "compare evaluate.*.onnx_convention" in odd


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (("Sub", ["mean", "mean"], ["feature"], {}), "nearly the same feature"),
        (("Log", ["minus"], ["feature"], {}), "not finite"),
        (("Clip", ["mean", "low", "low"], ["feature"], {}), "nearly the same feature"),
    ],
)
def test_features_that_say_nothing_are_refused(tmp_path: Path, node: Any, reason: str) -> None:
    path = save_head(
        tmp_path / "dull.onnx",
        [
            ("ReduceMean", ["crop"], ["mean"], {"axes": [2, 3], "keepdims": 0}),
            ("Neg", ["mean"], ["minus"], {}),
            node,
        ],
        ["N", 3],
        {"low": np.array(2, np.float32)},
    )
    with pytest.raises(ConfigError, match=f"dull.onnx gives .*{reason}"):
        OnnxReid(path, convention=RAW).check(make_pairs())
    with pytest.raises(ConfigError, match=reason):
        OnnxReid(path, convention=RAW).check(make_pairs(3))
    assert OnnxReid(path, convention=RAW).check([])  # nobody to look at


def test_pairs_are_of_one_person_and_two_cameras(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    pairs = read_pairs({0: build_test_data(data)})
    assert len(pairs) == NUM_PEOPLE
    for first, second in pairs:  # camera 1 has a cast of 12 above camera 0
        assert 8 < second.mean() - first.mean() < 16


def test_evaluation_refuses_before_anything_is_described(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="image")
    weights = save_centred(tmp_path / "centred.onnx")

    def score(convention: str, calls: list[str]) -> dict[str, Any]:
        config = EvaluateConfig(
            baselines=["histogram", "onnx"],
            onnx_weights=weights.name,
            onnx_convention=convention,
            bootstrap=0,
        )
        run_evaluation(
            config,
            splits={0: build_test_data(data)},
            models=build_baselines(config, load_reference=lambda: None, onnx_path=weights),
            input_size=(32, 16),
            out=tmp_path / "out",
            progress=lambda label, done, total: calls.append(label),
        )
        content: dict[str, Any] = json.loads((tmp_path / "out" / "results.json").read_text())
        return content

    for convention, reason in (("", "says: colour"), (RAW, "nearly the same feature")):
        calls: list[str] = []
        with pytest.raises(ConfigError, match=reason):
            score(convention, calls)
        assert calls == []
        assert not (tmp_path / "out").exists()
    results = score("imagenet", calls)
    assert results["notes"] == [f"onnx: centred.onnx takes {_IMAGENET} nchw 8x4"]
    assert calls[0] == results["notes"][0]
    assert [row["row"] for row in results["rows"]] == ["histogram", "onnx"]


_IMAGENET = "rgb 0-1 mean 0.485 0.456 0.406 std 0.229 0.224 0.225"
