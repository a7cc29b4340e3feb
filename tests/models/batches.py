"""Tiny models and batches for tests of vills.models."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vills.areas import AREAS
from vills.config.model import HeadConfig, ModelConfig
from vills.data.loading import PretrainBatch
from vills.losses.alignment import AlignmentLoss
from vills.losses.distillation import FeatureLoss, MaskedTokenLoss
from vills.losses.koleo import KoLeoLoss
from vills.models.network import NetworkOutput, VillsNetwork

TINY = ModelConfig(width=32, depth=2, num_heads=2, image_size=[64, 32], num_queries=8, max_frames=4)
HEADS = HeadConfig(hidden=48, bottleneck=16, feature_prototypes=40, masking_prototypes=24)
IMAGES, VIDEOS, FRAMES, LSE_FRAMES, LSE_VIEWS = 4, 4, 4, 2, 2


def make_batch(seed: int = 0, *, areas: int = len(AREAS), video: bool = True) -> PretrainBatch:
    """Global views 64x32 and 32x32, LSE views 32x16, some views missing, some samples unmasked."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    def coin(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random) < 0.5

    batch = PretrainBatch(
        step=0,
        images=normal(2, IMAGES, 3, 64, 32),
        image_masks=coin(2, IMAGES, 8) & coin(2, IMAGES, 1),
        image_lse=normal(areas, LSE_VIEWS, IMAGES, 3, 32, 16) if areas else None,
        image_lse_weight=coin(areas, LSE_VIEWS, IMAGES).float() if areas else None,
        image_keys=torch.arange(IMAGES) + 10,
    )
    if not video:
        return batch
    index = torch.stack([torch.tensor([0, 2])] * VIDEOS).expand(areas, -1, -1).clone()
    return replace(
        batch,
        frames=normal(2, VIDEOS, FRAMES, 3, 32, 32),
        frame_index=torch.tensor([0, 3, 1, 2]),
        frame_masks=coin(2, VIDEOS, 4) & coin(2, VIDEOS, 1),
        clip_lse=normal(areas, VIDEOS, LSE_FRAMES, 3, 32, 16) if areas else None,
        clip_lse_weight=coin(areas, VIDEOS, LSE_FRAMES).float() if areas else None,
        clip_lse_index=index if areas else None,
        video_ids=torch.arange(VIDEOS),
        video_keys=torch.arange(VIDEOS) + 90,
    )


def slice_batch(batch: PretrainBatch, rows: slice) -> PretrainBatch:
    """The samples `rows`, of images and of videos."""
    changes: dict[str, Any] = {}
    axes = {"images": 1, "image_masks": 1, "image_lse": 2, "image_lse_weight": 2, "image_keys": 0}
    axes |= {"frames": 1, "frame_index": 0, "frame_masks": 1, "clip_lse": 1, "clip_lse_weight": 1}
    axes |= {"clip_lse_index": 1, "video_ids": 0, "video_keys": 0}
    for name, axis in axes.items():
        value = getattr(batch, name)
        if value is not None:
            start, stop, _ = rows.indices(value.shape[axis])
            changes[name] = value.narrow(axis, start, stop - start)
    return replace(batch, **changes)


def compute_terms(
    network: VillsNetwork, student: NetworkOutput, teacher: NetworkOutput
) -> dict[str, Tensor]:
    """All loss terms that the network has outputs for."""
    terms: dict[str, Tensor] = {}
    if student.features:
        terms["feature"] = FeatureLoss(network.get_feature_keys(), HEADS.feature_prototypes)(
            student.features, teacher.features, teacher_temperature=0.07
        )
    if student.masked:
        terms["masking"] = MaskedTokenLoss(network.get_masking_keys(), HEADS.masking_prototypes)(
            student.masked, teacher.masked, teacher_temperature=0.07
        )
    terms["koleo"] = KoLeoLoss()(
        [v[:, :, 0] for name, v in student.tokens.items() if name != "frame"]
    )
    if student.alignment is not None:
        pairs = student.alignment
        terms["alignment"] = AlignmentLoss()(pairs.video, pairs.frame, pairs.scale)
    return terms
