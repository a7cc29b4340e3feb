"""K, the keypoint detector (eq. 1), and what its keypoints prompt: the indicator v^a (eq. 2, 4).

Shapes: n = 17 COCO keypoints; P predicted persons of a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vills.areas import AREA_KEYPOINTS, KEYPOINTS, NUM_KEYPOINTS
from vills.config.checks import ConfigError
from vills.data.predictions import load_predictions
from vills.data.records import Box
from vills.lse.crop import Crop, Floats, Labels, compute_iou

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
# Below this overlap the best prediction is another person, or a false positive.
MIN_IOU = 0.3


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


class PredictionDetector:
    """K from predictions supplied with the data; no model runs.

    It takes the person whose box and pose fit the record's box best, mapped into the crop.
    """

    def __init__(self, root: Path | None) -> None:
        """Load the predictions that lie beside a raw data set.

        Raises:
            ConfigError: there are none.
        """
        predictions = load_predictions(root) if root is not None else None
        if predictions is None:
            raise ConfigError(
                f"lse.keypoint_detector = 'predictions' found no predictions/detections.parquet in "
                f"{root}. Allowed: torchvision or onnx if none are supplied. What to do: supply "
                "the file, or choose another detector and its weights."
            )
        self._predictions = predictions

    def detect(self, crops: Sequence[Crop]) -> list[Keypoints]:
        """Look the person of each crop up in the frame that it was cut from."""
        return [self._detect_one(crop) for crop in crops]

    def _detect_one(self, crop: Crop) -> Keypoints:
        persons = self._predictions.lookup(crop.path, crop.frame)
        if len(persons.boxes) == 0:
            return Keypoints.missing()
        iou = compute_iou(persons.boxes, crop.box)
        # Of two people in one box, the one whose pose lies in it; of two boxes on one person, with
        # equal overlap, the surer one.
        fit = iou * _compute_inside(persons.keypoints, crop.box)
        best = int(np.lexsort((-persons.scores, -fit))[0])
        keypoints = persons.keypoints[best]  # [n, 3]
        if iou[best] < MIN_IOU or not np.isfinite(keypoints).all():
            return Keypoints.missing()
        return Keypoints(points=crop.map_points(keypoints[:, :2]), scores=keypoints[:, 2])


def _compute_inside(keypoints: Floats, box: Box) -> Floats:
    """Compute the share of each pose's confidence that lies in a box: [P] of [P, n, 3]; 0 if none.

    Args:
        keypoints: x, y, score.
        box: (x1, y1, x2, y2) px.
    """
    points, scores = keypoints[..., :2], np.nan_to_num(keypoints[..., 2])
    inside = ((points >= np.array(box[:2])) & (points <= np.array(box[2:]))).all(axis=2)
    total = np.maximum(scores.sum(axis=1), 1e-9)
    shares: Floats = ((scores * inside).sum(axis=1) / total).astype(np.float32)
    return shares


def build_prompt(
    points: Floats,
    *,
    scores: Floats,
    area: str,
    threshold: float,
    low_confidence: str,
    size: tuple[int, int],
) -> Labels:
    """Label every keypoint for one area: 1 positive, 0 negative, -1 not a point (eq. 2, 4).

    Eq. 4 read to the letter gives v = 0 to a keypoint at or below tau, and M takes 0 for a negative
    point: an uncertain left wrist would then push the left wrist OUT of the upper body. The default
    (`low_confidence` = ignore) leaves such points out of the prompt, which is what the paper's
    text asks for ("filter"); `negative` is the literal reading. A point outside the image, or not
    finite, has no pixel to speak for and is left out in both.

    Args:
        points: [n, 2] px of the crop.
        scores: [n] confidence of K.
        area: one of `vills.areas.AREAS`.
        threshold: tau^a; a keypoint counts when its score is greater.
        low_confidence: ignore or negative.
        size: (height, width) of the crop.

    Returns:
        int8 [n].
    """
    inside = np.array([name in AREA_KEYPOINTS[area] for name in KEYPOINTS])
    confident = scores > threshold
    uncertain = NEGATIVE if low_confidence == "negative" else IGNORED
    labels = np.where(confident, np.where(inside, POSITIVE, NEGATIVE), uncertain)
    height, width = size
    # NaN compares false with everything, so a non-finite point is not on the image either.
    x, y = points[:, 0], points[:, 1]
    on_image = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    result: Labels = np.where(on_image, labels, IGNORED).astype(np.int8)
    return result
