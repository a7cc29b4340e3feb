"""The feature of pictures and clips outside any data set: the one that `evaluate@` compares.

Legend: B pictures, C clips, T frames of a clip, D feature width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vills.config.checks import build_error
from vills.data.clips import build_clips
from vills.data.loading import normalise
from vills.data.transforms import RESIZE, load_inputs
from vills.evaluation.distance import FloatArray
from vills.evaluation.features import NetworkFeatures
from vills.evaluation.protocols.base import NO_CHOICE, FeatureChoice
from vills.models.backbone import Backbone
from vills.models.layers import convert_rows
from vills.models.reid import ReidModel
from vills.models.weights import load_backbone, load_description, load_reid


@dataclass(frozen=True)
class Described:
    """What one picture or video has become."""

    roles: dict[str, FloatArray]
    """[width] of each role that the model has for it, on the chosen side of the neck."""
    feature: FloatArray
    """[D] all of them side by side, as evaluate compares them: no norm is set to 1."""


class MediaFeatures:
    """A weights folder and the choices that its features depend on, each with one default.

    Both are those of `evaluate@`: pixels, neck, flip, clips and pooling go through the same code.
    """

    def __init__(
        self, weights: Path, *, choice: FeatureChoice, num_frames: int | None, batch_size: int
    ) -> None:
        """Open a folder that fine-tuning or pre-training wrote.

        Args:
            weights: the folder.
            choice: neck, flip and pooling.
            num_frames: T; None: that of the model's fine-tuning, else 8.
            batch_size: pictures per forward.

        Raises:
            ConfigError: `num_frames` for a model that takes no clips.
            WeightsError: no such folder, or damaged.
        """
        description = load_description(weights)
        trained = description.get("reid", {})
        is_reid = description["kind"] == "reid"
        network = (load_reid if is_reid else load_backbone)(weights).eval()
        self._num_frames = num_frames or trained.get("num_frames") or 8
        self._choice, self._batch_size = choice, batch_size
        self._network: ReidModel | Backbone = network
        self._size = trained.get("input_size") or description["architecture"]["model"]["image_size"]
        self._features = NetworkFeatures(network, self._size, batch_size)
        if num_frames and not self._features.takes_clips:
            allowed = "unset: this model describes a video frame by frame"
            raise build_error("--num-frames", num_frames, allowed, "leave it out")
        has_neck = isinstance(network, ReidModel) and network.neck is not None
        self.about = {
            "model": f"{description['kind']} {description['sha256'][:12]}",
            "modality": network.modality if isinstance(network, ReidModel) else "image, video",
            "neck": choice.neck if has_neck else NO_CHOICE,
            "flip": "on" if choice.flip else "off",
            "pooling": choice.pooling,
            "clips": f"all of {self._num_frames} frames" if self._features.takes_clips else "none",
            "size": "{}x{}".format(*self._size),
            "resize": RESIZE,
            "norm": "not set to 1",
        }
        """What the features are, by name; texts."""

    def describe_pictures(self, pictures: Sequence[np.ndarray]) -> Iterator[Described]:
        """Describe uint8 pictures [H, W, 3] of any size."""
        features = self._forward(self._load(pictures))
        for feature in features.float().numpy():
            yield self._split(feature, "image")

    def describe_video(self, frames: Sequence[np.ndarray]) -> Described:
        """Describe the frames of one person: the mean over clips, or over frames."""
        if not self._features.takes_clips:
            batches = [
                self._load(frames[start : start + self._batch_size])
                for start in range(0, len(frames), self._batch_size)
            ]
        else:
            clips = build_clips(len(frames), self._num_frames, sampling="all")
            step = max(1, self._batch_size // self._num_frames)
            parts = [clips[start : start + step] for start in range(0, len(clips), step)]
            batches = [
                convert_rows(self._load([frames[i] for i in part.ravel()]), part.shape)
                for part in parts
            ]
        each = np.concatenate([self._forward(batch).float().numpy() for batch in batches])
        # float64, as evaluate pools
        pooled = each.max(0) if self._choice.pooling == "max" else each.mean(0, dtype=np.float64)
        return self._split(pooled.astype(np.float32), "video")

    def hold(self, picture: np.ndarray) -> np.ndarray:
        """Return a picture at the network's own size, uint8 [H, W, 3]: what is kept of frames."""
        return np.ascontiguousarray(load_inputs([picture], size=self._size)[0].transpose(1, 2, 0))

    def _load(self, pictures: Sequence[np.ndarray]) -> Tensor:
        return normalise(torch.from_numpy(load_inputs(pictures, size=self._size)))

    @torch.no_grad()
    def _forward(self, inputs: Tensor) -> Tensor:
        return self._features.forward(inputs, self._choice)

    def _split(self, feature: FloatArray, modality: str) -> Described:
        """Name the parts of a feature [D] by role."""
        network = self._network
        if isinstance(network, ReidModel):
            names = list(network.backbone.get_roles(network.tokens))
        else:
            clips = modality == "video" and self._features.takes_clips
            names = list(network.get_roles("video" if clips else "image"))
        return Described(dict(zip(names, np.split(feature, len(names)), strict=True)), feature)
