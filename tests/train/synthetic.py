"""Pre-training batches of noise: the shapes, masks and missing areas of real ones."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vills.config.model import HeadConfig, ModelConfig
from vills.config.pretrain import OptimConfig, PretrainConfig, ViewConfig
from vills.data.loading import PretrainBatch


def build_config(**changes: Any) -> PretrainConfig:
    """A tiny configuration whose every part is on."""
    config = PretrainConfig(
        model=ModelConfig(
            width=32, depth=2, num_heads=2, image_size=[64, 32], num_queries=6, max_frames=8
        ),
        heads=HeadConfig(hidden=32, bottleneck=16, feature_prototypes=48, masking_prototypes=40),
        views=ViewConfig(
            global_size=[64, 32], frame_size=[32, 22], lse_size=[32, 16], num_frames=3, lse_frames=2
        ),
        optim=OptimConfig(
            base_lr=0.05, warmup_epochs=0.0, freeze_prototypes_epochs=0.0, clip_grad=3.0
        ),
        epochs=4.0,
        image_batch=8,
        video_batch=4,
        threads_per_rank=1,
        health_steps=2,
        log_steps=1,
    )
    return replace(config, **changes)


def build_batch(
    config: PretrainConfig, *, step: int = 0, rank: int = 0, world_size: int = 1
) -> PretrainBatch:
    """This rank's rows of a global batch that depends on `step` alone."""
    noise = torch.Generator().manual_seed(1000 + step)
    areas = len(config.areas)
    fields = _build_images(config, areas, noise)
    if config.modalities == "image+video":
        fields |= _build_videos(config, areas, noise)
    share = {
        name: _slice(value, _ROW_DIMS[name], rank, world_size) for name, value in fields.items()
    }
    return PretrainBatch(step=step, **share)


_ROW_DIMS = {
    "images": 1,
    "image_masks": 1,
    "image_lse": 2,
    "image_lse_weight": 2,
    "image_keys": 0,
    "frames": 1,
    "frame_index": 0,
    "frame_masks": 1,
    "clip_lse": 1,
    "clip_lse_weight": 1,
    "clip_lse_index": 1,
    "video_ids": 0,
    "video_keys": 0,
}


def _slice(value: Tensor | None, dim: int, rank: int, world_size: int) -> Tensor | None:
    if value is None:
        return None
    share = value.shape[dim] // world_size
    return value.narrow(dim, rank * share, share)


def _build_images(
    config: PretrainConfig, areas: int, noise: torch.Generator
) -> dict[str, Tensor | None]:
    rows, views = config.image_batch, config.views
    height, width = views.global_size
    patches = (height // config.model.patch_size) * (width // config.model.patch_size)
    lse = (areas, views.lse_views, rows)
    return {
        "images": torch.randn(2, rows, 3, height, width, generator=noise),
        "image_masks": _build_masks(2, rows, patches, noise),
        "image_lse": torch.randn(*lse, 3, *views.lse_size, generator=noise) if areas else None,
        "image_lse_weight": (torch.rand(*lse, generator=noise) < 0.8).float() if areas else None,
        "image_keys": torch.randint(1 << 62, (rows,), generator=noise),
    }


def _build_videos(
    config: PretrainConfig, areas: int, noise: torch.Generator
) -> dict[str, Tensor | None]:
    rows, views, patch = config.video_batch, config.views, config.model.patch_size
    height, width = (-(-side // patch) * patch for side in views.frame_size)
    patches = (height // patch) * (width // patch)
    lse = (areas, rows, views.lse_frames)
    places = torch.stack(
        [
            torch.randperm(views.num_frames, generator=noise)[: views.lse_frames].sort().values
            for _ in range(rows)
        ]
    )
    return {
        "frames": torch.randn(2, rows, views.num_frames, 3, height, width, generator=noise),
        "frame_index": torch.randint(views.num_frames, (rows,), generator=noise),
        "frame_masks": _build_masks(2, rows, patches, noise),
        "clip_lse": torch.randn(*lse, 3, *views.lse_size, generator=noise) if areas else None,
        "clip_lse_weight": (torch.rand(*lse, generator=noise) < 0.6).float() if areas else None,
        "clip_lse_index": places.expand(areas, -1, -1).contiguous() if areas else None,
        "video_ids": torch.arange(rows),
        "video_keys": torch.randint(1 << 62, (rows,), generator=noise),
    }


def _build_masks(views: int, rows: int, patches: int, noise: torch.Generator) -> Tensor:
    masks = torch.rand(views, rows, patches, generator=noise) < 0.4
    masks[:, ::2] = False  # half of the samples are not masked
    return masks
