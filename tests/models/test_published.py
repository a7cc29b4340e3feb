"""Published layouts: made here as their authors write them, loaded, and compared in features."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tests.models.batches import TINY
from tests.models.publishers import (
    BUILDERS,
    DEPTH,
    WIDTH,
    State,
    build_dino,
    build_dinov2,
    build_mae,
    build_pass,
    build_vit,
    chunk_blocks,
    forward,
    forward_pooled,
    resample_table,
)
from vills.areas import AREAS
from vills.config.model import WEIGHT_LAYOUTS, ModelConfig
from vills.models.backbone import Backbone
from vills.models.description import WeightsError
from vills.models.encoder import NUM_SPATIAL, Encoder, build_timm_arguments
from vills.models.published import LAYOUTS, LoadReport, load_published
from vills.models.published.describe import describe_file
from vills.models.weights import save_backbone, save_timm

CONFIG = replace(TINY, depth=DEPTH)
GRID = (4, 2)
PASS_PARTS = ("head", "upper_body", "lower_body")  # crops of the top, the middle and the bottom
PERSON_LAYOUTS = ("pass", "transreid_ssl")  # fine-tuned by their authors with 0.5 and 0.5
PREFIX_LAYOUTS = ("dino", "ibot", "transreid_ssl", "dinov2", "mae")
close = torch.testing.assert_close
TOLERANCE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-5}


def build_encoder(config: ModelConfig = CONFIG) -> Encoder:
    torch.manual_seed(0)
    return Encoder(config).eval()


def load(
    content: Any, layout: str, folder: Path, config: ModelConfig = CONFIG, **options: str
) -> tuple[Encoder, LoadReport]:
    path = folder / "published.pth"
    torch.save(content, path)
    encoder = build_encoder(config)
    return encoder, load_published(encoder, path, layout=layout, **options)


def build_images(config: ModelConfig = CONFIG) -> Tensor:
    noise = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *config.image_size, generator=noise)


def remove_area_tokens(encoder: Encoder) -> Encoder:
    """The encoder with the prefix that a layout without area tokens has."""
    encoder.vit.reg_token = nn.Parameter(torch.zeros(1, 0, WIDTH))
    return encoder


def normalise_as_imagenet(images: Tensor) -> Tensor:
    """Of pictures that are normalised by 0.5 and 0.5."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images * 0.5 + 0.5 - mean[:, None, None]) / std[:, None, None]


@torch.no_grad()
def compare(
    encoder: Encoder, state: State, *, old: tuple[int, int] = GRID, imagenet: bool = True
) -> None:
    """All tokens as the publisher's of the same pictures: with our area tokens, and without."""
    images = build_images(replace(CONFIG, image_size=[s * encoder.patch_size for s in encoder.grid],
                                  patch_size=encoder.patch_size))  # fmt: skip
    extra = None
    if "part_token1" not in state and "register_tokens" not in state:
        extra = encoder.vit.reg_token
    pixels = normalise_as_imagenet(images) if imagenet else images
    expected = forward(state, pixels, old=old, new=encoder.grid, extra=extra)
    if "part_token1" in state:
        order = [0, *(1 + PASS_PARTS.index(area) for area in AREAS)]
        expected = torch.cat([expected[:, order], expected[:, 4:]], dim=1)
    close(encoder(images), expected, **TOLERANCE)
    if extra is not None:
        expected = forward(state, pixels, old=old, new=encoder.grid)
        close(remove_area_tokens(encoder)(images), expected, **TOLERANCE)


def test_every_layout_of_the_parameters_is_there() -> None:
    assert tuple(LAYOUTS) == WEIGHT_LAYOUTS
    assert {*BUILDERS, "timm"} == set(WEIGHT_LAYOUTS)


@pytest.mark.parametrize("layout", BUILDERS)
def test_features_are_the_publishers(tmp_path: Path, layout: str) -> None:
    state, content = BUILDERS[layout](GRID)
    encoder, report = load(content, layout, tmp_path)
    compare(encoder, state, imagenet=layout not in PERSON_LAYOUTS)
    assert report.random == ([] if layout == "pass" else ["reg_token"])
    assert report.num_used == len(state)
    assert report.file_grid == report.grid == GRID
    assert report.grid == (4, 2)


@pytest.mark.parametrize("layout", BUILDERS)
@pytest.mark.parametrize(
    ("old", "image_size"),
    [
        ((4, 4), [64, 32]),  # a square, as ImageNet's
        ((14, 14), [256, 128]),  # 224x224 px to a person's 16x8
        ((8, 4), [256, 128]),  # a smaller person
        ((16, 8), [64, 32]),  # a larger one
    ],
)
def test_features_are_the_publishers_on_a_resampled_table(
    tmp_path: Path, layout: str, old: tuple[int, int], image_size: list[int]
) -> None:
    state, content = BUILDERS[layout](old)
    encoder, report = load(content, layout, tmp_path, replace(CONFIG, image_size=image_size))
    assert report.file_grid == old
    compare(encoder, state, old=old, imagenet=layout not in PERSON_LAYOUTS)


def test_dinov2_at_its_own_size_and_patch(tmp_path: Path) -> None:
    """518x518 px in patches of 14, to 252x126 px."""
    state, content = build_dinov2((37, 37), patch=14)
    config = replace(CONFIG, patch_size=14, image_size=[252, 126])
    encoder, report = load(content, "dinov2", tmp_path, config)
    assert (report.file_grid, report.grid) == ((37, 37), (18, 9))
    assert report.dropped == ["mask_token"]
    compare(encoder, state, old=(37, 37))


def test_the_resampled_table_is_that_of_timm_torch_and_pillow(tmp_path: Path) -> None:
    state, content = build_dino((14, 14))
    encoder, _ = load(content, "dino", tmp_path, replace(CONFIG, image_size=[256, 128]))
    table, own = state["pos_embed"][:, 1:], encoder.vit.pos_embed
    assert own is not None
    close(own.data, resample_table(table, (14, 14), (16, 8)), **TOLERANCE)
    timm = resample_abs_pos_embed(table, [16, 8], [14, 14], num_prefix_tokens=0)
    close(own.data, timm, **TOLERANCE)
    for channel in (0, 17):
        picture = Image.fromarray(table[0, :, channel].reshape(14, 14).numpy())
        picture = picture.resize((8, 16), Image.Resampling.BICUBIC)
        pillow = torch.from_numpy(np.array(picture)).flatten()
        close(own.data[0, :, channel], pillow, **TOLERANCE)


@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("wrapper", ["flat", "evaluation", "chunks", "training"])
def test_dinov2_in_its_forms(tmp_path: Path, registers: int, wrapper: str) -> None:
    state, content = build_dinov2(GRID, registers=registers)
    if wrapper == "chunks":  # of training with FSDP, gathered
        content = chunk_blocks(content)
        assert "blocks.1.2.ls1.gamma" in content
    if wrapper == "evaluation":
        heads = {f"{loss}_head.mlp.0.weight": torch.ones(2, 2) for loss in ("dino", "ibot")}
        content = {"teacher": {f"backbone.{k}": v for k, v in content.items()} | heads}
    if wrapper == "training":  # a checkpoint of FSDP: both networks side by side
        chunks = {f"backbone.{name}": tensor for name, tensor in chunk_blocks(content).items()}
        chunks["dino_head.mlp.0.weight"] = torch.ones(2, 2)
        content = {
            "model": {f"student.{name}": tensor + 1 for name, tensor in chunks.items()}
            | {f"teacher.{name}": tensor for name, tensor in chunks.items()},
            "iteration": 100,
        }
    encoder, report = load(content, "dinov2", tmp_path)
    compare(encoder, state)
    wrappers = {"evaluation": "teacher", "training": "model.teacher"}
    assert report.wrapper == wrappers.get(wrapper, "")
    assert f"depth {DEPTH}," in describe_file(tmp_path / "published.pth", layout="dinov2")
    assert report.random == ([] if registers else ["reg_token"])
    assert report.zero == []


def test_mae_fine_tuned_with_global_pooling(tmp_path: Path) -> None:
    """The norm of the mean of the patches: the encoder's norm has those weights."""
    state, _ = build_mae(GRID)
    for part in ("weight", "bias"):
        state[f"fc_norm.{part}"] = state.pop(f"norm.{part}")
    content = {
        "model": {**state, "head.weight": torch.ones(10, WIDTH), "head.bias": torch.ones(10)}
    }
    encoder, report = load(content, "mae", tmp_path)
    assert report.dropped == ["head.bias", "head.weight"]
    images, before = build_images(), []
    encoder.vit.norm.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0]))
    with torch.no_grad():
        encoder(images)
        pooled = encoder.vit.norm(before[0][:, NUM_SPATIAL:].mean(dim=1))
        pixels = normalise_as_imagenet(images)
        expected = forward_pooled(state, pixels, grid=GRID, extra=encoder.vit.reg_token)
    close(pooled, expected, **TOLERANCE)


def test_the_teacher_is_taken_and_heads_are_named_as_dropped(tmp_path: Path) -> None:
    state, content = build_dino(GRID)
    encoder, report = load(content, "dino", tmp_path)
    assert report.wrapper == "teacher"
    assert len(report.dropped) == 8
    assert {name.split(".")[0] for name in report.dropped} == {"head"}
    del content["teacher"]
    student, report = load(content, "dino", tmp_path)
    assert report.wrapper == "student"
    weight = content["student"]["module.backbone.norm.weight"]
    norms: list[Any] = [student.vit.norm, encoder.vit.norm]
    assert [torch.equal(norm.weight, weight) for norm in norms] == [True, False]


def test_pass_parts_are_areas_by_their_place_on_a_person(tmp_path: Path) -> None:
    state, content = build_pass(GRID)
    encoder, _ = load(content, "pass", tmp_path)
    tokens = encoder.vit.reg_token
    assert tokens is not None
    for part, area in enumerate(PASS_PARTS, start=1):
        place = AREAS.index(area)
        expected = state[f"part_token{part}"] + state[f"part{part}_pos"]
        assert torch.equal(tokens.data[:, place : place + 1], expected)


def build_timm(seed: int = 5, **changes: Any) -> VisionTransformer:
    """timm's own model of the tiny encoder's size, with no tensor at its start."""
    torch.manual_seed(seed)
    model = VisionTransformer(**{**build_timm_arguments(CONFIG), **changes}).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"reg_tokens": 0, "no_embed_class": False},
        {"reg_tokens": 0, "no_embed_class": True},
        {"reg_tokens": 3, "no_embed_class": True},
        {"reg_tokens": 3, "no_embed_class": False},
        {"reg_tokens": 3, "init_values": 0.3},
        {"reg_tokens": 3, "qkv_bias": False},
        {"reg_tokens": 0, "no_embed_class": False, "num_classes": 10, "global_pool": "token"},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()),
)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_timm_models_give_timms_features(
    tmp_path: Path, changes: dict[str, Any], ending: str
) -> None:
    source = build_timm(**changes)
    path = tmp_path / f"vit{ending}"
    (save_file if ending == ".safetensors" else torch.save)(source.state_dict(), path)
    encoder = build_encoder()
    report = load_published(encoder, path, layout="timm", normalisation="half")
    if changes["reg_tokens"] == 0:
        remove_area_tokens(encoder)
        assert report.random == ["reg_token"]
    images = build_images()
    with torch.no_grad():
        close(encoder(images), source.forward_features(images), **TOLERANCE)
    zero = [f"blocks.{i}.attn.qkv.bias" for i in range(DEPTH)]
    assert report.zero == (zero if "qkv_bias" in changes else [])


def test_timm_at_another_size_gives_timms_features(tmp_path: Path) -> None:
    source = build_timm(reg_tokens=0, no_embed_class=False, img_size=[96, 96])
    encoder, report = load(source.state_dict(), "timm", tmp_path, normalisation="half")
    source.set_input_size((64, 32))
    images = build_images()
    with torch.no_grad():
        close(remove_area_tokens(encoder)(images), source.forward_features(images), **TOLERANCE)
    assert report.file_grid == (6, 6)


@pytest.mark.parametrize("layout", ["timm", "pass", "dino"])
@pytest.mark.parametrize("normalisation", ["imagenet", "half"])
def test_the_normalisation_can_be_named(tmp_path: Path, layout: str, normalisation: str) -> None:
    state, content = BUILDERS.get(layout, BUILDERS["transreid_ssl"])(GRID)
    torch.save(content, tmp_path / "vit.pth")
    encoder = build_encoder()
    path = tmp_path / "vit.pth"
    report = load_published(encoder, path, layout=layout, normalisation=normalisation)
    assert report.normalisation == normalisation
    compare(encoder, state, imagenet=normalisation == "imagenet")


def test_a_timm_file_says_its_normalisation_or_is_refused(tmp_path: Path) -> None:
    state = build_timm(reg_tokens=3, no_embed_class=True).state_dict()
    weights: dict[str, dict[str, Tensor]] = {"imagenet": {}, "half": {}}
    for name, own in weights.items():
        save_file(state, tmp_path / f"{name}.safetensors", metadata={"convention": name})
        encoder = build_encoder()
        report = load_published(encoder, tmp_path / f"{name}.safetensors", layout="timm")
        assert report.normalisation == name
        own.update(encoder.state_dict())
    first, second = (own["vit.patch_embed.proj.weight"] for own in weights.values())
    assert not torch.equal(first, second)
    for metadata in (None, {"format": "pt"}, {"convention": "bgr 0-255 mean 0 std 1"}):
        save_file(state, tmp_path / "vit.safetensors", metadata=metadata)
        with pytest.raises(WeightsError, match="how its pixels are normalised.*imagenet or half"):
            load_published(build_encoder(), tmp_path / "vit.safetensors", layout="timm")
    torch.save(state, tmp_path / "vit.pth")
    with pytest.raises(WeightsError, match="does not say how its pixels"):
        load_published(build_encoder(), tmp_path / "vit.pth", layout="timm")


def test_what_vills_exports_it_reads_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = Backbone(CONFIG).eval()
    save_backbone(backbone, tmp_path / "weights")
    path = save_timm(tmp_path / "weights", tmp_path / "vit.safetensors")
    encoder = build_encoder()
    assert load_published(encoder, path, layout="timm").normalisation == "half"
    with torch.no_grad():
        close(encoder(build_images()), backbone.encoder(build_images()), **TOLERANCE)


def test_half_precision_is_read_in_full(tmp_path: Path) -> None:
    state = {name: tensor.half() for name, tensor in build_vit(GRID).items()}
    encoder, _ = load(state, "dino", tmp_path)
    compare(encoder, {name: tensor.float() for name, tensor in state.items()})


def test_ambiguous_counts_are_read_as_the_publisher_does(tmp_path: Path) -> None:
    """144 rows: 12x12 for those who train on squares, the encoder's own 18x8 for the others."""
    config = replace(CONFIG, image_size=[288, 128])
    for layout in PREFIX_LAYOUTS:
        _, content = BUILDERS[layout]((12, 12))
        expected = (18, 8) if layout == "transreid_ssl" else (12, 12)
        assert load(content, layout, tmp_path, config)[1].file_grid == expected
    assert load(build_pass((12, 12))[1], "pass", tmp_path, config)[1].file_grid == (18, 8)


@pytest.mark.parametrize("resampler", [True, False])
def test_a_backbone_that_starts_so_runs(tmp_path: Path, resampler: bool) -> None:
    state, content = build_dino(GRID)
    torch.save(content, tmp_path / "dino.pth")
    torch.manual_seed(0)
    backbone = Backbone(replace(CONFIG, resampler=resampler)).train()
    names = dict(backbone.named_parameters())
    before = {name: tensor.clone() for name, tensor in names.items()}
    load_published(backbone.encoder, tmp_path / "dino.pth", layout="dino")
    changed = {n for n, tensor in names.items() if not torch.equal(tensor, before[n])}
    kept = names.keys() - changed
    assert all(name.startswith("encoder.vit.") for name in changed)
    assert {n for n in kept if n.startswith("encoder.")} == {"encoder.vit.reg_token"}
    images, clips = build_images(), build_images()[:, None].expand(-1, 3, -1, -1, -1)
    roles = backbone.encode_image(images).roles
    if not resampler:  # the class token is then the coarse feature itself
        extra = backbone.encoder.vit.reg_token
        pixels = normalise_as_imagenet(images)
        expected = forward(state, pixels, old=GRID, new=GRID, extra=extra)
        close(roles[:, 0], expected[:, 0], **TOLERANCE)
    loss = roles.square().sum() + backbone.encode_video(clips).roles.square().sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(
        tensor.grad is not None and tensor.grad.abs().sum() > 0
        for name, tensor in names.items()
        if name.startswith("encoder.") and not name.endswith("qkv.bias")
    )
