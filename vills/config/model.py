"""Parameters of published weights to start from.

Parameters of the encoder E, the resampler R and the heads h.
"""

from dataclasses import dataclass, field
from typing import Annotated

from vills.areas import AREAS
from vills.config.checks import (
    BelowPath,
    ConfigError,
    Frames,
    Limits,
    Size,
    build_error,
    check_fields,
    check_size,
)

WEIGHT_LAYOUTS = ("dino", "ibot", "dinov2", "pass", "transreid_ssl", "mae", "timm")

NORMALISATIONS = ("publisher", "imagenet", "half")


@dataclass
class PublishedConfig:
    """A file of published ViT weights."""

    file: BelowPath = ""
    """A file below VILLS_WEIGHTS; its hash enters the run's name."""
    layout: Annotated[str, WEIGHT_LAYOUTS] = "timm"
    """How its tensors are named: dino, ibot, dinov2, pass, transreid_ssl, mae, timm."""

    normalisation: Annotated[str, NORMALISATIONS] = "publisher"
    """Pixel normalisation of the weights: imagenet (mean .485 .456 .406, deviation .229 .224 .225;
    folded exactly into the patch embedding), half (0.5 and 0.5, as in VILLS), or publisher:
    imagenet for dino, ibot, dinov2 and mae, half for pass and transreid_ssl (their fine-tuning);
    of timm what the file says, as that of `vills export`, else it is refused."""

    def __post_init__(self) -> None:
        check_fields("*", self)
        if not self.file and (self.layout, self.normalisation) != ("timm", "publisher"):
            raise ConfigError(
                f"*.file = '' is not allowed with layout {self.layout!r} and "
                f"normalisation {self.normalisation!r}. Allowed: a file below VILLS_WEIGHTS. "
                "What to do: name a file, or remove the other two to start from random weights."
            )


MODALITY_SOURCES: dict[str, tuple[str, ...]] = {"image": ("image", "frame"), "video": ("video",)}
"""Modality -> token sources that its heads serve: z^i and z^vi, or z^v. A loss pools them."""
NUM_ROLES = 2 + len(AREAS)
"""Roles of the first queries: coarse, one per area, temporal."""


@dataclass
class ModelConfig:
    """Shared encoder and Perceiver resampler (paper section 3.2)."""

    width: Annotated[int, Limits(8, 8192)] = 384
    """Embedding dimension d: 384 for ViT-S, 768 for ViT-B."""
    depth: Annotated[int, Limits(1, 256)] = 12
    """Transformer blocks of E."""
    num_heads: Annotated[int, Limits(1, 256)] = 6
    """Attention heads of E."""
    patch_size: Annotated[int, Limits(1, 256)] = 16
    """Patch side, px."""
    image_size: Size = field(default_factory=lambda: [256, 128])
    """[height, width] of the position table, px; it is resampled for other sizes."""
    resampler: bool = True
    """false: no R; a video's token is the mean of its frames' tokens (Table 2b)."""
    resampler_depth: Annotated[int, Limits(1, 256)] = 2
    """Cross-attention layers of R."""
    num_queries: Annotated[int, Limits(NUM_ROLES, 1024)] = 16
    """L: coarse, one per area, temporal, and others without a role."""
    max_frames: Frames = 8
    """Rows of the table of frame embeddings; it is resampled for clips of other lengths."""

    def __post_init__(self) -> None:
        check_fields("pretrain.model", self)
        if self.width % self.num_heads:
            allowed = f"a divisor of pretrain.model.width = {self.width}"
            raise build_error(
                "pretrain.model.num_heads", self.num_heads, allowed, "change one of the two"
            )
        check_size("pretrain.model.image_size", self.image_size, self.patch_size)


@dataclass
class HeadConfig:
    """Projection heads: MLP with batch norm (supplement 2), weight-normed prototypes."""

    hidden: Annotated[int, Limits(2, 65_536)] = 2048
    """Width of the MLP."""
    bottleneck: Annotated[int, Limits(2, 65_536)] = 256
    """Width before the prototypes, L2-normalised."""
    feature_prototypes: Annotated[int, Limits(2, 1_048_576)] = 65536
    """K of the feature head."""
    masking_prototypes: Annotated[int, Limits(2, 1_048_576)] = 8192
    """K of the masking head."""
    alignment_layers: Annotated[int, (0, 1, 3)] = 3
    """Linear layers of h^v and h^i: 3 (the paper's MLP), 1, or 0 (none; only `norm`)."""
    norm: Annotated[str, ("bn", "none")] = "bn"
    """Norm between the layers: bn (the paper's, over the global batch), none (DINO's)."""

    def __post_init__(self) -> None:
        check_fields("pretrain.heads", self)
