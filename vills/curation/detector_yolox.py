"""People by any YOLOX-format ONNX model.

The format: the image scaled to fit the top left corner of the input and padded with grey; an
output [n, A, 5 + C] of raw (x, y, w, h) per anchor point, objectness and class scores already
between 0 and 1, anchor points listed grid by grid from the finest stride on. Values and order of
the colours are stated (`curate.detector_convention`): BGR 0-255 since YOLOX 0.1.1, before that RGB
normalised as ImageNet's.

Shapes: H W frame, S S' model input, A anchor points, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.config.checks import ConfigError
from vills.curation.video import Detections, Frame, build_detections
from vills.errors import InputError
from vills.onnx import PictureModel

PAD_VALUE = 114
PERSON_CLASS = 0
NMS_IOU = 0.45
MIN_SCORE = 0.05
STRIDES = ((8, 16, 32), (8, 16, 32, 64))
MAX_LOG_SIDE = 10.0
"""Boxes are the exponents of sides in strides: more than this is px, a decoded output."""


class YoloxDetector:
    """Detector on a YOLOX-format ONNX file (Ge et al., "YOLOX", arXiv 2107.08430)."""

    def __init__(self, path: Path, *, convention: str) -> None:
        """Open the model and lay out the anchor points it may have.

        Args:
            path: the ONNX file.
            convention: how it takes pixels, see vills.config.convention; '': the file says it.

        Raises:
            FileNotFoundError: no such file.
            ConfigError: its input is not known, or no picture.
            InputError: the file is no ONNX model.
        """
        self._model = PictureModel(path, field="curate.detector_convention", stated=convention)
        self._height, self._width = self._model.size
        self._anchors = [build_anchors(self._height, self._width, strides) for strides in STRIDES]

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find people in each frame; boxes in px of the frame, scores from 0.05 up."""
        # One frame per call: published files have a fixed batch of 1, and on a CPU a larger one
        # is no faster.
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: Frame) -> Detections:
        scale = min(self._height / frame.height, self._width / frame.width)
        canvas = self._model.convention.normalise(self._letterbox(frame.image, scale))
        output = self._model.run(canvas[None])[0]  # [A, 5 + C]
        grid, stride = self._find_anchors(output.shape)
        scores = output[:, 4] * output[:, 5 + PERSON_CLASS]
        kept = scores >= MIN_SCORE
        self._check_output(output, kept)
        centre = (output[kept, :2] + grid[kept]) * stride[kept]
        size = np.exp(output[kept, 2:4]) * stride[kept]
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1) / scale
        best = select_boxes(boxes, scores=scores[kept], iou=NMS_IOU)
        return build_detections(boxes[best], scores=scores[kept][best], frame=frame)

    def _letterbox(self, image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
        """Scale into the top left corner of a grey RGB [S, S', 3] canvas."""
        height, width = int(image.shape[0] * scale), int(image.shape[1] * scale)
        canvas = np.full((self._height, self._width, 3), PAD_VALUE, dtype=np.uint8)
        canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        return canvas

    def _check_output(self, output: NDArray[np.float32], kept: NDArray[np.bool_]) -> None:
        """Refuse what reads like boxes and is something else.

        Raises:
            ConfigError: values that are not finite, scores outside 0 to 1, or boxes in px.
        """
        scores = output[:, 4:]
        if not np.isfinite(output).all():
            found = "values that are not finite"
        elif scores.min() < 0 or scores.max() > 1:
            found = f"scores from {scores.min():.3g} to {scores.max():.3g}"
        elif kept.any() and np.median(output[kept, 2:4]) > MAX_LOG_SIDE:
            found = (
                f"box sides of {np.median(output[kept, 2:4]):.0f}: px, where YOLOX has logarithms"
            )
        else:
            return
        raise ConfigError(
            f"{self._model.name} gives {found}. Allowed: raw boxes, and scores between 0 and 1. "
            "What to do: export YOLOX as its own tool does, without decoding "
            "(decode_in_inference=False), and check curate.detector_convention = "
            f"{self._model.convention.describe()!r}."
        )

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
            f"{self._model.name} gives an output {list(shape)} for an input of {self._height}x"
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
