"""Attention maps: where a token provably looks, with and without the resampler."""

import numpy as np
import pytest
import torch

from vills.config.model import ModelConfig
from vills.evaluation.attention import (
    compute_clip_attention,
    compute_image_attention,
)
from vills.models.backbone import Backbone

SIZE = (48, 32)


def make_backbone(*, resampler: bool = True, video: bool = True) -> Backbone:
    torch.manual_seed(0)
    config = ModelConfig(
        width=32,
        depth=2,
        num_heads=2,
        image_size=list(SIZE),
        resampler=resampler,
        resampler_depth=1,
        num_queries=6,
        max_frames=4,
    )
    backbone = Backbone(config, areas=("upper_body", "head"), video=video).eval()
    for parameter in backbone.parameters():
        # Fresh weights of .02 attend evenly; larger ones make maps that differ.
        parameter.data.mul_(3)
    return backbone


@pytest.mark.parametrize("resampler", [True, False])
def test_maps_are_shares_per_role(resampler: bool) -> None:
    backbone = make_backbone(resampler=resampler)
    frames = torch.randn(3, 3, *SIZE)
    image = compute_image_attention(backbone, frames[0])
    assert image.roles == ("coarse", "upper_body", "head")
    assert image.maps.shape == (3, *SIZE)
    clip = compute_clip_attention(backbone, frames)
    assert clip.roles == image.roles + (("temporal",) if resampler else ())
    assert clip.maps.shape == (len(clip.roles), 3, *SIZE)
    for maps in (image.maps, clip.maps):
        assert (maps >= 0).all()
        np.testing.assert_allclose(maps.reshape(len(maps), -1).sum(1), 1, rtol=1e-5)
    assert np.abs(image.maps[0] - image.maps[1]).max() > 1e-6


def test_without_temporal_training_a_clip_is_its_frames() -> None:
    backbone = make_backbone(video=False)
    frames = torch.randn(2, 3, *SIZE)
    clip = compute_clip_attention(backbone, frames)
    for index in range(2):
        image = compute_image_attention(backbone, frames[index])
        shares = clip.maps[:, index] / clip.maps[:, index].sum(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(shares, image.maps, rtol=1e-4)


def test_composition_equals_a_plain_loop() -> None:
    backbone = make_backbone()
    image = torch.randn(3, *SIZE)
    with torch.inference_mode():
        tokens = backbone.encoder(image[None])
        weights = backbone.resampler.compute_attention(tokens)[0]
        encoder = backbone.encoder.compute_attention(image[None])[0].mean(0)
    expected = np.zeros(6)
    for patch in range(6):
        expected[patch] = weights[0, 4 + patch]
        for prefix in range(4):
            expected[patch] += weights[0, prefix] * encoder[prefix, 4 + patch]
    grid = torch.tensor(expected, dtype=torch.float32).reshape(1, 1, 3, 2)
    large = torch.nn.functional.interpolate(grid, SIZE, mode="bilinear")[0, 0].numpy()
    maps = compute_image_attention(backbone, image).maps
    np.testing.assert_allclose(maps[0], large / large.sum(), rtol=1e-4)


def test_temporal_map_follows_the_frame_that_its_query_is_made_to_like() -> None:
    backbone = make_backbone()
    frames = torch.randn(3, 3, *SIZE)
    frames[1] = 0
    clip = compute_clip_attention(backbone, frames)
    changed = frames.clone()
    changed[2] = frames[0]
    changed[0] = frames[2]
    other = compute_clip_attention(backbone, changed)
    # Not the same picture twice: the frame embeddings give each place its own weight.
    assert np.abs(clip.maps[-1, 0] - other.maps[-1, 2]).max() > 1e-7
