"""Parameters of published weights to start from."""

from dataclasses import dataclass

from vills.config.checks import ConfigError, check_choice

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
        if not self.file and (self.layout, self.normalisation) != ("timm", "publisher"):
            raise ConfigError(
                f"*.file = '' of published weights is not allowed with layout {self.layout!r} and "
                f"normalisation {self.normalisation!r}. Allowed: a file below VILLS_WEIGHTS. What "
                "to do: name it, or leave out the others to start from random weights."
            )
        check_choice("*.normalisation of published weights", self.normalisation, NORMALISATIONS)
        check_choice("*.layout of published weights", self.layout, WEIGHT_LAYOUTS)
