"""People by any YOLOX-format ONNX model.

The format: one input [1 or n, 3, S, S'] of BGR values 0-255, the image scaled to fit the top left
corner and padded with grey; one output [n, A, 5 + C] of raw (x, y, w, h) per anchor point,
objectness and class scores already between 0 and 1, anchor points listed grid by grid from the
finest stride on.

Shapes: H W frame, S S' model input, A anchor points, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.curation.video import Detections, Frame, build_detections
from vills.errors import InputError
from vills.onnx import load_session

PAD_VALUE = 114
PERSON_CLASS = 0
NMS_IOU = 0.45
MIN_SCORE = 0.05
STRIDES = ((8, 16, 32), (8, 16, 32, 64))
DEFAULT_SIZE = 640


class YoloxDetector:
    """Detector on a YOLOX-format ONNX file (Ge et al., "YOLOX", arXiv 2107.08430)."""

    def __init__(self, path: Path) -> None:
        """Open the model and lay out the anchor points it may have.

        Raises:
            FileNotFoundError: no such file.
            InputError: the file is no YOLOX-format ONNX model.
        """
        self._session = load_session(path)
        spec = self._session.get_inputs()[0]
        if len(spec.shape) != 4 or spec.shape[1] != 3:
            raise InputError(f"{path} takes {spec.shape}, YOLOX takes [n, 3, height, width].")
        self._input = spec.name
        self._height, self._width = (
            size if isinstance(size, int) else DEFAULT_SIZE for size in spec.shape[2:]
        )
        self._anchors = [build_anchors(self._height, self._width, strides) for strides in STRIDES]
        self._path = path

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find people in each frame; boxes in px of the frame, scores from 0.05 up."""
        # One frame per call: published files have a fixed batch of 1, and on a CPU a larger one
        # is no faster.
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: Frame) -> Detections:
        scale = min(self._height / frame.height, self._width / frame.width)
        canvas = self._letterbox(frame.image, scale)
        output = self._session.run(None, {self._input: canvas})[0][0]  # [A, 5 + C]
        grid, stride = self._find_anchors(output.shape)
        scores = output[:, 4] * output[:, 5 + PERSON_CLASS]
        kept = scores >= MIN_SCORE
        centre = (output[kept, :2] + grid[kept]) * stride[kept]
        size = np.exp(output[kept, 2:4]) * stride[kept]
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1) / scale
        best = select_boxes(boxes, scores=scores[kept], iou=NMS_IOU)
        return build_detections(boxes[best], scores=scores[kept][best], frame=frame)

    def _letterbox(self, image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
        """Scale into the top left corner of a grey [1, 3, S, S'] canvas, as BGR."""
        height, width = int(image.shape[0] * scale), int(image.shape[1] * scale)
        canvas = np.full((self._height, self._width, 3), PAD_VALUE, dtype=np.uint8)
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        canvas[:height, :width] = resized[:, :, ::-1]
        return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32)

    def _find_anchors(
        self, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return grid position [A, 2] and stride [A, 1] of each anchor point of an output.

        Raises:
            InputError: the output's length fits no set of strides.
        """
        for grid, stride in self._anchors:
            if len(grid) == shape[0] and shape[1] > 5:
                return grid, stride
        raise InputError(
            f"{self._path} gives an output {list(shape)} for an input of {self._height}x"
            f"{self._width}; a YOLOX-format model gives [anchor points, 5 + classes] with "
            "strides 8, 16, 32 (and 64). What to do: export the model without decoding."
        )


def build_anchors(
    height: int, width: int, strides: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Build the grid positions [A, 2] as x, y, row by row, and the strides [A, 1]."""
    points = [(x, y, s) for s in strides for y in range(height // s) for x in range(width // s)]
    grid, stride = np.split(np.array(points, dtype=np.float32).reshape(-1, 3), [2], axis=1)
    return grid, stride


def select_boxes(
    boxes: NDArray[np.floating], *, scores: NDArray[np.floating], iou: float
) -> NDArray[np.int64]:
    """Non-maximum suppression: indices of the boxes to keep, best first."""
    sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), 0.0, iou)
    return np.asarray(kept, dtype=np.int64).reshape(-1)
