"""M, the segmenter (eq. 3): one interface; interactive (SAM, GrabCut) or not (parsing maps).

Shapes: n = 17 COCO keypoints; H, W of a crop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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


def has_positive(labels: Labels) -> bool:
    """Whether a prompt names the area at all; without a positive point there is nothing to cut."""
    return bool((labels == 1).any())
