"""What a detector sees in one frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Detections:
    """Person boxes of one frame, most confident first.

    Attributes:
        boxes: float32 [n, 4], x1, y1, x2, y2 in px of the frame.
        scores: float32 [n], 0 to 1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        """Count the boxes."""
        return len(self.scores)

    def above(self, confidence: float) -> "Detections":
        """Keep the boxes whose score is at least `confidence`."""
        kept = self.scores >= np.float32(confidence)
        return Detections(self.boxes[kept], self.scores[kept])


def build_detections(
    boxes: NDArray[np.floating], *, scores: NDArray[np.floating], width: int, height: int
) -> Detections:
    """Clip boxes to the frame, drop what is empty or not finite, and sort by score.

    Ties keep their order, so that equal input gives equal output.
    """
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    scores = np.asarray(scores, dtype=np.float32).reshape(-1)
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float32))
    valid = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    valid &= (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    order = np.argsort(-scores[valid], kind="stable")
    return Detections(clipped[valid][order], scores[valid][order])
