"""Rows of the table: fine-tuned models, and what a fine-tuned model's score must be above."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import torch

from vills.config.checks import ConfigError
from vills.config.evaluate import EvaluateConfig
from vills.evaluation.features import PixelModel
from vills.evaluation.histogram import StripeHistogram
from vills.evaluation.names import make_slug
from vills.evaluation.onnx_reid import OnnxReid
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel

T = TypeVar("T")
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
    """A model of the same architecture with fresh weights; the global RNG is left alone."""
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
    """The rows of `config.baselines`, in that order.

    histogram: colour of six stripes. untrained: the architecture of the fine-tuned models, fresh
    weights. pretrained: the raw role tokens of a backbone, never fine-tuned. onnx: a published
    model. Of a tracklet, histogram and onnx describe every frame.

    Raises:
        ConfigError: a baseline lacks what it needs.
    """
    if "pretrained" in config.baselines:
        _require(load_pretrained, "pretrained", "run the pretrain stage")
    if "onnx" in config.baselines:
        _require(onnx_path, "onnx", "set evaluate.*.onnx_weights to a file name")
    loaders: dict[str, Callable[[], Model]] = {
        "histogram": StripeHistogram,
        "untrained": lambda: build_untrained(load_reference(), seed=config.seed),
        "pretrained": lambda: _require(load_pretrained, "pretrained", "")(),
        "onnx": lambda: OnnxReid(_require(onnx_path, "onnx", "")),
    }
    return [ModelRow(name, loaders[name]) for name in config.baselines]


def check_names(rows: Sequence[ModelRow]) -> None:
    """Refuse two models whose results on one split would have the same file names.

    Raises:
        ConfigError: naming them.
    """
    for row, other in combinations(rows, 2):
        shared = not row.splits or not other.splits or set(row.splits) & set(other.splits)
        if shared and make_slug(row.name) == make_slug(other.name):
            raise ConfigError(
                f"two models have the rows {row.name!r} and {other.name!r}, which are one file "
                "name. Allowed: names of finetune.*.published that are no baseline, not finetuned "
                "or scratch, and differ in letters or digits. What to do: rename one."
            )


def _require(value: T | None, name: str, remedy: str) -> T:
    if value is None:
        raise ConfigError(f"baseline {name!r} has no model. What to do: {remedy}, or remove it.")
    return value
