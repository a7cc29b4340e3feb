"""K, the keypoint detector (eq. 1): one interface, three sources of keypoints.

Shapes: n = 17 COCO keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vills.areas import NUM_KEYPOINTS
from vills.lse.crop import Crop, Floats


@dataclass(frozen=True, eq=False)
class Keypoints:
    """k and s of one crop."""

    points: Floats
    """[n, 2] px of the crop."""
    scores: Floats
    """[n] confidence in (0, 1); all 0 when no person was found."""

    @classmethod
    def missing(cls) -> "Keypoints":
        """Say that no person was found: no keypoint passes any tau."""
        return cls(
            points=np.zeros((NUM_KEYPOINTS, 2), np.float32),
            scores=np.zeros(NUM_KEYPOINTS, np.float32),
        )

    @property
    def is_missing(self) -> bool:
        """Whether no person was found."""
        return not self.scores.any()


class KeypointDetector(Protocol):
    """K of eq. 1: k = K(x)."""

    def detect(self, crops: Sequence[Crop]) -> list[Keypoints]:
        """Find the keypoints of the person that each crop shows."""
        ...
