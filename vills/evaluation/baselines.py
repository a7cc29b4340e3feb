"""Rows beside the fine-tuned models: what the score of a fine-tuned model must be above."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from vills.config.checks import ConfigError
from vills.config.evaluate import EvaluateConfig
from vills.evaluation.features import PixelModel
from vills.evaluation.histogram import StripeHistogram
from vills.evaluation.onnx_reid import OnnxReid
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel

T = TypeVar("T")
Model = ReidModel | Backbone | PixelModel


def build_untrained(reference: ReidModel, *, seed: int) -> ReidModel:
    """A model of the same architecture with fresh weights; the global RNG is left alone."""
    backbone = reference.backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = Backbone(backbone.config, areas=backbone.areas, video=backbone.video)
        model = ReidModel(fresh, num_ids=reference.num_ids, modality=reference.modality)
    return model.to(next(reference.parameters()).device).eval()


def build_baselines(
    config: EvaluateConfig,
    *,
    reference: ReidModel,
    pretrained: Backbone | None = None,
    onnx_path: Path | None = None,
) -> dict[str, Model]:
    """The models of `config.baselines` by row name, in that order.

    histogram: colour of six stripes. untrained: `reference`'s architecture, fresh weights.
    pretrained: the raw role tokens of a backbone, never fine-tuned. onnx: a published model.
    For video data sets, histogram and onnx average over a tracklet's frames.

    Raises:
        ConfigError: a baseline lacks what it needs.
    """
    builders: dict[str, Callable[[], Model]] = {
        "histogram": StripeHistogram,
        "untrained": lambda: build_untrained(reference, seed=config.seed),
        "pretrained": lambda: _require(pretrained, "pretrained", "run the pretrain stage"),
        "onnx": lambda: OnnxReid(
            _require(onnx_path, "onnx", "set evaluate.*.onnx_weights to a file name")
        ),
    }
    return {name: builders[name]() for name in config.baselines}


def _require(value: T | None, name: str, remedy: str) -> T:
    if value is None:
        raise ConfigError(f"baseline {name!r} has no model. What to do: {remedy}, or remove it.")
    return value
