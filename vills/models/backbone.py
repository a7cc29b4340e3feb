"""What pre-training ships: the shared encoder E and the resampler R (eq. 6 and 7).

Legend: B rows, T frames, P prefix tokens, N patches of a picture, S = P + N, L role tokens,
D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vills.areas import AREAS
from vills.config.model import ModelConfig
from vills.models.encoder import NUM_SPATIAL, Encoder, build_roles
from vills.models.layers import DropPathNoise, convert_rows
from vills.models.resampler import FrameEmbedding, Resampler


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of pictures: z^i or z^vi after R, and the patches before R."""

    roles: Tensor
    """[B, L, D], see vills.models.encoder."""
    patches: Tensor
    """[B, N, D]."""


@dataclass(frozen=True, slots=True)
class VideoTokens:
    """Tokens of clips, z^v, and of one frame of each, z^vi, from the same encoder pass."""

    roles: Tensor
    """[B, L, D]."""
    frame: Tokens | None
    """z^vi, if a frame was asked for."""


class Backbone(nn.Module):
    """E and R. Without R, role tokens are the encoder's prefix and a video is its frames' mean."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        areas: Sequence[str] = AREAS,
        video: bool = True,
        masking: bool = False,
    ) -> None:
        """Build from parameters.

        Args:
            config: sizes of E and R.
            areas: areas that are trained; they enter the feature vector.
            video: whether clips are trained. Without, a clip is the mean of its frames, each
                encoded as an image (an image-only model scores a video frame by frame).
            masking: whether the encoder has a mask token.
        """
        super().__init__()
        self.config = config
        self.areas = tuple(areas)
        self.video = video
        self.encoder = Encoder(config, masking=masking)
        self.resampler = Resampler(config) if config.resampler else None
        self.frame_embedding: FrameEmbedding | None = None
        if config.resampler and video:
            self.frame_embedding = FrameEmbedding(config.max_frames, config.width)

    @property
    def num_roles(self) -> int:
        """L: tokens of a picture or clip after R."""
        return self.config.num_queries if self.config.resampler else NUM_SPATIAL

    def get_roles(self, modality: str) -> dict[str, int]:
        """Trained roles -> token index, for `image` or `video`."""
        return build_roles(
            self.areas, temporal=modality == "video" and self.frame_embedding is not None
        )

    def compute_feature(self, roles: Tensor, *, modality: str) -> Tensor:
        """[B, L, D] -> [B, roles * D]: coarse, areas, and for `video` temporal, side by side."""
        return roles[:, list(self.get_roles(modality).values())].flatten(1)

    def compute_feature_width(self, modality: str) -> int:
        """Width of `compute_feature`."""
        return len(self.get_roles(modality)) * self.config.width

    def encode_image(
        self, images: Tensor, *, mask: Tensor | None = None, drop: DropPathNoise | None = None
    ) -> Tokens:
        """[B, 3, H, W] pictures -> z^i; `mask` bool [B, N] hides patches at their embedding."""
        tokens = self.encoder(images, mask, drop)
        return Tokens(self.resample_image(tokens), tokens[:, NUM_SPATIAL:])

    def encode_video(
        self,
        frames: Tensor,
        *,
        frame_index: Tensor | None = None,
        frame_in_clip: bool = True,
        mask: Tensor | None = None,
        drop: DropPathNoise | None = None,
    ) -> VideoTokens:
        """[B, T, 3, H, W] clips -> z^v and, with `frame_index` long [B], z^vi of that frame.

        Without `frame_in_clip` the clips are the first T - 1 frames, and z^vi is of the last.
        `mask` bool [B, N] hides patches of that frame, `drop` holds B * T rows.
        """
        rows, num_frames = frames.shape[:2]
        hidden = None
        if mask is not None:
            assert frame_index is not None, "a mask needs the frame that it hides"
            hidden = mask.new_zeros(rows, num_frames, mask.shape[1])
            hidden[torch.arange(rows, device=mask.device), frame_index] = mask
            hidden = hidden.flatten(0, 1)
        tokens = convert_rows(self.encoder(frames.flatten(0, 1), hidden, drop), (rows, num_frames))
        roles = self.resample_video(tokens if frame_in_clip else tokens[:, :-1])
        if frame_index is None:
            return VideoTokens(roles, None)
        frame = tokens[torch.arange(rows, device=tokens.device), frame_index]  # [B, S, D]
        return VideoTokens(roles, Tokens(self.resample_image(frame), frame[:, NUM_SPATIAL:]))

    def resample_image(self, tokens: Tensor) -> Tensor:
        """[B, S, D] encoder tokens of pictures -> [B, L, D]; no frame embedding."""
        if self.resampler is None:
            return tokens[:, :NUM_SPATIAL]
        roles: Tensor = self.resampler(tokens)
        return roles

    def resample_video(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        num_frames: int | None = None,
        frame_mask: Tensor | None = None,
    ) -> Tensor:
        """[B, T, S, D] encoder tokens of frames -> [B, L, D].

        Args:
            tokens: frames of a clip, or some of them.
            positions: long [B, T], their places in the clip; default: they are the clip.
            num_frames: length of the clip; default T.
            frame_mask: bool [B, T], False for frames that do not exist.
        """
        if self.resampler is None or self.frame_embedding is None:
            roles = convert_rows(self.resample_image(tokens.flatten(0, 1)), tokens.shape[:2])
            return _mean_over_frames(roles, frame_mask)
        tokens = self.frame_embedding(tokens, positions, num_frames or tokens.shape[1])
        key_mask = None
        if frame_mask is not None:
            key_mask = frame_mask[..., None].expand(tokens.shape[:3]).flatten(1)
        resampled: Tensor = self.resampler(tokens.flatten(1, 2), key_mask)
        return resampled


def _mean_over_frames(roles: Tensor, frame_mask: Tensor | None) -> Tensor:
    """[B, T, L, D] -> [B, L, D], over the frames that exist."""
    if frame_mask is None:
        return roles.mean(dim=1)
    weight = frame_mask.to(roles.dtype)[..., None, None]
    return (roles * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
