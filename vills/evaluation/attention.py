"""Where the coarse, area and temporal tokens look, over an image and over the frames of a clip.

Legend: B rows, T frames, P prefix tokens, N patches, S = P + N, L tokens of R, R roles, H x W
pixels, gh x gw patch grid.

A role of R attends to patches and to the encoder's prefix tokens, which have themselves gathered
patches. The map adds both ways: direct weight on a patch, plus weight on each prefix token times
that token's own attention to the patch in the encoder's last block. Without R a role is a prefix
token and the second part is all. Every map sums to 1 over its image or clip.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vills.evaluation.distance import FloatArray
from vills.models.backbone import Backbone
from vills.models.encoder import NUM_SPATIAL


@dataclass(frozen=True, slots=True)
class AttentionMaps:
    """Attention of each trained role at the resolution of the picture."""

    roles: tuple[str, ...]
    """Names, e.g. coarse, upper_body, temporal."""
    maps: FloatArray
    """[R, H, W] of an image or [R, T, H, W] of a clip; each map is >= 0 and sums to 1."""


@torch.inference_mode()
def compute_image_attention(backbone: Backbone, image: Tensor) -> AttentionMaps:
    """Compute the attention over a normalised image [3, H, W]."""
    maps = _compute_frame_maps(backbone, image[None])[0]  # [L, gh, gw]
    return _select_roles(backbone, maps[:, None], image.shape[-2:], "image")


@torch.inference_mode()
def compute_clip_attention(backbone: Backbone, frames: Tensor) -> AttentionMaps:
    """Compute the attention over the frames of a normalised clip [T, 3, H, W].

    A backbone without a temporal role describes a clip frame by frame, with equal weight.
    """
    if backbone.resampler is None or backbone.frame_embedding is None:
        maps = _compute_frame_maps(backbone, frames).transpose(0, 1)  # [L, T, gh, gw]
    else:
        maps = _compute_clip_maps(backbone, frames)
    return _select_roles(backbone, maps, frames.shape[-2:], "video")


def _compute_frame_maps(backbone: Backbone, images: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, L, gh, gw]: each picture on its own."""
    grid = backbone.encoder.get_grid(images.shape[-2], images.shape[-1])
    gathered = _compute_prefix_attention(backbone, images)  # [B, P, N]
    if backbone.resampler is None:
        return gathered.reshape(*gathered.shape[:2], *grid)
    weights = backbone.resampler.compute_attention(backbone.encoder(images))  # [B, L, S]
    return _compose(weights, gathered).reshape(*weights.shape[:2], *grid)


def _compute_clip_maps(backbone: Backbone, frames: Tensor) -> Tensor:
    """[T, 3, H, W] -> [L, T, gh, gw]: the tokens of all frames side by side."""
    assert backbone.resampler is not None
    assert backbone.frame_embedding is not None
    grid = backbone.encoder.get_grid(frames.shape[-2], frames.shape[-1])
    tokens = backbone.frame_embedding(backbone.encoder(frames)[None], None, len(frames))
    weights = backbone.resampler.compute_attention(tokens.flatten(1, 2))[0]  # [L, T * S]
    per_frame = weights.reshape(len(weights), len(frames), -1).transpose(0, 1)  # [T, L, S]
    composed = _compose(per_frame, _compute_prefix_attention(backbone, frames))  # [T, L, N]
    return composed.transpose(0, 1).reshape(len(weights), len(frames), *grid)


def _compute_prefix_attention(backbone: Backbone, images: Tensor) -> Tensor:
    """[B, P, N] attention of the prefix tokens to the patches in the last block, mean of heads."""
    weights = backbone.encoder.compute_attention(images).mean(dim=1)
    return weights[:, :NUM_SPATIAL, NUM_SPATIAL:]


def _compose(weights: Tensor, gathered: Tensor) -> Tensor:
    """[B, L, S] of R and [B, P, N] of E -> [B, L, N]: direct, and by way of the prefix."""
    return weights[..., NUM_SPATIAL:] + weights[..., :NUM_SPATIAL] @ gathered


def _select_roles(
    backbone: Backbone, maps: Tensor, size: torch.Size, modality: str
) -> AttentionMaps:
    """[L, T, gh, gw] -> the trained roles at `size`; T of an image is dropped."""
    roles = backbone.get_roles(modality)
    chosen = maps[list(roles.values())].float()
    large = F.interpolate(chosen, size=tuple(size), mode="bilinear", align_corners=False)
    large = large / large.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    result = large[:, 0] if modality == "image" else large
    return AttentionMaps(tuple(roles), result.cpu().numpy())
