"""Published layouts: made here as their authors publish them, read, and compared in features."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from tests.models.batches import TINY
from vills.areas import AREAS
from vills.models.encoder import Encoder, build_timm_arguments
from vills.models.published import load_published
from vills.models.weights import WeightsError

IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def build_source(**changes: Any) -> VisionTransformer:
    """A ViT of the tiny encoder's size, as another project would have trained it."""
    torch.manual_seed(5)
    arguments = {**build_timm_arguments(TINY), **changes}
    model = VisionTransformer(**arguments).eval()
    for parameter in model.parameters():  # no zeros: a part that is ignored must show
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def build_encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(TINY).eval()


def load(state: dict[str, Any], layout: str, folder: Path) -> tuple[Encoder, list[str]]:
    path = folder / "published.pth"
    torch.save(state, path)
    encoder = build_encoder()
    return encoder, load_published(encoder, path, layout=layout)


@torch.no_grad()
def forward_without_areas(encoder: Encoder, images: Tensor) -> Tensor:
    """The encoder as if it had no area tokens."""
    vit = VisionTransformer(**{**build_timm_arguments(TINY), "reg_tokens": 0}).eval()
    state = encoder.vit.state_dict()
    del state["reg_token"]
    vit.load_state_dict(state)
    return vit.forward_features(images)


@pytest.mark.parametrize("layout", ["dino", "ibot", "timm"])
def test_a_class_token_layout_gives_the_same_features(tmp_path: Path, layout: str) -> None:
    source = build_source(reg_tokens=0, no_embed_class=False)
    state: dict[str, Any] = dict(source.state_dict())
    if layout == "dino":
        head = {"module.head.mlp.0.weight": torch.zeros(3, 3)}
        state = {"teacher": {f"module.backbone.{k}": v for k, v in state.items()} | head}
        state |= {"student": {}, "epoch": 3}
    elif layout == "ibot":
        state = {"state_dict": {**state, "masked_embed": torch.zeros(1, 32)}}
    else:
        state["head.weight"] = torch.zeros(10, 32)
    encoder, kept = load(state, layout, tmp_path)
    assert kept == ["reg_token"]
    with torch.no_grad():
        expected = source.forward_features(IMAGES)
    torch.testing.assert_close(forward_without_areas(encoder, IMAGES), expected)


def test_a_square_table_is_resampled_as_timm_does(tmp_path: Path) -> None:
    source = build_source(
        reg_tokens=0, no_embed_class=False, img_size=[48, 48], dynamic_img_size=True
    )
    encoder, _ = load({"teacher": source.state_dict()}, "dino", tmp_path)
    with torch.no_grad():
        expected = source.forward_features(IMAGES)
    torch.testing.assert_close(forward_without_areas(encoder, IMAGES), expected)


def test_timm_with_registers_fills_everything_also_from_safetensors(tmp_path: Path) -> None:
    source = build_source()
    save_file(source.state_dict(), tmp_path / "vit.safetensors")
    encoder = build_encoder()
    assert load_published(encoder, tmp_path / "vit.safetensors", layout="timm") == []
    with torch.no_grad():
        torch.testing.assert_close(encoder(IMAGES), source.forward_features(IMAGES))


def test_dinov2_layer_scale_is_folded_exactly(tmp_path: Path) -> None:
    source = build_source(no_embed_class=False, init_values=0.3)
    state = dict(source.state_dict())
    # DINOv2's table has a row for the class token but none for its registers.
    table = torch.cat([state["pos_embed"][:, :1], state["pos_embed"][:, 4:]], dim=1)
    source.pos_embed.data[:, 1:4] = 0.0
    state |= {"pos_embed": table, "mask_token": torch.zeros(1, 32)}
    state["register_tokens"] = state.pop("reg_token")
    encoder, kept = load(state, "dinov2", tmp_path)
    assert kept == []
    with torch.no_grad():
        torch.testing.assert_close(encoder(IMAGES), source.forward_features(IMAGES))


def test_pass_parts_become_area_tokens(tmp_path: Path) -> None:
    source = build_source()
    state = dict(source.state_dict())
    coarse, areas = state.pop("cls_token"), state.pop("reg_token")
    positions = torch.randn(4, 1, 1, 32)
    state |= {"cls_token": coarse - positions[0], "cls_pos": positions[0]}
    for part, area in ((1, "head"), (2, "upper_body"), (3, "lower_body")):
        place = AREAS.index(area)
        state[f"part_token{part}"] = areas[:, place : place + 1] - positions[part]
        state[f"part{part}_pos"] = positions[part]
    encoder, kept = load(state, "pass", tmp_path)
    assert kept == []
    with torch.no_grad():
        torch.testing.assert_close(encoder(IMAGES), source.forward_features(IMAGES))


def break_state(state: dict[str, Tensor], kind: str) -> dict[str, Any]:
    if kind == "missing":
        del state["blocks.1.attn.qkv.weight"]
    elif kind == "left over":
        state["blocks.2.norm1.weight"] = torch.zeros(32)
    elif kind == "shape":
        state["norm.weight"] = torch.zeros(64)
    elif kind == "grid":
        state["pos_embed"] = torch.zeros(1, 12, 32)
    elif kind == "split":  # the layout of another library: nearly nothing fits
        return {f"vit.{name}": value for name, value in state.items()}
    return state


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"missing \['blocks.1.attn.qkv.weight'\]"),
        ("left over", r"left over \['blocks.2.norm1.weight'\]"),
        ("shape", r"another shape \['norm.weight \(64,\) for \(32,\)'\]"),
        ("grid", r"pos_embed of 11 patches is no grid"),
        ("split", r"missing \[.*left over \["),
    ],
)
def test_anything_less_than_full_coverage_is_refused(
    tmp_path: Path, kind: str, message: str
) -> None:
    source = build_source(reg_tokens=0, no_embed_class=False)
    with pytest.raises(WeightsError, match=message):
        load(break_state(dict(source.state_dict()), kind), "dino", tmp_path)


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    encoder = build_encoder()
    with pytest.raises(WeightsError, match="does not exist"):
        load_published(encoder, tmp_path / "none.pth", layout="dino")
    with pytest.raises(WeightsError, match="layout 'mae' is not allowed"):
        load_published(encoder, tmp_path / "none.pth", layout="mae")
    with pytest.raises(WeightsError, match="holds no tensors"):
        load({"epoch": 3}, "dino", tmp_path)
    with pytest.raises(WeightsError, match="not of layout pass"):
        load(dict(build_source().state_dict()), "pass", tmp_path)
