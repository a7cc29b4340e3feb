"""Features of records by a network or by a function of pixels.

Legend: n entries, B inputs of a batch, T frames of a clip, D feature width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.data.clips import list_clip_frames
from vills.data.feature_loading import CheckedFrames, build_feature_loader
from vills.distributed import gather_objects, get_rank, get_world_size
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries
from vills.evaluation.protocols.base import FeatureChoice
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel

PixelModel = Callable[[NDArray[np.uint8]], FloatArray]
"""RGB crop [H, W, 3] of any size -> feature [D]."""
Advance = Callable[[int, int], None]
"""Told (entries described, entries)."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is read of a tracklet."""

    name: str = "all"
    """all, dense, evenly or begin; see `build_clips`."""
    num_frames: int = 8
    """T."""


@dataclass(frozen=True)
class NetworkFeatures:
    """A fine-tuned model (feature before or after its neck) or a backbone (its role tokens).

    A model of clips describes a tracklet's clips, and an image as a clip of one frame. A model of
    images describes a tracklet frame by frame, each frame once. Mean or maximum over clips or
    frames. A backbone compares images and videos by the roles that both have, the coarse and area
    tokens that alignment pulls together. Every rank must call.
    """

    network: ReidModel | Backbone
    """What describes, on its device."""
    input_size: Sequence[int]
    """Height and width, px."""
    batch_size: int
    """Images per forward."""
    sampling: Sampling = Sampling()
    """Which clips of a tracklet."""
    advance: Advance | None = None
    """Told how far this rank is."""

    def compute(self, entries: Entries, choice: FeatureChoice) -> FloatArray:
        """Compute [n, D], pooled over each entry's inputs; ranks share the batches, all get all.

        The entries are images alone, or tracklets alone.

        Raises:
            ConfigError: the network has none of the roles.
            DamagedRecordError: a record cannot be read.
        """
        assert entries.reader is not None, "a network needs pixels"
        clips = "video" in entries.modalities and self.takes_clips
        length = self.sampling.num_frames
        loader = build_feature_loader(
            entries.manifest,
            entries.reader,
            input_size=self.input_size,
            batch_size=max(1, self.batch_size // length) if clips else self.batch_size,
            mode="clip" if clips else "frame",
            num_frames=length,
            sampling=self.sampling.name,
            rank=get_rank(),
            world_size=get_world_size(),
        )
        device = next(self.network.parameters()).device
        pool = _Pool(len(entries), choice.pooling, repeats="video" in entries.modalities)
        with _evaluating(self.network):
            for inputs, rows in loader:
                features = self.forward(inputs.to(device), choice)
                pool.add(rows.numpy(), features.float().cpu().numpy())
                if self.advance is not None:
                    self.advance(int(rows[-1]) + 1, len(entries))
        return pool.gather()

    def narrow(self, features: FloatArray, choice: FeatureChoice) -> FloatArray:
        """Keep a backbone's roles that all modalities have; a fine-tuned model has one space."""
        if isinstance(self.network, ReidModel):
            return features
        widths = [
            len(self._pick_roles(name, choice)) * self.network.config.width
            for name in choice.modalities
        ]
        return features[:, : min([features.shape[1], *widths])]

    @property
    def takes_clips(self) -> bool:
        """Whether it describes a tracklet by its clips, not frame by frame."""
        if isinstance(self.network, ReidModel):
            return self.network.modality != "image"
        return "temporal" in self.network.get_roles("video")

    def forward(self, inputs: Tensor, choice: FeatureChoice) -> Tensor:
        """Compute [B, D] of normalised [B, 3, H, W] or [B, T, 3, H, W]."""
        feature = self._describe(inputs, choice)
        if choice.flip:
            feature = feature + self._describe(inputs.flip(-1), choice)
        return feature

    def _describe(self, inputs: Tensor, choice: FeatureChoice) -> Tensor:
        if isinstance(self.network, ReidModel):
            return self.network.compute_features(inputs, neck=choice.neck, roles=choice.roles)
        network, modality = self.network, "video" if inputs.dim() == 5 else "image"
        encode = network.encode_video if modality == "video" else network.encode_image
        return encode(inputs).roles[:, self._pick_roles(modality, choice)].flatten(1)

    def _pick_roles(self, modality: str, choice: FeatureChoice) -> list[int]:
        """Pick token indices of a backbone's roles; those that images lack come last."""
        assert isinstance(self.network, Backbone)
        roles = self.network.get_roles(modality)
        picked = [
            index
            for name, index in roles.items()
            if not choice.roles or ("areas" if name in AREAS else name) in choice.roles
        ]
        if not picked:
            raise ConfigError(
                f"evaluate.*.roles = {list(choice.roles)} is not allowed here. Allowed: for "
                f"{modality} this network has {', '.join(roles)}. What to do: add one of them, or "
                "remove the baseline pretrained."
            )
        return picked


@dataclass(frozen=True)
class PixelFeatures:
    """A function of crops; a tracklet is the mean or maximum over its frames."""

    describe: PixelModel
    sampling: Sampling = Sampling()
    """Which frames of a tracklet it sees."""
    advance: Advance | None = None
    """Told how far this rank is."""

    def compute(self, entries: Entries, choice: FeatureChoice) -> FloatArray:
        """Compute [n, D]; ranks share the entries and all get all.

        Raises:
            DamagedRecordError: a record cannot be read.
        """
        assert entries.reader is not None, "a function of pixels needs pixels"
        frames = CheckedFrames(entries.manifest, entries.reader)
        nums = entries.manifest.column("num_frames")
        pool = _Pool(len(entries), choice.pooling, repeats="video" in entries.modalities)
        for row in range(get_rank(), len(entries), get_world_size()):
            positions = list_clip_frames(
                int(nums[row]), self.sampling.num_frames, sampling=self.sampling.name
            )
            crops = (frames.read(row, int(position)) for position in positions)
            each = np.stack([self._describe(crop, choice) for crop in crops])
            pool.add(np.full(len(each), row), each)
            if self.advance is not None:
                self.advance(row + 1, len(entries))
        return pool.gather()

    def narrow(self, features: FloatArray, choice: FeatureChoice) -> FloatArray:
        """Keep all of it: an image and a tracklet are described alike."""
        return features

    def _describe(self, crop: NDArray[np.uint8], choice: FeatureChoice) -> FloatArray:
        feature = self.describe(crop)
        if choice.flip:
            feature = feature + self.describe(np.ascontiguousarray(crop[:, ::-1]))
        return feature


FeatureModel = NetworkFeatures | PixelFeatures
"""What describes entries, and narrows features to what all `choice.modalities` have."""


class _Pool:
    """Mean or maximum over the inputs of each entry, whatever rank described them."""

    def __init__(self, num_entries: int, pooling: str, *, repeats: bool) -> None:
        """`repeats`: whether an entry can have several inputs."""
        self._num = num_entries
        self._combine = np.maximum if pooling == "max" else np.add
        self._start = -np.inf if pooling == "max" else 0.0
        # float64: a sum of float32 values is then the same in whatever order ranks add it
        self._dtype = np.float64 if repeats else np.float32
        self._values: NDArray[Any] | None = None
        self._counts = np.zeros(num_entries, np.int64)

    def add(
        self, rows: NDArray[np.int64], features: FloatArray, counts: NDArray[np.int64] | int = 1
    ) -> None:
        """Take features [B, D] of inputs of the entries rows [B], or of several inputs each."""
        if self._values is None:
            self._values = np.full((self._num, features.shape[1]), self._start, self._dtype)
        self._combine.at(self._values, rows, features)
        np.add.at(self._counts, rows, counts)

    def gather(self) -> FloatArray:
        """Return [n, D] over all ranks."""
        if get_world_size() > 1:
            self._join_ranks()
        if self._values is None:
            raise ValueError("no entries to describe")
        if self._combine is np.add and self._dtype is np.float64:
            self._values /= self._counts[:, None]
        return np.asarray(self._values, np.float32)

    def _join_ranks(self) -> None:
        touched = np.flatnonzero(self._counts)
        own = None if self._values is None else self._values[touched]
        parts = gather_objects((touched, own, self._counts[touched]))
        self._values, self._counts = None, np.zeros(self._num, np.int64)
        for rows, values, counts in parts:
            if values is not None:
                self.add(rows, values, counts)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Set eval mode without gradients; afterwards the network is in the mode that it was in."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
