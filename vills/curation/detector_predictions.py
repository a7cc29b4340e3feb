"""People as a detector found them before: predictions supplied with the data."""

from collections.abc import Sequence
from pathlib import Path

from vills.config.checks import ConfigError
from vills.curation.detections import Detections, build_detections
from vills.curation.frame import Frame
from vills.data.predictions import load_predictions


class PredictionsDetector:
    """Looks up `predictions/detections.parquet` of the raw data set."""

    def __init__(self, folder: Path) -> None:
        """Open the predictions.

        Raises:
            ConfigError: the data set comes without any.
        """
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
        found = []
        for frame in frames:
            people = self._predictions.lookup(frame.path, frame.number)
            found.append(
                build_detections(
                    people.boxes, scores=people.scores, width=frame.width, height=frame.height
                )
            )
        return found
