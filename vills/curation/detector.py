"""What curation asks of a person detector, and how the configured one is built."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vills.config.checks import ConfigError
from vills.config.curate import CurateConfig
from vills.curation.video import Detections, Frame, build_detections
from vills.data.predictions import load_predictions
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

    Supplied predictions lie in the raw data set `folder`, weights below `weights_root`
    (VILLS_WEIGHTS).

    Raises:
        ConfigError: its predictions or weights are not there.
        ValueError: its weights cannot be used.
    """
    # Each detector brings a heavy package of its own; only the one in use is loaded.
    if config.detector == "predictions":
        return PredictionsDetector(folder)
    weights = _find_weights(config, weights_root)
    if config.detector == "yolox":
        from vills.curation.detector_yolox import YoloxDetector

        return YoloxDetector(weights, convention=config.detector_convention)
    from vills.curation.detector_torchvision import TorchvisionDetector

    return TorchvisionDetector(weights)


def _find_weights(config: CurateConfig, weights_root: Path | None) -> Path:
    """Find the detector's weights file; a ConfigError if no root is set, or none lies below it."""
    path = find_weights(config.detector_weights, weights_root)
    if path is None:
        raise ConfigError(
            f"curate.detector_weights = {config.detector_weights!r} is not below VILLS_WEIGHTS = "
            f"{weights_root}. Allowed: a file there. What to do: set VILLS_WEIGHTS to the folder "
            "that holds the weights, or correct the name."
        )
    return path


def compute_weights_digest(config: CurateConfig, *, weights_root: Path | None) -> str:
    """Compute the sha256 of the detector's weights; empty for supplied predictions.

    Raises:
        ConfigError: the weights are not there.
    """
    if config.detector == "predictions":
        return ""
    return compute_sha256(_find_weights(config, weights_root))


class PredictionsDetector:
    """Looks up `predictions/detections.parquet` of the raw data set."""

    def __init__(self, folder: Path) -> None:
        """Open the predictions; a ConfigError if the data set comes without any."""
        predictions = load_predictions(folder)
        if predictions is None:
            raise ConfigError(
                f"curate.detector = 'predictions' is not allowed for {folder}, which has no "
                "predictions/detections.parquet. Allowed there: torchvision, yolox. What to do: "
                "set curate.detector and curate.detector_weights, or supply predictions."
            )
        self._predictions = predictions

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Look up each frame by its video and number; a frame without rows has no people."""
        found = [self._predictions.lookup(frame.path, frame.number) for frame in frames]
        return [
            build_detections(people.boxes, scores=people.scores, frame=frame)
            for people, frame in zip(found, frames, strict=True)
        ]
