"""K from predictions supplied with the data: no model runs.

Shapes: P predicted persons of a frame; n = 17 COCO keypoints.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vills.config.checks import ConfigError
from vills.data.predictions import Predictions, load_predictions
from vills.lse.crop import Crop, compute_iou
from vills.lse.keypoints import Keypoints

# Below this overlap the best prediction is another person, or a false positive.
MIN_IOU = 0.3


class PredictionDetector:
    """The predicted person of best overlap with the record's box, mapped into the crop."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions

    def detect(self, crops: Sequence[Crop]) -> list[Keypoints]:
        """Look the person of each crop up in the frame that it was cut from."""
        return [self._detect_one(crop) for crop in crops]

    def _detect_one(self, crop: Crop) -> Keypoints:
        persons = self._predictions.lookup(crop.path, crop.frame)
        if len(persons.boxes) == 0:
            return Keypoints.missing()
        iou = compute_iou(persons.boxes, crop.box)
        # A detector may place two boxes on one person: of equal overlap the surer one.
        best = int(np.lexsort((-persons.scores, -iou))[0])
        keypoints = persons.keypoints[best]  # [n, 3]
        if iou[best] < MIN_IOU or not np.isfinite(keypoints).all():
            return Keypoints.missing()
        return Keypoints(points=crop.map_points(keypoints[:, :2]), scores=keypoints[:, 2])


def build_prediction_detector(root: Path | None) -> PredictionDetector:
    """Load the predictions that lie beside a raw data set.

    Raises:
        ConfigError: there are none.
    """
    predictions = load_predictions(root) if root is not None else None
    if predictions is None:
        raise ConfigError(
            f"lse.keypoint_detector = 'predictions' found no predictions/detections.parquet in "
            f"{root}. Allowed: torchvision or onnx where none are supplied. What to do: supply the "
            "file, or choose another detector and its weights."
        )
    return PredictionDetector(predictions)
