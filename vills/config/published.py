"""Parameters of published weights to start from."""

from dataclasses import dataclass

from vills.config.checks import check_choice

WEIGHT_LAYOUTS = ("dino", "ibot", "dinov2", "pass", "transreid_ssl", "mae", "timm")

NORMALISATIONS = ("publisher", "imagenet", "half")


@dataclass
class PublishedConfig:
    """A file of published ViT weights."""

    file: str = ""
    """Below VILLS_WEIGHTS; its hash enters the fingerprint."""
    layout: str = "timm"
    """Whose names its tensors have: dino, ibot, dinov2, pass, transreid_ssl, mae, timm."""

    normalisation: str = "publisher"
    """Of pixels, that the file expects: imagenet (mean .485 .456 .406, deviation .229 .224 .225;
    folded into the patch embedding, exactly), half (0.5 and 0.5, as here), or publisher: imagenet
    for dino, ibot, dinov2 and mae, half for pass, transreid_ssl (their fine-tuning) and timm."""

    def __post_init__(self) -> None:
        check_choice("*.normalisation of published weights", self.normalisation, NORMALISATIONS)
        check_choice("*.layout of published weights", self.layout, WEIGHT_LAYOUTS)
