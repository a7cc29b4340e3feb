from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
from vills.lse.crop import Crop
from vills.lse.parts import build_segmenter
from vills.lse.segmenter_sam import SamSegmenter

SIDE = 128


def build_small_sam(depth: int = 2) -> Sam:
    torch.manual_seed(0)
    grid = SIDE // 16
    model = Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIDE,
            patch_size=16,
            embed_dim=24,
            depth=depth,
            num_heads=2,
            out_chans=16,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=4,
            global_attn_indexes=(depth - 1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=16,
            image_embedding_size=(grid, grid),
            input_image_size=(SIDE, SIDE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=16,
            transformer=TwoWayTransformer(depth=2, embedding_dim=16, mlp_dim=32, num_heads=2),
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    # Rows of a fresh model are near 0; spread them so that masks have structure.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    last = model.mask_decoder.iou_prediction_head.layers[-1]
    torch.nn.init.normal_(last.weight, std=1e-4)  # predicted IoUs between 0 and 1
    torch.nn.init.constant_(last.bias, 0.5)
    return model.eval()


def make_batch() -> tuple[list[Crop], list[np.ndarray], list[dict[str, np.ndarray]]]:
    rng = np.random.default_rng(3)
    crops, points, labels = [], [], []
    for number, (height, width) in enumerate([(128, 64), (70, 40), (90, 120)]):
        image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        crops.append(Crop(image, f"r{number}", 0, "p", 0, (0, 0, width, height)))
        points.append(rng.uniform((0, 0), (width, height), (17, 2)).astype(np.float32))
        prompts = {a: rng.integers(-1, 2, 17).astype(np.int8) for a in AREAS}
        for prompt in prompts.values():
            prompt[0] = 1
        labels.append(prompts)
    labels[1]["head"][:] = np.where(labels[1]["head"] == 1, 0, labels[1]["head"])  # no positive
    return crops, points, labels


def test_batch_equals_sam_predictor() -> None:
    model = build_small_sam()
    crops, points, labels = make_batch()
    segmenter = SamSegmenter(model, device=torch.device("cpu"))
    found = segmenter.segment(crops, points=points, labels=labels)
    predictor = SamPredictor(model)
    shares = []
    for crop, p, prompts, masks in zip(crops, points, labels, found, strict=True):
        predictor.set_image(crop.image)
        assert set(masks) == {a for a, v in prompts.items() if (v == 1).any()}
        for area, mask in masks.items():
            expected, quality, _ = predictor.predict(p, prompts[area], multimask_output=False)
            np.testing.assert_array_equal(mask.mask, expected[0])
            assert mask.mask.shape == crop.image.shape[:2]
            np.testing.assert_allclose(mask.score, np.clip(quality[0], 0, 1), atol=1e-5)
            shares.append(mask.mask.mean())
    assert min(shares) < 0.95  # not all masks are full
    assert max(shares) > 0.05
    assert "head" not in found[1]


def test_one_embedding_per_image_and_one_decoder_call_for_its_areas() -> None:
    model = build_small_sam()
    calls: dict[str, list[int]] = {"encoder": [], "decoder": []}
    model.image_encoder.register_forward_pre_hook(
        lambda _, inputs: calls["encoder"].append(len(inputs[0]))
    )
    model.mask_decoder.register_forward_pre_hook(
        lambda _, args, kwargs: calls["decoder"].append(len(kwargs["sparse_prompt_embeddings"])),
        with_kwargs=True,
    )
    crops, points, labels = make_batch()
    for prompt in labels[2].values():
        prompt[:] = -1  # nothing asks for this image
    segmenter = SamSegmenter(model, device=torch.device("cpu"))
    found = segmenter.segment(crops, points=points, labels=labels)
    assert calls == {"encoder": [2], "decoder": [3, 2]}
    assert found[2] == {}


def test_bf16_encoder_gives_nearly_the_same_masks() -> None:
    model = build_small_sam()
    crops, points, labels = make_batch()
    full, half = (
        SamSegmenter(model, device=torch.device("cpu"), precision=precision).segment(
            crops, points=points, labels=labels
        )
        for precision in ("fp32", "bf16")
    )
    same = [
        (one[area].mask == other[area].mask).mean()
        for one, other in zip(full, half, strict=True)
        for area in one
    ]
    assert 0.9 < np.mean(same) < 1.0  # close, and the switch is no dead letter


def test_points_labelled_minus_one_have_no_say() -> None:
    segmenter = SamSegmenter(build_small_sam(), device=torch.device("cpu"))
    crops, points, labels = make_batch()
    labels[0]["head"][5:] = -1
    moved = [p.copy() for p in points]
    moved[0][5:] = 1.0
    prompts = [{"head": labels[0]["head"]}]
    first, second = (
        segmenter.segment(crops[:1], points=p[:1], labels=prompts)[0]["head"]
        for p in (points, moved)
    )
    np.testing.assert_array_equal(first.mask, second.mask)
    assert first.score == second.score
    moved[0][0] = 1.0  # a positive point does have a say
    third = segmenter.segment(crops[:1], points=moved[:1], labels=prompts)[0]["head"]
    assert third.score != first.score


def test_checkpoint_in_its_published_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = build_small_sam(depth=12)
    with torch.device("meta"):
        published = sam_model_registry["vit_b"](checkpoint=None).state_dict()
    assert set(small.state_dict()) == set(published)  # the small file has vit_b's layout
    torch.save(small.state_dict(), tmp_path / "sam.pth")

    def build_fresh(checkpoint: None) -> Sam:
        model = build_small_sam(depth=12)
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        return model

    monkeypatch.setitem(sam_model_registry, "vit_b", build_fresh)
    config = LseConfig(segmenter="sam", sam_type="vit_b", segmenter_weights="sam.pth")
    loaded = build_segmenter(config, root=None, weights=tmp_path)
    crops, points, labels = make_batch()
    expected = SamSegmenter(small, device=torch.device("cpu"))
    for one, other in zip(
        loaded.segment(crops, points=points, labels=labels),
        expected.segment(crops, points=points, labels=labels),
        strict=True,
    ):
        for area in one:
            np.testing.assert_array_equal(one[area].mask, other[area].mask)

    state = small.state_dict()
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, tmp_path / "sam.pth")
    with pytest.raises(ConfigError, match=r"1 missing keys \(first: mask_decoder.iou_token.weight"):
        build_segmenter(config, root=None, weights=tmp_path)
    torch.save({"pos": small}, tmp_path / "sam.pth")  # needs unpickling of code
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        build_segmenter(config, root=None, weights=tmp_path)
    wrong = LseConfig(
        segmenter="sam", sam_type="vit_b", segmenter_weights="sam.pth", segmenter_sha256="0" * 64
    )
    with pytest.raises(ConfigError, match="SHA-256.*Allowed: 0000"):
        build_segmenter(wrong, root=None, weights=tmp_path)
