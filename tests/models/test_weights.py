"""Weights out and in: same features, same bytes, and clear refusals."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from tests.models.batches import TINY
from vills.models.backbone import Backbone
from vills.models.description import WeightsError
from vills.models.reid import ReidModel
from vills.models.weights import (
    build_timm_state,
    load_backbone,
    load_reid,
    save_backbone,
    save_reid,
    save_timm,
)

IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))

OUTSIDER = """
import json, sys
import safetensors.torch, timm, torch
from timm.models.vision_transformer import VisionTransformer
folder = sys.argv[1]
description = json.load(open(f"{folder}/model.json"))
prefix = description["timm"]["prefix"]
state = safetensors.torch.load_file(f"{folder}/{description['file']}")
model = VisionTransformer(**description["timm"]["arguments"]).eval()
own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
model.load_state_dict(own)
images = safetensors.torch.load_file(f"{folder}/images.safetensors")["images"]
with torch.no_grad():
    tokens = model.forward_features(images)
safetensors.torch.save_file({"tokens": tokens}, f"{folder}/tokens.safetensors")
assert "vills" not in sys.modules
"""


def build(**changes: Any) -> Backbone:
    torch.manual_seed(0)
    return Backbone(TINY, **changes).eval()


@torch.no_grad()
def encode(backbone: Backbone) -> Tensor:
    return backbone.encode_image(IMAGES).roles


@pytest.mark.parametrize("changes", [{}, {"masking": True}, {"areas": ["head"], "video": False}])
def test_a_backbone_survives_the_way_out_and_in(tmp_path: Path, changes: dict[str, Any]) -> None:
    backbone = build(**changes)
    save_backbone(backbone, tmp_path)
    loaded = load_backbone(tmp_path).eval()
    assert (loaded.areas, loaded.video) == (backbone.areas, backbone.video)
    assert loaded.config == backbone.config
    assert torch.equal(encode(loaded), encode(backbone))
    assert loaded.encoder.mask_token is None


def test_the_description_says_what_a_user_needs(tmp_path: Path) -> None:
    save_backbone(build(), tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    assert description["roles"]["video"]["temporal"] == 4
    assert description["normalisation"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert description["convention"] == "rgb 0-1 mean 0.5 std 0.5 nchw 64x32"
    assert description["architecture"]["model"]["width"] == 32
    assert len(description["sha256"]) == 64


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_backbone(build(), tmp_path / name)
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["model.json", "model.safetensors"]


def test_a_reid_model_survives_and_its_backbone_can_be_taken(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = ReidModel(build(), num_ids=7, modality="image")
    model(IMAGES)  # moves the neck's statistics
    save_reid(model, tmp_path)
    loaded = load_reid(tmp_path).eval()
    with torch.no_grad():
        expected = model.eval().compute_features(IMAGES)
        assert torch.equal(loaded.compute_features(IMAGES), expected)
    assert loaded.num_ids == 7
    assert torch.equal(encode(load_backbone(tmp_path).eval()), encode(model.backbone))


@pytest.mark.slow
def test_timm_and_safetensors_alone_are_enough(tmp_path: Path) -> None:
    backbone = build()
    save_backbone(backbone, tmp_path)
    save_file({"images": IMAGES}, tmp_path / "images.safetensors")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OUTSIDER, str(tmp_path)], check=True, cwd=tmp_path
    )
    with torch.no_grad():
        tokens = backbone.encoder(IMAGES)
    torch.testing.assert_close(load_file(tmp_path / "tokens.safetensors")["tokens"], tokens)


def test_export_to_timm_gives_the_same_features(tmp_path: Path) -> None:
    backbone = build()
    arguments, state = build_timm_state(backbone)
    model = VisionTransformer(**arguments).eval()
    model.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(IMAGES), backbone.encoder(IMAGES))
    save_backbone(backbone, tmp_path / "weights")
    out = save_timm(tmp_path / "weights", tmp_path / "out" / "vit.safetensors")
    saved = load_file(out)
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[name], state[name]) for name in state)
    told = json.loads(out.with_suffix(".json").read_text())
    assert told["arguments"] == arguments
    with safe_open(out, framework="pt") as file:
        for said in (told, file.metadata()):
            assert said["convention"] == "rgb 0-1 mean 0.5 std 0.5 nchw 64x32"
            assert "before the resampler and the neck" in said["output"]
    with pytest.raises(WeightsError, match="ends in .safetensors"):
        save_timm(tmp_path / "weights", tmp_path / "vit.pt")


def damage(folder: Path, kind: str) -> None:
    weights, description = folder / "model.safetensors", folder / "model.json"
    content = json.loads(description.read_text())
    if kind == "no folder":
        weights.unlink()
        description.unlink()
        folder.rmdir()
    elif kind == "no weights":
        weights.unlink()
    elif kind == "flipped byte":
        raw = bytearray(weights.read_bytes())
        raw[-1] ^= 1
        weights.write_bytes(raw)
    elif kind == "no json":
        description.write_text("{")
    elif kind == "no text":
        (folder / "model.json").write_bytes(b"\xff")
    elif kind == "format":
        description.write_text(json.dumps({**content, "format": 99}))
    else:
        state = load_file(weights)
        if kind == "missing":
            del state["resampler.queries"]
        elif kind == "unexpected":
            state["stranger"] = torch.zeros(1)
        else:
            state["resampler.queries"] = torch.zeros(2, 2)
        other = Backbone(TINY)
        other.state_dict = lambda: state  # type: ignore[method-assign, assignment]
        save_backbone(other, folder)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no folder", r"model\.json does not exist.*What to do"),
        ("no weights", r"model\.safetensors does not exist"),
        ("flipped byte", r"SHA-256.*damaged or another one"),
        ("no json", r"model\.json is damaged .*What to do: export it again"),
        ("no text", r"model\.json is damaged .*What to do: export it again"),
        ("format", r"format 99.*Allowed: format 1"),
        ("missing", r"missing resampler\.queries"),
        ("unexpected", r"unexpected stranger"),
        ("shape", r"of another shape resampler\.queries"),
    ],
)
def test_a_folder_that_is_not_right_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    save_backbone(build(), tmp_path / "weights")
    damage(tmp_path / "weights", kind)
    with pytest.raises(WeightsError, match=message):
        load_backbone(tmp_path / "weights")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("architecture.model.max_frames", [], r"architecture\.model\.max_frames = \[\] is of"),
        ("architecture.model.depth", 10**30, r"pretrain\.model\.depth = 1000"),
        ("architecture.model.width", None, r"architecture\.model\.width = None is of"),
        ("architecture.areas", None, r"architecture\.areas = None is of"),
        ("architecture.areas", ["tail"], r"architecture\.areas entry = 'tail'"),
        ("architecture.video", float("inf"), r"architecture\.video = inf is of"),
        ("architecture", None, r"architecture = None"),
        ("reid.num_ids", True, r"reid\.num_ids = True is of"),
        ("reid.num_ids", -1, r"reid\.num_ids = -1 is not allowed"),
        ("reid.modality", "sound", r"reid\.modality = 'sound'"),
        ("reid.input_size", [0, 0], r"reid\.input_size entry = 0"),
        ("reid", None, r"reid = None"),
        ("sha256", "x", r"sha256 = 'x'"),
        ("file", 5, r"file = 5 is of"),
    ],
)
def test_a_description_of_no_model_is_refused_by_its_entry(
    tmp_path: Path, key: str, value: object, said: str
) -> None:
    save_reid(ReidModel(build(), num_ids=3, modality="image"), tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    place, *above = key.split(".")[::-1]
    entry = content
    for name in above[::-1]:
        entry = entry[name]
    entry[place] = value
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=rf"model\.json: {said}.*What to do: export or copy"):
        load_reid(tmp_path)
    del entry[place]
    (tmp_path / "model.json").write_text(json.dumps(content))
    if key not in ("architecture.model.max_frames", "architecture.model.depth", "reid.input_size"):
        with pytest.raises(WeightsError, match=rf"model\.json: .*{place}|does not fit"):
            load_reid(tmp_path)


def test_a_backbone_is_no_reid_model(tmp_path: Path) -> None:
    save_backbone(build(), tmp_path)
    with pytest.raises(WeightsError, match="not a fine-tuned model"):
        load_reid(tmp_path)
