"""Parameters of published weights to start from.

Parameters of the encoder E, the resampler R and the heads h.
"""

from dataclasses import dataclass, field

from vills.areas import AREAS
from vills.config.checks import ConfigError, check_choice, check_range

WEIGHT_LAYOUTS = ("dino", "ibot", "dinov2", "pass", "transreid_ssl", "mae", "timm")

NORMALISATIONS = ("publisher", "imagenet", "half")


@dataclass
class PublishedConfig:
    """A file of published ViT weights."""

    file: str = ""
    """A file below VILLS_WEIGHTS; its hash names the run."""
    layout: str = "timm"
    """Names of its tensors: dino, ibot, dinov2, pass, transreid_ssl, mae, timm."""

    normalisation: str = "publisher"
    """Of the pixels that the weights expect: imagenet (mean .485 .456 .406, deviation .229 .224
    .225; folded exactly into the patch embedding), half (0.5 and 0.5, as here), or publisher:
    imagenet for dino, ibot, dinov2 and mae, half for pass, transreid_ssl (their fine-tuning) and
    timm."""

    def __post_init__(self) -> None:
        if not self.file and (self.layout, self.normalisation) != ("timm", "publisher"):
            raise ConfigError(
                f"*.file = '' of published weights is not allowed with layout {self.layout!r} and "
                f"normalisation {self.normalisation!r}. Allowed: a file below VILLS_WEIGHTS. What "
                "to do: name it, or leave out the others to start from random weights."
            )
        check_choice("*.normalisation of published weights", self.normalisation, NORMALISATIONS)
        check_choice("*.layout of published weights", self.layout, WEIGHT_LAYOUTS)


HEAD_NORMS = ("bn", "none")
MODALITY_SOURCES: dict[str, tuple[str, ...]] = {"image": ("image", "frame"), "video": ("video",)}
"""Modality -> token sources that its heads serve: z^i and z^vi, or z^v. A loss pools them."""
NUM_ROLES = 2 + len(AREAS)
"""Roles of the first queries: coarse, one per area, temporal."""


@dataclass
class ModelConfig:
    """Shared encoder and Perceiver resampler (paper section 3.2)."""

    width: int = 384
    """Embedding dimension d: 384 for ViT-S, 768 for ViT-B."""
    depth: int = 12
    """Transformer blocks of E."""
    num_heads: int = 6
    """Attention heads of E."""
    patch_size: int = 16
    """Patch side, px."""
    image_size: list[int] = field(default_factory=lambda: [256, 128])
    """[height, width], px, of the position table; other sizes resample it."""
    resampler: bool = True
    """false: no R; a video's token is the mean of its frames' tokens (Table 2b)."""
    resampler_depth: int = 2
    """Cross-attention layers of R."""
    num_queries: int = 16
    """L: coarse, one per area, temporal, and free ones."""
    max_frames: int = 8
    """Rows of the table of frame embeddings; other lengths of clips stretch it."""

    def __post_init__(self) -> None:
        check_range("model.width", self.width, low=8)
        if self.width % self.num_heads:
            raise ConfigError(
                f"model.num_heads = {self.num_heads} is not allowed. Allowed: a divisor of "
                f"model.width = {self.width}. What to do: change one of the two."
            )
        check_range("model.depth", self.depth, low=1)
        check_range("model.resampler_depth", self.resampler_depth, low=1)
        check_range("model.num_queries", self.num_queries, low=NUM_ROLES)
        check_range("model.max_frames", self.max_frames, low=1)
        if len(self.image_size) != 2 or any(s % self.patch_size for s in self.image_size):
            raise ConfigError(
                f"model.image_size = {list(self.image_size)} is not allowed. Allowed: [height, "
                f"width], multiples of model.patch_size = {self.patch_size}. "
                "What to do: change one of the two."
            )


@dataclass
class HeadConfig:
    """Projection heads: MLP with batch norm (supplement 2), weight-normed prototypes."""

    hidden: int = 2048
    """Width of the MLP."""
    bottleneck: int = 256
    """Width before the prototypes, L2-normalised."""
    feature_prototypes: int = 65536
    """K of the feature head."""
    masking_prototypes: int = 8192
    """K of the masking head."""
    alignment_layers: int = 3
    """Linear layers of h^v and h^i: 3 (the paper's MLP), 1, or 0 (batch norm alone)."""
    norm: str = "bn"
    """Norm between the layers: bn (the paper's, over the global batch), none (DINO's)."""

    def __post_init__(self) -> None:
        check_choice("heads.norm", self.norm, HEAD_NORMS)
        check_choice("heads.alignment_layers", self.alignment_layers, (0, 1, 3))
        for name in ("hidden", "bottleneck", "feature_prototypes", "masking_prototypes"):
            check_range(f"heads.{name}", getattr(self, name), low=2)
