"""Parameters of published weights to start from."""

from dataclasses import dataclass

from vills.config.checks import check_choice

WEIGHT_LAYOUTS = ("dino", "ibot", "dinov2", "pass", "transreid_ssl", "mae", "timm")


@dataclass
class PublishedConfig:
    """A file of published ViT weights."""

    file: str = ""
    """Below VILLS_WEIGHTS; its hash enters the fingerprint."""
    layout: str = "timm"
    """Whose names its tensors have: dino, ibot, dinov2, pass, transreid_ssl, mae, timm."""

    def __post_init__(self) -> None:
        check_choice("*.layout of published weights", self.layout, WEIGHT_LAYOUTS)
