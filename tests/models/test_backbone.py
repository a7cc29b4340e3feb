"""E and R together: images, clips, frames of clips."""

from dataclasses import replace
from typing import Any

import torch

from tests.models.batches import TINY
from vills.models.backbone import Backbone
from vills.models.encoder import AREA_ROLES, COARSE, TEMPORAL

CLIPS = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
BARE = replace(TINY, resampler=False)


def build_backbone(**changes: Any) -> Backbone:
    torch.manual_seed(0)
    return Backbone(TINY, **changes)


def test_shuffled_frames_change_the_temporal_token() -> None:
    backbone = build_backbone()
    order = torch.tensor([2, 0, 3, 1])
    straight = backbone.encode_video(CLIPS).roles[:, TEMPORAL]
    shuffled = backbone.encode_video(CLIPS[:, order]).roles[:, TEMPORAL]
    change = (straight - shuffled).norm() / straight.norm()
    assert change > 0.005
    with torch.no_grad():
        backbone.frame_embedding.table.zero_()
    torch.testing.assert_close(
        backbone.encode_video(CLIPS).roles, backbone.encode_video(CLIPS[:, order]).roles
    )


def test_without_resampler_a_clip_is_the_mean_of_its_frames() -> None:
    torch.manual_seed(0)
    backbone = Backbone(BARE)
    assert backbone.get_roles("video") == backbone.get_roles("image")
    roles = backbone.encode_video(CLIPS).roles
    assert roles.shape == (2, 4, 32)
    frames = torch.stack([backbone.encode_image(CLIPS[:, t]).roles for t in range(4)])
    torch.testing.assert_close(roles, frames.mean(dim=0))
    assert torch.equal(
        backbone.encode_image(CLIPS[:, 0]).roles, backbone.encoder(CLIPS[:, 0])[:, :4]
    )


def test_an_image_only_backbone_scores_a_clip_frame_by_frame() -> None:
    backbone = build_backbone(video=False)
    assert "temporal" not in backbone.get_roles("video")
    frames = torch.stack([backbone.encode_image(CLIPS[:, t]).roles for t in range(4)])
    torch.testing.assert_close(backbone.encode_video(CLIPS).roles, frames.mean(dim=0))


def test_the_frame_comes_from_the_clips_own_pass_and_only_it_is_masked() -> None:
    backbone = build_backbone(masking=True)
    index = torch.tensor([3, 1])
    video = backbone.encode_video(CLIPS, frame_index=index)
    assert video.frame is not None
    own = backbone.encode_image(CLIPS[torch.arange(2), index])
    torch.testing.assert_close(video.frame.roles, own.roles)
    torch.testing.assert_close(video.frame.patches, own.patches)
    mask = torch.zeros(2, 4, dtype=torch.bool)
    mask[0, 2] = True
    masked = backbone.encode_video(CLIPS, frame_index=index, mask=mask)
    assert masked.frame is not None
    torch.testing.assert_close(
        masked.frame.roles[0], backbone.encode_image(CLIPS[:1, 3], mask=mask[:1]).roles[0]
    )
    torch.testing.assert_close(masked.frame.roles[1], video.frame.roles[1])
    torch.testing.assert_close(masked.roles[1], video.roles[1])
    assert not torch.allclose(masked.roles[0], video.roles[0])


def test_some_frames_of_a_clip_keep_their_places() -> None:
    backbone = build_backbone()
    tokens = torch.randn(2, 4, 12, 32)
    places = torch.tensor([[0, 2], [1, 3]])
    part = tokens.gather(1, places[..., None, None].expand(-1, -1, 12, 32))
    exists = torch.zeros(2, 4, dtype=torch.bool).scatter(1, places, True)
    torch.testing.assert_close(
        backbone.resample_video(part, positions=places, num_frames=4),
        backbone.resample_video(tokens, frame_mask=exists),
    )
    assert not torch.allclose(
        backbone.resample_video(part, positions=places, num_frames=4),
        backbone.resample_video(part, positions=places.flip(1), num_frames=4),
    )


def test_a_feature_is_the_trained_roles_side_by_side() -> None:
    backbone = build_backbone(areas=["upper_body", "head"])
    roles = torch.randn(2, 8, 32)
    image = backbone.compute_feature(roles, modality="image")
    chosen = [COARSE, AREA_ROLES["upper_body"], AREA_ROLES["head"]]
    assert torch.equal(image, torch.cat([roles[:, role] for role in chosen], dim=1))
    video = backbone.compute_feature(roles, modality="video")
    assert torch.equal(video, torch.cat([image, roles[:, TEMPORAL]], dim=1))
    assert video.shape[1] == backbone.compute_feature_width("video") == 128


def test_evaluation_before_training_leaves_nothing_that_training_cannot_use() -> None:
    backbone = build_backbone()
    with torch.inference_mode():
        backbone.encode_video(CLIPS[:, :3])
    backbone.encode_video(CLIPS[:, :3]).roles.sum().backward()
    assert backbone.encoder.vit.pos_embed.grad is not None
    assert backbone.frame_embedding.table.grad is not None


def test_works_at_the_sizes_of_the_downstream_sets() -> None:
    backbone = build_backbone()
    for height, width in ((64, 32), (96, 48), (96, 32)):
        images = torch.randn(2, 3, height, width)
        tokens = backbone.encode_image(images)
        assert tokens.roles.shape == (2, 8, 32)
        assert tokens.patches.shape == (2, height * width // 256, 32)


def test_a_frame_beside_its_clip_is_not_seen_by_the_clip() -> None:
    backbone = build_backbone()
    last = torch.full((2,), 3)
    beside = backbone.encode_video(CLIPS, frame_index=last, frame_in_clip=False)
    torch.testing.assert_close(beside.roles, backbone.encode_video(CLIPS[:, :3]).roles)
    assert beside.frame is not None
    alone = backbone.encode_image(CLIPS[:, 3])
    torch.testing.assert_close(beside.frame.roles, alone.roles)
