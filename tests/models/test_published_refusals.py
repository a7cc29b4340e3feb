"""A wrong file is refused with all of its names; what it seems to be is said; nothing is run."""

import os
import pickle
import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from tests.models.batches import TINY
from tests.models.publishers import (
    BUILDERS,
    DEPTH,
    WIDTH,
    build_dino,
    build_dinov2,
    build_mae,
    build_pass,
    build_vit,
    chunk_blocks,
)
from vills.config.model import ModelConfig
from vills.models.description import WeightsError
from vills.models.encoder import Encoder
from vills.models.published import load_published
from vills.models.published.coverage import MAX_NAMES
from vills.models.published.describe import describe_file

CONFIG = replace(TINY, depth=DEPTH)
GRID = (4, 2)


def refuse(content: Any, layout: str, folder: Path, config: ModelConfig = CONFIG) -> str:
    """The message; the encoder must be as before."""
    path = folder / "published.pth"
    if not isinstance(content, bytes):
        torch.save(content, path)
    else:
        path.write_bytes(content)
    torch.manual_seed(0)
    encoder = Encoder(config)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_published(encoder, path, layout=layout)
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
    message = str(caught.value)
    assert "What to do: " in message
    return message


@pytest.mark.slow
@pytest.mark.parametrize("layout", [*BUILDERS, "timm"])
def test_any_tensor_that_is_missing_left_over_or_misshapen_is_listed(
    tmp_path: Path, layout: str
) -> None:
    state = BUILDERS[layout](GRID)[0] if layout in BUILDERS else build_vit(GRID)
    for name in [n for n in state if not n.startswith(("blocks.0.", "blocks.2."))]:
        # A missing class token or part token means that nothing of its kind can be converted.
        message = refuse({k: v for k, v in state.items() if k != name}, layout, tmp_path)
        assert re.search(rf"missing \([^;]*\b{re.escape(name)}\b", message), (name, message)
        misshapen = {**state, name: torch.ones(*state[name].shape, 2)}
        message = refuse(misshapen, layout, tmp_path)
        assert name in message or f"{name.replace('ls1.gamma', 'attn.proj')}" in message
    message = refuse({**state, "extra.weight": torch.ones(2)}, layout, tmp_path)
    assert "left over (1): extra.weight;" in message


def test_a_truncated_state_lists_every_name(tmp_path: Path) -> None:
    state = build_vit(GRID)
    names = [name for name in state if name.startswith(("blocks.1", "blocks.2"))]
    message = refuse({k: v for k, v in state.items() if k not in names}, "dino", tmp_path)
    listed = re.search(r"missing \((\d+)\): ([^;]*);", message)
    assert listed is not None
    assert int(listed[1]) == len(names)
    assert set(listed[2].split(", ")) == set(names)


def test_very_many_names_are_counted_by_prefix(tmp_path: Path) -> None:
    extra = {f"decoder.{i}.weight": torch.ones(1) for i in range(60)} | {
        f"tail.{i}.bias": torch.ones(1) for i in range(7)
    }
    message = refuse({**build_vit(GRID), **extra}, "dino", tmp_path)
    assert "left over (67): decoder.0.weight, decoder.1.weight, decoder.2.weight" in message
    assert f"decoder.49.weight and {67 - MAX_NAMES} more: 10 decoder.*, 7 tail.*;" in message


@pytest.mark.parametrize(
    ("named", "true"),
    [("dino", "dinov2"), ("timm", "mae"), ("dino", "pass"), ("pass", "ibot"), ("dinov2", "mae")],
)
def test_the_right_layout_is_said(tmp_path: Path, named: str, true: str) -> None:
    message = refuse(BUILDERS[true](GRID)[1], named, tmp_path)
    assert re.search(rf"set its layout: it fits (\w+ and )*{true}\b", message)
    assert "missing " in message
    assert "left over " in message


def test_other_sizes_are_said_as_settings(tmp_path: Path) -> None:
    state, content = build_dinov2((37, 37), patch=14)
    message = refuse(content, "dinov2", tmp_path)
    assert "patch_embed.proj.weight (32, 3, 14, 14) for (32, 3, 16, 16)" in message
    assert "set the file's sizes, pretrain.model.patch_size=14 (" in message
    message = refuse(state, "dinov2", tmp_path, replace(CONFIG, depth=2, width=64))
    assert "model.width=32 pretrain.model.depth=3 pretrain.model.patch_size=14 (" in message
    assert f"cls_token {(1, 1, 32)} for {(1, 1, 64)}" in message


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ({"patch_embed.conv.1.IN.weight": (16,)}, "convolution stem of TransReID-SSL's ICS"),
        ({"blocks.0.mlp.w12.weight": (64, 32)}, "SwiGLU"),
        ({"blocks.0.0.mlp.w3.weight": (64, 32)}, "SwiGLU"),
        ({"rope_embed.periods": (16,), "storage_tokens": (1, 4, 32)}, "DINOv3"),
        ({"blocks.0.attn.relative_position_index": (4, 4)}, "BEiT, Swin"),
        ({"layers.0.blocks.0.norm1.weight": (32,)}, "Swin"),
        ({"dist_token": (1, 1, 32)}, "distilled DeiT"),
        ({"base.cls_token": (1, 1, 32)}, "fine-tuned with TransReID's or PASS's code"),
        ({"encoder.layer.0.attention.query.weight": (32, 32)}, "Hugging Face"),
        ({"backbone.encoder.vit.cls_token": (1, 1, 32)}, "VILLS wrote it"),
        ({"blocks.0._fsdp_wrapped_module._flat_param": (99,)}, "a shard of FSDP"),
    ],
)
def test_what_a_file_seems_to_be_is_said(
    tmp_path: Path, names: dict[str, tuple[int, ...]], hint: str
) -> None:
    extra = {name: torch.ones(shape) for name, shape in names.items()}
    message = refuse({**build_vit(GRID), **extra}, "transreid_ssl", tmp_path)
    assert hint in message
    assert f"left over ({len(names)}): " in message


def test_a_resnet_is_refused_with_its_names(tmp_path: Path) -> None:
    message = refuse(resnet18().state_dict(), "dino", tmp_path)
    assert "it is a ResNet" in message
    assert "left over (122): bn1.bias, " in message
    assert "missing (42): blocks.0.attn.proj.bias, " in message


@pytest.mark.slow
@pytest.mark.parametrize("registers", [1, 4])
def test_another_number_of_registers_is_refused(tmp_path: Path, registers: int) -> None:
    message = refuse(build_dinov2(GRID, registers=registers)[1], "dinov2", tmp_path)
    assert f"reg_token {(1, registers, WIDTH)} for {(1, 3, WIDTH)}" in message
    assert "take the release without registers" in message


def test_a_table_that_is_no_grid_is_refused(tmp_path: Path) -> None:
    state = {**build_vit(GRID), "pos_embed": torch.ones(1, 12, WIDTH)}
    message = refuse(state, "dino", tmp_path)
    assert "pos_embed of 12 rows is not a patch grid (allowed: a square, " in message
    state["pos_embed"] = torch.ones(1, 8, WIDTH)  # as many rows as the encoder, no class row
    assert "pos_embed of 8 rows" in refuse(state, "dino", tmp_path)


def test_layer_scale_of_some_blocks_only_is_refused(tmp_path: Path) -> None:
    for layout, state in (("dinov2", build_dinov2(GRID)[0]), ("timm", build_dinov2(GRID)[0])):
        content = state if layout == "timm" else chunk_blocks(state)
        content = {k: v for k, v in content.items() if "2.ls" not in k}
        message = refuse(content, layout, tmp_path)
        assert "missing (2): blocks.2.ls1.gamma, blocks.2.ls2.gamma;" in message


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = build_vit(GRID)
    state["blocks.1.mlp.fc1.bias"][3] = float("nan")
    message = refuse(state, "dino", tmp_path)
    assert "NaN or infinite values in blocks.1.mlp.fc1.bias" in message


def test_two_networks_in_one_are_refused(tmp_path: Path) -> None:
    state = build_vit(GRID)
    state["module.norm.weight"] = state["norm.weight"]
    message = refuse(state, "dino", tmp_path)
    assert "two tensors norm.weight: norm.weight and module.norm.weight" in message


def test_heads_that_no_published_model_has_are_refused(tmp_path: Path) -> None:
    config = ModelConfig(width=192, depth=1, num_heads=6, image_size=[32, 16], num_queries=8)
    state = Encoder(config).vit.state_dict()
    state = {k: v for k, v in state.items() if k != "reg_token"}
    state["pos_embed"] = torch.ones(1, 1 + 2, 192)
    message = refuse(state, "dino", tmp_path, config)
    assert (
        "has 3 attention heads, the encoder 6. What to do: set pretrain.model.num_heads=3"
        in message
    )
    load_published(Encoder(replace(config, num_heads=3)), tmp_path / "published.pth", layout="dino")


class _Trap:
    """Unpickling it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["inside", "whole", "plain pickle", "old format", "module"])
def test_no_code_of_a_file_is_run(tmp_path: Path, kind: str) -> None:
    witness, path = tmp_path / "witness", tmp_path / "trap.pth"
    trap = _Trap(f"touch {witness}")
    content: Any = {"teacher": build_vit(GRID), "args": trap}
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    elif kind == "module":
        torch.save(nn.Linear(2, 2), path)
    else:
        content = content if kind == "inside" else trap
        torch.save(content, path, _use_new_zipfile_serialization=kind != "old format")
    with pytest.raises(WeightsError) as caught:
        load_published(Encoder(CONFIG), path, layout="dino")
    assert not witness.exists()
    named = {
        "module": "torch.nn.modules.linear.Linear",
        "plain pickle": "cannot be read as weights",
    }
    assert named.get(kind, "would run code when read: posix.system.") in str(caught.value), (
        caught.value
    )


def test_the_command_line_in_a_checkpoint_is_data(tmp_path: Path) -> None:
    """DINO, PASS and MAE save argparse's Namespace beside the tensors."""
    torch.save({"model": build_vit(GRID), "args": Namespace(lr=0.1)}, tmp_path / "a.pth")
    assert load_published(Encoder(CONFIG), tmp_path / "a.pth", layout="dino").wrapper == "model"


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    encoder = Encoder(CONFIG)
    with pytest.raises(WeightsError, match="does not exist"):
        load_published(encoder, tmp_path / "none.pth", layout="dino")
    with pytest.raises(WeightsError, match=r"layout 'beit' is not allowed. Allowed: dino, ibot"):
        load_published(encoder, tmp_path / "none.pth", layout="beit")
    assert "holds no named tensors (epoch: no tensors)" in refuse({"epoch": 3}, "dino", tmp_path)
    assert "no named tensors, but a list" in refuse([torch.ones(2)], "dino", tmp_path)
    assert "holds no named tensors" in refuse({}, "dino", tmp_path)
    assert "it is a web page" in refuse(b"<!DOCTYPE html><html></html>", "dino", tmp_path)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    assert "it is a pointer of Git LFS: git lfs pull" in refuse(pointer, "dino", tmp_path)
    assert "cannot be read" in refuse(b"", "dino", tmp_path)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff" * 40)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_published(encoder, broken, layout="dino")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, ending: str) -> None:
    path, encoder = tmp_path / f"vit{ending}", Encoder(CONFIG)
    state = build_vit(GRID)
    (save_file if ending == ".safetensors" else torch.save)(state, path)
    whole = path.read_bytes()
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            load_published(encoder, path, layout="dino")


def save(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "file.pth")
    return folder / "file.pth"


def test_inspecting_says_all_of_a_file(tmp_path: Path) -> None:
    text = describe_file(save(build_dino((14, 14))[1], tmp_path))
    assert "fits layout     dino, ibot, dinov2, transreid_ssl, mae, timm" in text
    assert "inside          teacher" in text
    assert "width 32, depth 3, patch 16" in text
    assert "14x14 patches, 1 rows for prefix tokens" in text
    assert "used            42: blocks.0.attn.proj.bias, " in text
    assert "dropped         8: head.last_layer.weight_g, " in text
    assert "left at random  reg_token" in text
    assert "pretrain.model.width=32 pretrain.model.depth=3 pretrain.model.patch_size=16" in text
    text = describe_file(save(build_mae((14, 14))[1], tmp_path))
    assert "fits layout     mae\n" in text
    assert "decoder_blocks.0.attn.qkv.weight" in text
    text = describe_file(save(build_pass((16, 8))[1], tmp_path), layout="pass")
    assert "16x8 patches, 0 rows" in text
    assert "left at random  nothing" in text


def test_inspecting_refuses_with_all_names(tmp_path: Path) -> None:
    state: dict[str, Tensor] = build_dinov2((14, 14), registers=4)[1]
    with pytest.raises(WeightsError, match=r"As dinov2: .*reg_token.* 4 register tokens"):
        describe_file(save(state, tmp_path))
    with pytest.raises(WeightsError, match=r"As mae: .*left over \(7\)"):
        describe_file(save(state, tmp_path), layout="mae")
    with pytest.raises(WeightsError, match=r"is not a ViT .* 122 tensors: .* a ResNet"):
        describe_file(save(resnet18().state_dict(), tmp_path))
