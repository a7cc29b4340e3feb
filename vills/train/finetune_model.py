"""The model that a fine-tuning starts with: pre-trained, published or fresh weights."""

from collections.abc import Mapping
from pathlib import Path

import torch

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.config.published import PublishedConfig
from vills.distributed import get_device
from vills.models.backbone import Backbone
from vills.models.encoder import Encoder
from vills.models.published import LoadReport, load_published
from vills.models.reid import ReidModel
from vills.models.weights import build_backbone, load_backbone, load_description


def build_model(
    config: FinetuneConfig,
    initialisation: str,
    *,
    model_folder: Path,
    num_ids: int,
    published: Mapping[str, Path] | None = None,
) -> ReidModel:
    """Backbone with the weights of an initialisation, and a new neck and classifier.

    Args:
        config: parameters of the stage.
        initialisation: pretrained, scratch, or a name of `config.published`.
        model_folder: what pre-training wrote; all initialisations share its architecture.
        num_ids: people of the training split.
        published: files of `config.published` by name.

    Raises:
        ConfigError: if a data set meets a picture of a size that the encoder cannot cut.
        WeightsError: if weights are missing, damaged or of another architecture.
    """
    folder = model_folder / config.network
    patch = load_description(folder)["architecture"]["model"]["patch_size"]
    if any(side % patch for side in config.input_size):
        raise ConfigError(
            f"finetune.*.input_size = {list(config.input_size)} is not allowed. Allowed: [height, "
            f"width], multiples of the encoder's patch size {patch}. What to do: round them."
        )
    backbone = start_from(initialisation, config=config, folder=folder, published=published or {})
    # Seeded again: neck and classifier then start alike for every initialisation.
    torch.manual_seed(config.seed)
    return ReidModel(
        backbone,
        num_ids=num_ids,
        modality=config.modality,
        neck=config.neck,
        drop_path=config.drop_path,
    ).to(get_device())


def start_from(
    initialisation: str, *, config: FinetuneConfig, folder: Path, published: Mapping[str, Path]
) -> Backbone:
    """The backbone of an initialisation, of the architecture of `folder`.

    pretrained: E and R of `folder`. scratch: seeded fresh weights. Else E from the published file
    of that name, and a fresh R.

    Raises:
        WeightsError: if weights are missing, damaged or of another architecture.
    """
    if initialisation == "pretrained":
        return load_backbone(folder)
    backbone = _build_fresh(config, folder)
    if initialisation != "scratch":
        _fill(backbone.encoder, published[initialisation], origin=config.published[initialisation])
    return backbone


def check_published(
    config: FinetuneConfig, *, model_folder: Path, published: Mapping[str, Path]
) -> dict[str, LoadReport]:
    """Load every published file once, before anything is trained.

    Returns:
        What was loaded and what stays random, by initialisation.

    Raises:
        WeightsError: if one is missing, damaged or of another architecture.
    """
    reports = {}
    for name in config.initialisations:
        if name in config.published:
            encoder = _build_fresh(config, model_folder / config.network).encoder
            reports[name] = _fill(encoder, published[name], origin=config.published[name])
    return reports


def _fill(encoder: Encoder, path: Path, *, origin: PublishedConfig) -> LoadReport:
    layout, normalisation = origin.layout, origin.normalisation
    return load_published(encoder, path, layout=layout, normalisation=normalisation)


def _build_fresh(config: FinetuneConfig, folder: Path) -> Backbone:
    """A backbone of the architecture of `folder`, with weights of the seed."""
    description = load_description(folder)
    torch.manual_seed(config.seed)
    return build_backbone(description)
