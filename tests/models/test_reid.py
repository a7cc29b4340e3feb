"""The model of fine-tuning."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.models.batches import TINY
from vills.config.checks import ConfigError
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel
from vills.models.weights import load_reid, save_reid

IMAGES = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))
CLIPS = torch.randn(4, 3, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def build(modality: str, *, drop_path: float = 0.0) -> ReidModel:
    torch.manual_seed(0)
    return ReidModel(Backbone(TINY), num_ids=5, modality=modality, drop_path=drop_path)


@pytest.mark.parametrize(
    ("modality", "inputs", "roles"), [("image", IMAGES, 4), ("video", CLIPS, 5)]
)
def test_feature_before_the_neck_and_logits_after(
    modality: str, inputs: torch.Tensor, roles: int
) -> None:
    model = build(modality)
    feature, logits = model(inputs)
    assert feature.shape == (4, roles * 32)
    assert logits.shape == (4, 5)
    neck = nn.BatchNorm1d(roles * 32)
    torch.testing.assert_close(logits, model.classifier(neck(feature)))
    model.eval()
    expected = model.neck(model(inputs)[0])
    torch.testing.assert_close(model.compute_features(inputs), expected)


def test_a_feature_in_training_mode_is_refused() -> None:
    with pytest.raises(AssertionError, match="other rows"):
        build("image").compute_features(IMAGES)


def test_an_image_model_averages_frames_and_a_video_model_takes_single_ones() -> None:
    image, video = build("image").eval(), build("video").eval()
    frames = torch.stack([image.compute_features(CLIPS[:, t]) for t in range(3)])
    torch.testing.assert_close(image.compute_features(CLIPS), frames.mean(dim=0))
    torch.testing.assert_close(
        video.compute_features(IMAGES), video.compute_features(IMAGES[:, None])
    )


def test_the_neck_has_no_bias_and_all_else_learns() -> None:
    model = build("video")
    assert model.neck.bias is None
    feature, logits = model(CLIPS)
    (feature.square().sum() + logits.square().sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(("modality", "inputs"), [("image", IMAGES), ("video", CLIPS)])
def test_drop_path_is_keyed_and_off_at_test(modality: str, inputs: torch.Tensor) -> None:
    model, still = build(modality, drop_path=0.9), build(modality)
    keys = torch.arange(4)
    noisy = model(inputs, keys)[0]
    assert not torch.allclose(noisy, still(inputs)[0])
    torch.testing.assert_close(model(inputs[1:3], keys[1:3])[0], noisy[1:3])
    torch.testing.assert_close(model.eval()(inputs)[0], still.eval()(inputs)[0])


def test_images_and_clips_of_one_batch_meet_in_the_neck() -> None:
    model = build("mixed", drop_path=0.5)
    keys = torch.arange(8)
    feature, logits = model([IMAGES, CLIPS], keys)
    assert (feature.shape, logits.shape) == ((8, 5 * 32), (8, 5))
    apart = [model([IMAGES], keys[:4])[0], model([CLIPS], keys[4:])[0]]
    torch.testing.assert_close(feature, torch.cat(apart))
    torch.testing.assert_close(
        model.classifier(nn.BatchNorm1d(5 * 32)(feature)), model([IMAGES, CLIPS], keys)[1]
    )
    # an image is a clip of one frame
    torch.testing.assert_close(model([IMAGES[:, None]], keys[:4])[0], feature[:4])
    still = model.eval()
    torch.testing.assert_close(
        still.compute_features(IMAGES), still.compute_features(IMAGES[:, None])
    )


def test_a_test_feature_is_a_choice_of_roles_and_of_a_side_of_the_neck() -> None:
    model = build("video")
    for _ in range(3):
        model(CLIPS)  # running statistics that are not those of a fresh neck
    model.eval()
    assert model.neck is not None
    nn.init.uniform_(model.neck.weight, 0.5, 1.5)
    before, after = (model.compute_features(CLIPS, neck=side) for side in ("before", "after"))
    torch.testing.assert_close(model.neck(before), after)
    torch.testing.assert_close(model.compute_features(CLIPS), after)
    names = list(model.backbone.get_roles("video"))
    assert names == ["coarse", "upper_body", "lower_body", "head", "temporal"]
    for roles, places in (
        (("coarse",), [0]),
        (("areas",), [1, 2, 3]),
        (("temporal", "coarse"), [0, 4]),  # in the feature's order
        (("lower_body",), [2]),
        (("coarse", "areas", "temporal"), [0, 1, 2, 3, 4]),
    ):
        expected = after.reshape(4, 5, 32)[:, places].flatten(1)
        torch.testing.assert_close(model.compute_features(CLIPS, roles=roles), expected)
    image = build("image").eval()
    assert image.compute_features(IMAGES, roles=("coarse", "temporal")).shape == (4, 32)
    with pytest.raises(ConfigError, match="it was trained with coarse, upper_body"):
        image.compute_features(IMAGES, roles=("temporal",))
    with pytest.raises(ConfigError, match=r"roles = \['arms', 'coarse'\]"):
        image.compute_features(IMAGES, roles=["arms", "coarse"])


def test_without_a_neck_both_sides_are_the_feature() -> None:
    torch.manual_seed(0)
    model = ReidModel(Backbone(TINY), num_ids=5, modality="image", neck="none")
    feature, logits = model(IMAGES)
    torch.testing.assert_close(logits, model.classifier(feature))
    model.eval()
    for side in ("before", "after"):
        torch.testing.assert_close(model.compute_features(IMAGES, neck=side), feature)


def test_a_folder_keeps_modality_and_neck(tmp_path: Path) -> None:
    for modality, neck in (("mixed", "bnneck"), ("video", "none")):
        model = ReidModel(Backbone(TINY), num_ids=5, modality=modality, neck=neck).eval()
        save_reid(model, tmp_path / neck)
        again = load_reid(tmp_path / neck).eval()
        assert (again.modality, again.neck is None) == (modality, neck == "none")
        torch.testing.assert_close(again.compute_features(CLIPS), model.compute_features(CLIPS))
