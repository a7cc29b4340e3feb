"""What a loader hands to a step.

Legend: B images and V videos of this rank, T frames of a clip, Tl frames of it with LSE views,
N patches of an image view, Nf of a frame, A areas, K LSE views per area, H x W pixels of a view,
h x w of an LSE view. Pixels are normalised with vills.data.transforms.MEAN and STD.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PretrainBatch:
    """Rows of one step that belong to this rank; a modality that is switched off is None.

    Global views go to both networks, LSE views to the student only. An area whose mask is missing
    has weight 0 and an all-zero view. Areas stand in the order of `pretrain.areas`.
    """

    step: int
    """Step whose rows these are."""
    images: Tensor | None = None
    """[2, B, 3, H, W] global views."""
    image_masks: Tensor | None = None
    """bool [2, B, N], True = the student does not see the patch."""
    image_lse: Tensor | None = None
    """[A, K, B, 3, h, w]; None without areas."""
    image_lse_weight: Tensor | None = None
    """float [A, K, B], 1 or 0 (missing)."""
    image_keys: Tensor | None = None
    """long [B], identifies (seed, epoch, image): noise keyed by it ignores the world size."""
    frames: Tensor | None = None
    """[2, V, T, 3, Hf, Wf] clips, padded to whole patches; [2, V, T + 1, ...] if the frame that
    becomes z^vi is none of them: it is the last."""
    frame_index: Tensor | None = None
    """long [V], position of the frame that becomes z^vi; T if it is not in the clip."""
    frame_masks: Tensor | None = None
    """bool [2, V, Nf], of that frame."""
    clip_lse: Tensor | None = None
    """[A, V, Tl, 3, h, w]; None without areas."""
    clip_lse_weight: Tensor | None = None
    """float [A, V, Tl], 1 or 0 (missing)."""
    clip_lse_index: Tensor | None = None
    """long [A, V, Tl], position in the clip of each LSE frame."""
    video_ids: Tensor | None = None
    """long [V], index of the video; distinct over the global batch."""
    video_keys: Tensor | None = None
    """long [V], as image_keys."""

    def to(self, device: torch.device | str) -> Self:
        """The batch on `device`."""
        tensors: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True, slots=True)
class ReidBatch:
    """Labelled samples: this rank's rows of a PK batch of fine-tuning."""

    inputs: tuple[Tensor, ...]
    """[B, 3, H, W] images, or [B, T, 3, H, W] clips, or both (mixed). Rows of what follows are
    those of the first, then those of the second."""
    pids: Tensor
    """long [rows], relabelled 0..num_ids - 1."""
    camids: Tensor
    """long [rows]."""
    indices: Tensor
    """long [rows], rows of the manifest."""
    keys: Tensor
    """long [rows], identifies (seed, epoch, position in the epoch): for keyed noise."""

    def to(self, device: torch.device | str) -> Self:
        """The batch on `device`."""
        return replace(
            self,
            inputs=tuple(part.to(device) for part in self.inputs),
            pids=self.pids.to(device),
            camids=self.camids.to(device),
            indices=self.indices.to(device),
            keys=self.keys.to(device),
        )
