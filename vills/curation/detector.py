"""What curation asks of a person detector, and how the configured one is built."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vills.config.checks import ConfigError
from vills.config.curate import CurateConfig
from vills.curation.detections import Detections
from vills.curation.frame import Frame
from vills.io import compute_sha256, find_weights


class Detector(Protocol):
    """Finds people in frames."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find the people of each frame; boxes in px of that frame, scores unfiltered."""
        ...


def build_detector(
    config: CurateConfig, *, folder: Path, weights_root: Path | None = None
) -> Detector:
    """Build the detector that `config` names.

    Args:
        config: Names the detector and its weights.
        folder: The raw data set, beside whose files supplied predictions lie.
        weights_root: Folder of weights files (VILLS_WEIGHTS).

    Raises:
        ConfigError: its predictions or weights are not there.
        ValueError: its weights cannot be used.
    """
    # Each detector brings a heavy package of its own; only the one in use is loaded.
    if config.detector == "predictions":
        from vills.curation.detector_predictions import PredictionsDetector

        return PredictionsDetector(folder)
    weights = _find_weights(config, weights_root)
    if config.detector == "yolox":
        from vills.curation.detector_yolox import YoloxDetector

        return YoloxDetector(weights)
    from vills.curation.detector_torchvision import TorchvisionDetector

    return TorchvisionDetector(weights)


def _find_weights(config: CurateConfig, weights_root: Path | None) -> Path:
    """Find the detector's weights file.

    Raises:
        ConfigError: no root is set, or no such file lies below it.
    """
    path = find_weights(config.detector_weights, weights_root)
    if path is None:
        raise ConfigError(
            f"curate.detector_weights = {config.detector_weights!r} is not below VILLS_WEIGHTS = "
            f"{weights_root}. Allowed: a file there. What to do: set VILLS_WEIGHTS to the folder "
            "that holds the weights, or correct the name."
        )
    return path


def weights_digest(config: CurateConfig, *, weights_root: Path | None) -> str:
    """Compute the sha256 of the detector's weights; empty for supplied predictions.

    It belongs into the fingerprint of every run that curates videos.

    Raises:
        ConfigError: the weights are not there.
    """
    if config.detector == "predictions":
        return ""
    return compute_sha256(_find_weights(config, weights_root))
