"""The model of fine-tuning."""

import pytest
import torch
from torch import nn

from tests.models.batches import TINY
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel

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
    torch.testing.assert_close(model.compute_feature(inputs), expected)


def test_a_feature_in_training_mode_is_refused() -> None:
    with pytest.raises(AssertionError, match="other rows"):
        build("image").compute_feature(IMAGES)


def test_an_image_model_averages_frames_and_a_video_model_takes_single_ones() -> None:
    image, video = build("image").eval(), build("video").eval()
    frames = torch.stack([image.compute_feature(CLIPS[:, t]) for t in range(3)])
    torch.testing.assert_close(image.compute_feature(CLIPS), frames.mean(dim=0))
    torch.testing.assert_close(
        video.compute_feature(IMAGES), video.compute_feature(IMAGES[:, None])
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
