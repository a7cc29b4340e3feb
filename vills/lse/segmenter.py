"""M, the segmenter (eq. 3): one interface; interactive (SAM, GrabCut) or not (parsing maps).

Shapes: n = 17 COCO keypoints; H, W of a crop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
from vills.lse.crop import Crop, Floats, Labels, Mask


@dataclass(frozen=True, eq=False)
class AreaMask:
    """Where an area shows in a crop."""

    mask: Mask
    """bool [H, W]."""
    score: float
    """The segmenter's own trust in it, 0 to 1."""


AreaMasks = dict[str, AreaMask]
"""Masks of one crop; an area that could not be prompted is not in it."""


class Segmenter(Protocol):
    """M of eq. 3: x^{i,a} = M(x^i, k, v^a), for several crops and all areas at once."""

    def segment(
        self,
        crops: Sequence[Crop],
        *,
        points: Sequence[Floats],
        labels: Sequence[Mapping[str, Labels]],
    ) -> list[AreaMasks]:
        """Segment the areas of each crop.

        Args:
            crops: the images.
            points: k of each crop, [n, 2] px.
            labels: v^a of each crop by area, [n] in {1, 0, -1}; -1 is not a point.

        Returns:
            One entry per crop.
        """
        ...


def build_segmenter(config: LseConfig, *, root: Path | None, weights: Path | None) -> Segmenter:
    """Build the M that the parameters name.

    Args:
        config: parameters of the stage.
        root: raw folder of the source, where supplied parsing maps lie.
        weights: folder of weights files (VILLS_WEIGHTS).

    Raises:
        ConfigError: parsing maps or weights that are not there.
    """
    # Each M brings its own heavy package; only the chosen one is imported.
    if config.segmenter == "grabcut":
        from vills.lse.segmenter_grabcut import GrabCutSegmenter

        return GrabCutSegmenter()
    if config.segmenter == "parsing":
        from vills.lse.segmenter_parsing import build_parsing_segmenter

        return build_parsing_segmenter(root)
    if config.segmenter == "sam":
        from vills.lse.segmenter_sam import build_sam_segmenter
        from vills.lse.weights_files import resolve_weights

        path = resolve_weights(
            "lse.segmenter_weights",
            name=config.segmenter_weights,
            folder=weights,
            sha256=config.segmenter_sha256,
        )
        return build_sam_segmenter(path, sam_type=config.sam_type, precision=config.sam_precision)
    raise ConfigError(f"lse.segmenter = {config.segmenter!r} has no builder.")


def has_positive(labels: Labels) -> bool:
    """Whether a prompt names the area at all; without a positive point there is nothing to cut."""
    return bool((labels == 1).any())
