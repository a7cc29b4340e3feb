"""Weights whose checksum and shapes are right and whose numbers are not, in every format."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.onnx_files import FLOAT, Node, save_onnx
from vills.config.model import ModelConfig
from vills.curation.detector_torchvision import CLASS_WEIGHT, TorchvisionDetector
from vills.errors import InputError, UserError
from vills.lse.parts import _load_weights
from vills.models.backbone import Backbone
from vills.models.weights import WEIGHTS_FILE, load_backbone, save_backbone
from vills.onnx import load_session
from vills.tensors import describe_faults, read_onnx_constants

TINY = ModelConfig(width=24, depth=1, num_heads=2, patch_size=8, image_size=[16, 8])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_own_weights_with_a_right_checksum_are_refused(tmp_path: Path, value: float) -> None:
    save_backbone(Backbone(TINY, areas=(), video=False), tmp_path)
    load_backbone(tmp_path)
    state = load_file(tmp_path / WEIGHTS_FILE)
    name = "encoder.vit.blocks.0.attn.qkv.weight"
    state[name][3, 4] = value
    save_file(state, tmp_path / WEIGHTS_FILE)
    _renew_checksum(tmp_path)
    with pytest.raises(UserError, match=f"NaN or infinite values in {name}"):
        load_backbone(tmp_path)
    save_file({key: torch.zeros_like(v) for key, v in state.items()}, tmp_path / WEIGHTS_FILE)
    _renew_checksum(tmp_path)
    with pytest.raises(UserError, match="nothing but zeros"):
        load_backbone(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"\xff" * 100)
    _renew_checksum(tmp_path)
    with pytest.raises(UserError, match="is no .safetensors"):
        load_backbone(tmp_path)


def test_detectors_and_segmenters_are_refused(tmp_path: Path) -> None:
    torch.save({CLASS_WEIGHT: torch.full((2, 3), torch.nan)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=f"NaN or infinite values in {CLASS_WEIGHT}"):
        TorchvisionDetector(tmp_path / "a.pth")
    module = torch.nn.Linear(3, 2)
    torch.save({**module.state_dict(), "bias": torch.full((2,), torch.inf)}, tmp_path / "b.pth")
    with pytest.raises(
        UserError, match=r"lse.sam_weights = 'b.pth' holds .* infinite values in bias"
    ):
        _load_weights(module, field="lse.sam_weights", path=tmp_path / "b.pth")


def _save_model(path: Path, weight: np.ndarray) -> Path:
    nodes: list[Node] = [("MatMul", ["x", "weight"], ["y"], {})]
    sides = {"x": (FLOAT, [1, 2])}, {"y": (FLOAT, [1, 2])}
    return save_onnx(path, nodes, inputs=sides[0], outputs=sides[1], constants={"weight": weight})


def test_onnx_constants(tmp_path: Path) -> None:
    whole = np.arange(4, dtype=np.float32).reshape(2, 2) - 1
    path = _save_model(tmp_path / "a.onnx", whole)
    ((name, values),) = read_onnx_constants(path.read_bytes())
    assert name == "weight"
    np.testing.assert_array_equal(values, whole.reshape(-1))
    load_session(path)
    whole[0, 0] = -np.inf  # a mask
    load_session(_save_model(tmp_path / "a.onnx", whole))
    whole[0, 0] = np.nan
    with pytest.raises(InputError, match="a.onnx holds NaN in weight"):
        load_session(_save_model(tmp_path / "a.onnx", whole))


def test_onnx_with_numbers_in_another_file(tmp_path: Path) -> None:
    path = _save_model(tmp_path / "a.onnx", np.ones((2, 2), np.float32))
    content = path.read_bytes()
    tensor = content.index(b"weight", content.index(b"weight") + 6)
    for data in (b"\x70\x01", b"\x0a"):  # data_location: external; a field that breaks off
        with pytest.raises(ValueError, match="another file|no protocol buffer"):
            list(read_onnx_constants(b"\x3a\x04" + b"\x2a" + bytes([len(data)]) + data))
    assert tensor
    (tmp_path / "b.onnx").write_bytes(b"\x3a\x04\x2a\x02\x70\x01")
    with pytest.raises(InputError, match="another file, which is not followed"):
        load_session(tmp_path / "b.onnx")


def test_what_is_no_fault() -> None:
    fine = [
        ("bias", np.zeros(3)),
        ("weight", np.eye(2)),
        ("count", np.array(0)),
        ("i", np.zeros(0, int)),
    ]
    assert describe_faults(fine) == ""
    assert describe_faults([("a", np.zeros((0, 3)))]) == "no value in a"
    many = [(f"w{n}", np.full(1, np.nan)) for n in range(5)]
    assert describe_faults(many) == "NaN or infinite values in w0, w1, w2 and 2 more"


def _renew_checksum(folder: Path) -> None:
    path = folder / "model.json"
    description = json.loads(path.read_text())
    description["sha256"] = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    path.write_text(json.dumps(description))
