"""Inputs of ONNX models: what file and parameters say, and what is refused; files made here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.onnx_files import DOUBLE, FLOAT, FLOAT16, UINT8, Side, save_onnx, save_reid_onnx
from vills.config.checks import ConfigError
from vills.onnx import PictureModel

IMAGE = np.broadcast_to(np.array([10, 20, 250], np.uint8), (8, 4, 3))
RAW = "rgb 0-255 mean 0 std 1"


def open_model(folder: Path, stated: str = "", **changes: Any) -> PictureModel:
    path = save_reid_onnx(folder / "model.onnx", **changes)
    return PictureModel(path, field="a.convention", stated=stated)


def run(model: PictureModel, num: int = 1) -> np.ndarray:
    return model.run(np.stack([model.convention.normalise(IMAGE)] * num))


@pytest.mark.parametrize("nchw", [True, False])
@pytest.mark.parametrize("kind", [FLOAT, FLOAT16, DOUBLE, UINT8])
@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_layout_type_and_batch_are_the_file_s(
    tmp_path: Path, nchw: bool, kind: int, batch: int | str
) -> None:
    model = open_model(tmp_path, RAW, nchw=nchw, kind=kind, batch=batch)
    assert model.size == (8, 4)
    np.testing.assert_allclose(run(model, 6), [[10, 20, 250]] * 6)


@pytest.mark.parametrize(
    ("stated", "changes"),
    [
        ("8x4", {"size": ("H", "W")}),
        ("8x4", {"shape": ["N", 3, "H", "W"]}),
        ("nchw 8x4", {"shape": ["N", "C", "H", "W"]}),
        ("nchw", {"shape": ["N", "C", 8, 4]}),
        ("nhwc", {"shape": [1, 8, 4, "C"], "nchw": False}),
        ("nchw", {"shape": [1, 3, 8, 3]}),
        ("output feature", {"extra_output": True}),
        ("", {"metadata": {"size": "8x4"}, "size": ("H", "W")}),
    ],
)
def test_what_a_file_leaves_open_is_stated(
    tmp_path: Path, stated: str, changes: dict[str, Any]
) -> None:
    model = open_model(tmp_path, f"{RAW} {stated}", **changes)
    values = model.convention.normalise(np.resize(IMAGE, (*model.size, 3)))
    np.testing.assert_allclose(model.run(values[None]), [[10, 20, 250]])


def test_metadata_is_read_and_nothing_needs_to_be_stated(tmp_path: Path) -> None:
    metadata = {"convention": "bgr 0-255 mean 0 std 1"}
    np.testing.assert_allclose(run(open_model(tmp_path, metadata=metadata)), [[250, 20, 10]])
    stated = open_model(tmp_path, "bgr", metadata=metadata)
    np.testing.assert_allclose(run(stated), [[250, 20, 10]])
    # words of another meaning do not matter where all is stated
    np.testing.assert_allclose(
        run(open_model(tmp_path, RAW, metadata={"range": "x"})), [[10, 20, 250]]
    )


@pytest.mark.parametrize(
    ("stated", "changes", "reason"),
    [
        ("", {}, r"says: colour order .*range .*mean, std .*Common: 'rgb 0-1 mean 0.485"),
        ("rgb 0-1", {}, r"says: mean, std \(known: rgb 0-1 nchw 8x4\)"),
        ("", {"metadata": {"colour": "rgb"}}, "says: range"),
        (RAW, {"size": ("H", "W")}, "says: size"),
        (RAW, {"shape": ["N", "C", "H", "W"]}, "says: layout .*size"),
        (RAW, {"shape": ["N", 3, 8, 3]}, "says: layout"),
        (f"{RAW} nhwc", {}, "not 'rgb .*nhwc'. Allowed: nchw 8x4"),
        (f"{RAW} 9x4", {}, "Allowed: nchw 8x4"),
        (f"{RAW} nhwc", {"shape": [1, "C", 8, 4]}, "which is not nhwc"),
        (RAW, {"shape": [1, 1, 8, 4]}, "three colours"),
        (RAW, {"extra_input": True}, "'camera'.*Allowed: one input"),
        (RAW, {"extra_output": True}, "has the outputs logits .*feature .*output NAME"),
        (f"{RAW} output x", {"extra_output": True}, "none of them 'x'"),
        ("imagenet", {"kind": UINT8}, r"takes tensor\(uint8\)"),
        ("half", {"metadata": {"convention": "imagenet"}}, "in its metadata.*mean, std differ"),
        ("", {"metadata": {"range": "0-2"}}, "metadata range = '0-2' is not known"),
    ],
)
def test_what_is_not_known_or_contradicts_is_refused(
    tmp_path: Path, stated: str, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"model.onnx.*{reason}") as caught:
        open_model(tmp_path, stated, **changes)
    assert "What to do" in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="VILLS_WEIGHTS"):
        PictureModel(tmp_path / "absent.onnx", field="f", stated=RAW)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match="not an ONNX model"):
        PictureModel(tmp_path / "text.onnx", field="f", stated=RAW)


def test_a_graph_that_cannot_take_the_input_or_gives_no_rows_is_refused(tmp_path: Path) -> None:
    inputs: dict[str, tuple[int, list[Side]]] = {"crop": (FLOAT, ["N", 3, "H", "W"])}
    fixed = save_onnx(
        tmp_path / "fixed.onnx",
        [("Add", ["crop", "bias"], ["feature"], {})],
        inputs=inputs,
        outputs={"feature": (FLOAT, ["N", 3, 8, 4])},
        constants={"bias": np.zeros((1, 3, 8, 4), np.float32)},
    )
    model = PictureModel(fixed, field="f", stated=f"{RAW} 9x5")
    with pytest.raises(ConfigError, match=r"cannot be run on an input \[1, 3, 9, 5\]"):
        model.run(np.zeros((1, 9, 5, 3), np.float32))
    pooled = save_onnx(
        tmp_path / "pooled.onnx",
        [("ReduceMean", ["crop"], ["feature"], {"axes": [0, 2, 3], "keepdims": 0})],
        inputs=inputs,
        outputs={"feature": (FLOAT, [3])},
    )
    model = PictureModel(pooled, field="f", stated=f"{RAW} 8x4")
    with pytest.raises(ConfigError, match=r"gives \[3\] for 2 pictures"):
        model.run(np.zeros((2, 8, 4, 3), np.float32))
