"""Rows of the table: fine-tuned models, and what a fine-tuned model's score must be above."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vills.config.checks import ConfigError
from vills.config.evaluate import EvaluateConfig
from vills.errors import InputError
from vills.evaluation.distance import FloatArray
from vills.evaluation.features import PixelModel
from vills.evaluation.result_files import build_slug
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel
from vills.onnx import load_session

NUM_STRIPES = 6
HUE_BINS, SATURATION_BINS, VALUE_BINS = 12, 4, 8
_HUE_LEVELS, _LEVELS = 180, 256  # OpenCV's 8-bit HSV
DEFAULT_SIZE = (256, 128)
"""Height and width, px, where an ONNX model leaves them open."""
_REMEDIES = {
    "pretrained": "run the pretrain stage",
    "onnx": "set evaluate.*.onnx_weights to a file name",
}

Model = ReidModel | Backbone | PixelModel


@dataclass(frozen=True)
class ModelRow:
    """A model, and the splits that it is scored on."""

    name: str
    """Row of the tables; a name may stand several times, with other splits."""
    load: Callable[[], Model]
    """Called when it is its turn: models of ten splits do not stand in memory together."""
    splits: tuple[int, ...] = ()
    """Split ids; empty: all."""
    keep_features: bool = False
    """Whether its features, and what each query found, are published: a fine-tuned model."""


def build_untrained(reference: ReidModel, *, seed: int) -> ReidModel:
    """Build a model of the same architecture with fresh weights; leave the global RNG alone."""
    backbone = reference.backbone
    neck = "none" if reference.neck is None else "bnneck"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = Backbone(backbone.config, areas=backbone.areas, video=backbone.video)
        model = ReidModel(fresh, num_ids=reference.num_ids, modality=reference.modality, neck=neck)
    return model.to(next(reference.parameters()).device).eval()


def build_baselines(
    config: EvaluateConfig,
    *,
    load_reference: Callable[[], ReidModel],
    load_pretrained: Callable[[], Backbone] | None = None,
    onnx_path: Path | None = None,
) -> list[ModelRow]:
    """Build the rows of `config.baselines`, in that order.

    histogram: colour of six stripes. untrained: the architecture of the fine-tuned models, fresh
    weights. pretrained: the raw role tokens of a backbone, never fine-tuned. onnx: a published
    model. Of a tracklet, histogram and onnx describe every frame.

    Raises:
        ConfigError: a baseline lacks what it needs.
    """
    loaders: dict[str, Callable[[], Model]] = {
        "histogram": StripeHistogram,
        "untrained": lambda: build_untrained(load_reference(), seed=config.seed),
    }
    if load_pretrained is not None:
        loaders["pretrained"] = load_pretrained
    if onnx_path is not None:
        loaders["onnx"] = partial(OnnxReid, onnx_path)
    for name in config.baselines:
        if name not in loaders:
            raise ConfigError(
                f"baseline {name!r} has no model. What to do: {_REMEDIES[name]}, or remove it."
            )
    return [ModelRow(name, loaders[name]) for name in config.baselines]


def check_names(rows: Sequence[ModelRow]) -> None:
    """Refuse two models whose results on one split would have the same file names.

    Raises:
        ConfigError: naming them.
    """
    for row, other in combinations(rows, 2):
        shared = not row.splits or not other.splits or set(row.splits) & set(other.splits)
        if shared and build_slug(row.name) == build_slug(other.name):
            raise ConfigError(
                f"two models have the rows {row.name!r} and {other.name!r}, which would be the "
                "same file name. Allowed: names of finetune.*.published that are not a baseline's, "
                "finetuned or scratch, and that differ in letters or digits. What to do: rename "
                "one."
            )


class StripeHistogram:
    """What clothing colour alone finds: six stripes, a joint hue-saturation and a value histogram.

    The square root of the shares is kept, so that the cosine of two descriptors is the mean
    Bhattacharyya coefficient of their histograms. It needs no training and no size.
    """

    dim = NUM_STRIPES * (HUE_BINS * SATURATION_BINS + VALUE_BINS)

    def __call__(self, image: NDArray[np.uint8]) -> FloatArray:
        """Describe an RGB image [H, W, 3], float32 [dim]."""
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV).astype(np.int64)
        hue = hsv[..., 0] * HUE_BINS // _HUE_LEVELS
        saturation = hsv[..., 1] * SATURATION_BINS // _LEVELS
        value = hsv[..., 2] * VALUE_BINS // _LEVELS
        colour = hue * SATURATION_BINS + saturation
        parts = []
        for stripe in np.array_split(np.arange(len(image)), NUM_STRIPES):
            for bins, num in ((colour, HUE_BINS * SATURATION_BINS), (value, VALUE_BINS)):
                counts = np.bincount(bins[stripe].ravel(), minlength=num)
                parts.append(np.sqrt(counts / max(1, counts.sum())))
        return np.concatenate(parts).astype(np.float32)


class OnnxReid:
    """A published ReID model in ONNX form: a crop's feature by BGR values of 0 to 255.

    The layout is read from the input's shape: channels last (OpenVINO's models, such as
    person-reidentification-retail-0287) or channels first. The crop is resized bilinearly.
    """

    def __init__(self, path: Path) -> None:
        """Open the model.

        Raises:
            FileNotFoundError: no such file.
            InputError: not an ONNX model, or one whose input is no single colour image.
        """
        self._session = load_session(path)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise InputError(
                f"{path.name} takes {[(own.name, own.shape) for own in inputs]}. Allowed: "
                "one input, [N, H, W, 3] or [N, 3, H, W]. What to do: set evaluate.*.onnx_weights "
                "to a model that maps a person crop to a feature."
            )
        self._name = inputs[0].name
        self._channels_last = shape[3] == 3
        size = shape[1:3] if self._channels_last else shape[2:4]
        self._size = tuple(
            side if isinstance(side, int) else default
            for side, default in zip(size, DEFAULT_SIZE, strict=True)
        )

    def __call__(self, image: NDArray[np.uint8]) -> FloatArray:
        """Describe an RGB image [H, W, 3], float32 [D]."""
        height, width = self._size
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        pixels = resized[None, :, :, ::-1].astype(np.float32)  # BGR [1, H, W, 3]
        if not self._channels_last:
            pixels = pixels.transpose(0, 3, 1, 2)
        output = self._session.run(None, {self._name: np.ascontiguousarray(pixels)})[0]
        return np.asarray(output, np.float32).reshape(-1)
