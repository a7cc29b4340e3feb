"""Encodes the views of a batch, with one encoder pass per resolution.

Legend: B images, V videos, T frames of a clip, Tl of them with LSE views, A areas, K LSE views per
area, N patches, S tokens of a picture, L role tokens, D width. R rows of an encoder pass.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vills.data.loading import PretrainBatch
from vills.models.backbone import Backbone
from vills.models.layers import DropPathNoise, compute_keys, convert_rows

# What a row is, as a salt of its noise: views of one sample are dropped independently.
_IMAGE, _CLIP, _IMAGE_LSE, _CLIP_LSE = range(4)


@dataclass(frozen=True, slots=True)
class SourceTokens:
    """Tokens of one source (image, frame or video) in all views."""

    roles: Tensor
    """[2, B, L, D], global views."""
    patches: Tensor | None = None
    """[2, B, N, D], before R; a video has none of its own."""
    mask: Tensor | None = None
    """bool [2, B, N], patches that the student does not see."""
    lse_roles: Tensor | None = None
    """[A, K, B, L, D], student only."""
    lse_weight: Tensor | None = None
    """float [A, K, B], 0 = the view does not exist."""


class ViewEncoder:
    """Turns a batch into tokens of its sources; `student` adds masks, LSE views and drop path."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        student: bool,
        masked: bool,
        lse: bool,
        drop_path: float,
        frame_in_clip: bool = True,
    ) -> None:
        """Say what the student sees: `masked` patches, `lse` views, stochastic depth.

        Without `frame_in_clip` the last frame of the batch is z^vi, and of no clip.
        """
        self._backbone = backbone
        self._masked = masked and student
        self._lse = lse and student
        self._drop_path = drop_path if student else 0.0
        self._frame_in_clip = frame_in_clip

    def encode(self, batch: PretrainBatch) -> dict[str, SourceTokens]:
        """Source -> tokens, for the modalities that the batch holds."""
        image_lse, clip_lse = self._encode_lse(batch)
        sources: dict[str, SourceTokens] = {}
        if batch.images is not None:
            sources["image"] = self._encode_images(batch, image_lse)
        if batch.frames is not None:
            sources["frame"], sources["video"] = self._encode_videos(batch, clip_lse)
        return sources

    def _encode_images(self, batch: PretrainBatch, lse_roles: Tensor | None) -> SourceTokens:
        assert batch.images is not None
        views, rows = batch.images.shape[:2]
        mask = batch.image_masks
        keys = None
        if self._drop_path:
            keys = _key_rows(batch.image_keys, _IMAGE, (views,))
        tokens = self._backbone.encode_image(
            batch.images.flatten(0, 1),
            mask=mask.flatten(0, 1) if self._masked and mask is not None else None,
            drop=self._build_noise(keys),
        )
        weight = batch.image_lse_weight if lse_roles is not None else None
        return SourceTokens(
            roles=convert_rows(tokens.roles, (views, rows)),
            patches=convert_rows(tokens.patches, (views, rows)),
            mask=mask,
            lse_roles=lse_roles,
            lse_weight=weight,
        )

    def _encode_videos(
        self, batch: PretrainBatch, lse_roles: Tensor | None
    ) -> tuple[SourceTokens, SourceTokens]:
        """z^vi and z^v of both global views, from one pass over all frames."""
        assert batch.frames is not None
        assert batch.frame_index is not None
        views, rows, num_frames = batch.frames.shape[:3]
        mask = batch.frame_masks
        keys = None
        if self._drop_path:
            keys = _key_rows(batch.video_keys, _CLIP, (views, num_frames)).transpose(1, 2)
        tokens = self._backbone.encode_video(
            batch.frames.flatten(0, 1),
            frame_index=batch.frame_index.repeat(views),
            frame_in_clip=self._frame_in_clip,
            mask=mask.flatten(0, 1) if self._masked and mask is not None else None,
            drop=self._build_noise(keys),
        )
        assert tokens.frame is not None
        frame = SourceTokens(
            roles=convert_rows(tokens.frame.roles, (views, rows)),
            patches=convert_rows(tokens.frame.patches, (views, rows)),
            mask=mask,
        )
        weight = None
        if lse_roles is not None and batch.clip_lse_weight is not None:
            weight = batch.clip_lse_weight.amax(dim=2)[:, None]  # a clip needs one frame: [A, 1, V]
        video = SourceTokens(
            roles=convert_rows(tokens.roles, (views, rows)),
            mask=mask,
            lse_roles=lse_roles,
            lse_weight=weight,
        )
        return frame, video

    def _encode_lse(self, batch: PretrainBatch) -> tuple[Tensor | None, Tensor | None]:
        """LSE views of images [A, K, B, L, D] and of clips [A, 1, V, L, D]: one encoder pass.

        Views that do not exist are left out of the pass: most frames of a tracklet have no mask.
        """
        parts = []
        if self._lse and batch.images is not None and batch.image_lse is not None:
            parts.append((batch.image_lse, batch.image_lse_weight, batch.image_keys, _IMAGE_LSE))
        if self._lse and batch.frames is not None and batch.clip_lse is not None:
            parts.append(_order_clip_lse(batch))
        if not parts:
            return None, None
        pictures = torch.cat([part[0].flatten(0, 2) for part in parts])
        weights = [part[1] for part in parts]
        assert all(weight is not None for weight in weights), "LSE views without weights"
        weight = torch.cat([w.flatten() for w in weights if w is not None])
        keys = None
        if self._drop_path:
            keys = torch.cat(
                [_key_rows(part[2], part[3], part[0].shape[:2]).flatten() for part in parts]
            )
        tokens = self._encode_existing(pictures, weight, keys)
        return self._resample_lse(batch, [part[0].shape[:3] for part in parts], tokens)

    def _encode_existing(self, pictures: Tensor, weight: Tensor, keys: Tensor | None) -> Tensor:
        """[R, 3, h, w] -> [R, S, D], zero for rows of weight 0, which are not encoded."""
        keep = weight.nonzero()[:, 0]
        existing = pictures[keep]
        if len(keep) == 0:  # every rank makes the same calls, else sharded parameters would hang
            keep, existing = keep.new_zeros(1), torch.zeros_like(pictures[:1])
        noise = self._build_noise(None if keys is None else keys[keep])
        encoded: Tensor = self._backbone.encoder(existing, None, noise)
        tokens = encoded.new_zeros(len(pictures), *encoded.shape[1:])
        return tokens.index_copy(0, keep, encoded)

    def _resample_lse(
        self, batch: PretrainBatch, shapes: list[torch.Size], tokens: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Split the rows of the LSE pass into images and clips and take each through R."""
        image_roles = clip_roles = None
        pieces = list(torch.split(tokens, [shape.numel() for shape in shapes]))
        if self._lse and batch.images is not None and batch.image_lse is not None:
            image_roles = convert_rows(self._backbone.resample_image(pieces.pop(0)), shapes[0])
        if pieces:
            assert batch.frames is not None
            assert batch.clip_lse_weight is not None
            assert batch.clip_lse_index is not None
            areas, frames, rows = shapes[-1]
            clips = convert_rows(pieces[0], (areas, frames, rows)).transpose(1, 2)
            roles = self._backbone.resample_video(
                clips.flatten(0, 1),  # [A * V, Tl, S, D]
                positions=batch.clip_lse_index.flatten(0, 1),
                num_frames=batch.frames.shape[2] - int(not self._frame_in_clip),
                frame_mask=batch.clip_lse_weight.flatten(0, 1) > 0,
            )
            clip_roles = convert_rows(roles, (areas, 1, rows))
        return image_roles, clip_roles

    def _build_noise(self, keys: Tensor | None) -> DropPathNoise | None:
        if keys is None:
            return None
        depth = self._backbone.encoder.depth
        return DropPathNoise(keys.flatten(), rate=self._drop_path, depth=depth)


def _order_clip_lse(batch: PretrainBatch) -> tuple[Tensor, Tensor | None, Tensor | None, int]:
    """LSE views of clips in the order of those of images: [A, Tl, V, ...], its weight and keys."""
    assert batch.clip_lse is not None
    assert batch.clip_lse_weight is not None
    views = batch.clip_lse.transpose(1, 2)
    return views, batch.clip_lse_weight.transpose(1, 2), batch.video_keys, _CLIP_LSE


def _key_rows(keys: Tensor | None, kind: int, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Keys long [B] of samples -> [*shape, B], one for each view (frame, ...) of a sample."""
    assert keys is not None, "drop path needs the sample keys of the batch"
    count = torch.Size(shape).numel()
    view = torch.arange(count, device=keys.device).reshape(*shape, 1)
    return compute_keys(keys, kind, view)
