"""M, the segmenter (eq. 3): one interface; interactive (SAM, GrabCut) or not (parsing maps).

Shapes: n = 17 COCO keypoints; H, W of a crop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vills.config.checks import ConfigError
from vills.data.predictions import load_parsing
from vills.lse.crop import Crop, Floats, Labels, Mask, extract_mask


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


def has_positive(labels: Labels) -> bool:
    """Whether a prompt names the area at all; without a positive point there is nothing to cut."""
    return bool((labels == 1).any())


class ParsingSegmenter:
    """M by supplied human-parsing maps (Table 2a): not interactive, cut to the record's box.

    Keypoints and tau have no say in it.

    A parsing map does not tell persons apart, so a neighbour inside the box is part of the mask:
    that, and the fixed set of labels, is what the interactive segmenter is compared with.
    """

    def __init__(self, root: Path | None) -> None:
        """Load the parsing maps that lie beside a raw data set.

        Raises:
            ConfigError: there are none.
        """
        parsing = load_parsing(root) if root is not None else None
        if parsing is None:
            raise ConfigError(
                f"lse.segmenter = 'parsing' found no predictions/parsing.parquet in {root}. "
                "Allowed: grabcut or sam if no maps are supplied. What to do: supply the file, "
                "or choose another segmenter."
            )
        self._parsing = parsing

    def segment(
        self,
        crops: Sequence[Crop],
        *,
        points: Sequence[Floats],  # noqa: ARG002  (the interface of eq. 3)
        labels: Sequence[Mapping[str, Labels]],
    ) -> list[AreaMasks]:
        """Cut the areas of each crop; the score is 1, a parsing map carries none."""
        found: list[AreaMasks] = []
        for crop, prompts in zip(crops, labels, strict=True):
            maps = self._parsing.lookup(crop.path, crop.frame)
            cuts = {
                area: extract_mask(maps[area], box=crop.box, size=(crop.height, crop.width))
                for area in prompts
                if area in maps
            }
            found.append({a: AreaMask(mask=m, score=1.0) for a, m in cuts.items() if m.any()})
        return found
