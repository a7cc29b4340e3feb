"""K, the keypoint detector (eq. 1): one interface, three sources of keypoints.

Shapes: n = 17 COCO keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vills.areas import NUM_KEYPOINTS
from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
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


def build_keypoint_detector(
    config: LseConfig, *, root: Path | None, weights: Path | None
) -> KeypointDetector:
    """Build the K that the parameters name.

    Args:
        config: parameters of the stage.
        root: raw folder of the source, where supplied predictions lie.
        weights: folder of weights files (VILLS_WEIGHTS).

    Raises:
        ConfigError: predictions or weights that are not there.
    """
    # Each K brings its own heavy package; only the chosen one is imported.
    if config.keypoint_detector == "predictions":
        from vills.lse.detector_predictions import build_prediction_detector

        return build_prediction_detector(root)
    from vills.lse.weights_files import resolve_weights

    path = resolve_weights(
        "lse.keypoint_weights",
        name=config.keypoint_weights,
        folder=weights,
        sha256=config.keypoint_sha256,
    )
    if config.keypoint_detector == "torchvision":
        from vills.lse.detector_torchvision import build_torchvision_detector

        return build_torchvision_detector(path)
    if config.keypoint_detector == "onnx":
        from vills.lse.detector_heatmap import build_heatmap_detector

        return build_heatmap_detector(path)
    raise ConfigError(f"lse.keypoint_detector = {config.keypoint_detector!r} has no builder.")
