"""Features of records by a network or by a function of pixels.

Legend: n entries, B inputs of a batch, T frames of a clip, D feature width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vills.data.feature_loading import build_feature_loader
from vills.data.frames import FrameReader
from vills.distributed import gather_objects, get_rank, get_world_size
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel

PixelModel = Callable[[NDArray[np.uint8]], FloatArray]
"""RGB crop [H, W, 3] of any size -> feature [D]."""


Advance = Callable[[int, int], None]
"""Told (entries described, entries)."""


class FeatureModel(Protocol):
    """Anything that describes entries."""

    def compute(self, entries: Entries, modality: str) -> FloatArray:
        """[n, D] features of images, or of tracklets (modality video), in the entries' order."""
        ...

    def narrow(self, features: FloatArray, other: str) -> FloatArray:
        """The part of the features that entries of modality `other` have too."""
        ...


class NetworkFeatures:
    """A fine-tuned model (feature after its neck) or a backbone (role tokens side by side).

    A tracklet is cut into clips that together hold all its frames; their features are averaged.
    What was trained on images alone describes a clip frame by frame. An image before a video
    model is a clip of one frame; a backbone compares images and videos by the roles that both
    have, the coarse and area tokens that alignment pulls together. Every rank must call.
    """

    def __init__(
        self,
        network: ReidModel | Backbone,
        *,
        input_size: Sequence[int],
        num_frames: int,
        batch_size: int,
        flip: bool = False,
        workers: int = 0,
        advance: Advance | None = None,
    ) -> None:
        """Take a network on its device.

        Args:
            network: what describes.
            input_size: height and width, px.
            num_frames: T.
            batch_size: images per forward.
            flip: add the feature of the mirrored input.
            workers: processes that decode.
            advance: told how far this rank is.
        """
        self.network = network
        self.input_size = input_size
        self.num_frames = num_frames
        self.batch_size = batch_size
        self.flip = flip
        self.workers = workers
        self.advance = advance

    def compute(self, entries: Entries, modality: str) -> FloatArray:
        """[n, D], the mean over each entry's clips; ranks share the batches and all get all."""
        video = modality == "video"
        loader = build_feature_loader(
            entries.manifest,
            entries.reader,
            input_size=self.input_size,
            batch_size=max(1, self.batch_size // self.num_frames) if video else self.batch_size,
            mode=modality,
            num_frames=self.num_frames,
            rank=get_rank(),
            world_size=get_world_size(),
            workers=self.workers,
        )
        device = next(self.network.parameters()).device
        # float64: a sum of float32 values is then the same in whatever order ranks add it
        total: NDArray[np.float64] | None = None
        count = np.zeros(len(entries))
        with _evaluating(self.network):
            for inputs, rows in loader:
                features = self._forward(inputs.to(device), modality).double().cpu().numpy()
                if total is None:
                    total = np.zeros((len(entries), features.shape[1]))
                np.add.at(total, rows.numpy(), features)
                np.add.at(count, rows.numpy(), 1)
                if self.advance is not None:
                    self.advance(int(rows[-1]) + 1, len(entries))
        parts = [part for part in gather_objects((total, count)) if part[0] is not None]
        if not parts:
            raise ValueError("no entries to describe")
        sums, counts = sum(part[0] for part in parts), sum(part[1] for part in parts)
        means: FloatArray = (sums / counts[:, None]).astype(np.float32)
        return means

    def narrow(self, features: FloatArray, other: str) -> FloatArray:
        """A backbone's roles that `other` has; a fine-tuned model has one space for both."""
        if isinstance(self.network, ReidModel):
            return features
        width = self.network.compute_feature_width(other)
        return features[:, : min(width, features.shape[1])]

    def _forward(self, inputs: Tensor, modality: str) -> Tensor:
        """[B, D] of [B, 3, H, W] or [B, T, 3, H, W]."""
        feature = self._describe(inputs, modality)
        return feature + self._describe(inputs.flip(-1), modality) if self.flip else feature

    def _describe(self, inputs: Tensor, modality: str) -> Tensor:
        if isinstance(self.network, ReidModel):
            return self.network.compute_feature(inputs)
        if modality == "video":
            roles = self.network.encode_video(inputs).roles
        else:
            roles = self.network.encode_image(inputs).roles
        return self.network.compute_feature(roles, modality=modality)


class PixelFeatures:
    """A function of crops; a tracklet is the mean over all its frames."""

    def __init__(
        self, describe: PixelModel, *, flip: bool = False, advance: Advance | None = None
    ) -> None:
        """Take the function; `flip` adds the feature of the mirrored crop."""
        self.describe = describe
        self.flip = flip
        self.advance = advance

    def compute(self, entries: Entries, modality: str) -> FloatArray:
        """[n, D]."""
        frames = FrameReader(entries.manifest, entries.reader)
        features = []
        for row in range(len(entries)):
            crops = (frames.read(row, position) for position in range(frames.num_frames(row)))
            each = np.stack([self._describe(crop) for crop in crops])
            features.append(each.astype(np.float64).mean(axis=0))
            if self.advance is not None:
                self.advance(row + 1, len(entries))
        return np.stack(features).astype(np.float32)

    def narrow(self, features: FloatArray, other: str) -> FloatArray:
        """All of it: an image and a tracklet are described alike."""
        return features

    def _describe(self, crop: NDArray[np.uint8]) -> FloatArray:
        feature = self.describe(crop)
        if self.flip:
            feature = feature + self.describe(np.ascontiguousarray(crop[:, ::-1]))
        return feature


class FeatureCache:
    """Describes the same entries once, however many protocols ask.

    Whole sets are kept, never single records: batches are then cut alike whichever protocol comes
    first, so that a resumed run has the last bits of an undisturbed one.
    """

    def __init__(self, model: FeatureModel) -> None:
        """Wrap a model."""
        self._model = model
        self._features: dict[tuple[str, tuple[tuple[str, int], ...]], FloatArray] = {}

    def __call__(self, entries: Entries, modality: str, other: str) -> FloatArray:
        """Features [n, D] of `modality`, fit to be compared with those of modality `other`."""
        key = (modality, tuple(entries.keys))
        if key not in self._features:
            self._features[key] = self._model.compute(entries, modality)
        return self._model.narrow(self._features[key], other)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards the network is in the mode that it was in."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
