"""K by any top-down COCO-17 heatmap network in ONNX (SimplePose, HRNet and their like).

Shapes: B batch; n = 17 keypoints; h, w of the heatmap; Hi, Wi of the network's input.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vills.areas import NUM_KEYPOINTS
from vills.config.checks import ConfigError
from vills.lse.crop import Crop, Floats, Image
from vills.lse.keypoints import Keypoints
from vills.onnx import load_session

# These networks are trained on widened boxes; a crop holds no more than its box, so
# the border is filled with the mean colour that normalisation turns into 0.
MARGIN = 1.1
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


class HeatmapDetector:
    """One person per crop; the crop is the box."""

    def __init__(self, path: Path) -> None:
        """Open the ONNX file.

        Raises:
            ConfigError: it holds a network of another kind.
        """
        self._session = load_session(path)
        entry = self._session.get_inputs()[0]
        outputs = self._session.get_outputs()
        shape, heatmap = list(entry.shape), list(outputs[0].shape)
        sized = len(shape) == 4 and all(isinstance(s, int) for s in shape[1:])
        if not sized or shape[1] != 3 or len(heatmap) != 4 or heatmap[1] != NUM_KEYPOINTS:
            raise ConfigError(
                f"lse.keypoint_weights = {path.name!r} maps {shape} to {heatmap}. Allowed: "
                f"[B, 3, Hi, Wi] to heatmaps [B, {NUM_KEYPOINTS}, h, w]. What to do: choose a "
                "top-down COCO-17 heatmap network."
            )
        self._name = entry.name
        self._batch = shape[0] if isinstance(shape[0], int) else None
        self._size = (int(shape[2]), int(shape[3]))

    def detect(self, crops: Sequence[Crop]) -> list[Keypoints]:
        """Run the network on all crops, in calls of the batch size that the file fixes."""
        placed = [convert_image(crop.image, size=self._size) for crop in crops]
        images = [image for image, _ in placed]
        step = self._batch or len(images)
        # only a file with a fixed batch size can lack rows
        images += [np.zeros_like(images[0])] * (-len(images) % step)
        found: list[Floats] = []
        for start in range(0, len(images), step):
            batch = np.stack(images[start : start + step])  # [B, 3, Hi, Wi]
            found.extend(np.asarray(self._session.run(None, {self._name: batch})[0], np.float32))
        return [
            decode_heatmaps(maps, size=self._size, affine=affine)
            for maps, (_, affine) in zip(found, placed, strict=False)  # placed ends first
        ]


def convert_image(image: Image, *, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Centre a crop in the network's input with its aspect kept and `MARGIN` around it.

    Args:
        image: uint8 [H, W, 3].
        size: (Hi, Wi).

    Returns:
        Normalised input [3, Hi, Wi], and the affine [2, 3] from crop px to input px.
    """
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width) / MARGIN
    # Pixel centres: crop centre on input centre.
    shift_x = (size[1] - 1) / 2 - scale * (width - 1) / 2
    shift_y = (size[0] - 1) / 2 - scale * (height - 1) / 2
    affine = np.array([[scale, 0, shift_x], [0, scale, shift_y]], np.float32)
    values: np.ndarray = (image.astype(np.float32) / 255.0 - _MEAN) / _STD
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    # warpAffine has no area mode; shrink first, so that large crops do not alias.
    if method == cv2.INTER_AREA:
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        values = cv2.resize(values, target, interpolation=method)
        ratio = np.array([width / target[0], height / target[1]])
        inner = affine.copy()
        inner[:, :2] *= ratio[None, :]
        inner[:, 2] += scale * (ratio - 1) / 2  # a centre of the small image, seen from the large
    else:
        inner = affine
    placed = cv2.warpAffine(values, inner, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return np.ascontiguousarray(placed.transpose(2, 0, 1)), affine


def decode_heatmaps(maps: Floats, *, size: tuple[int, int], affine: Floats) -> Keypoints:
    """Read the peak of each heatmap, moved a quarter cell towards the higher neighbour.

    Args:
        maps: [n, h, w].
        size: (Hi, Wi) of the network's input.
        affine: [2, 3] from crop px to input px.
    """
    num, rows, cols = maps.shape
    flat = maps.reshape(num, -1)
    peak = flat.argmax(axis=1)
    y, x = np.divmod(peak, cols)
    points = np.stack([x, y], axis=1).astype(np.float64)  # [n, 2] cells
    inner = (x > 0) & (x < cols - 1) & (y > 0) & (y < rows - 1)
    for k in np.flatnonzero(inner):
        points[k, 0] += 0.25 * np.sign(maps[k, y[k], x[k] + 1] - maps[k, y[k], x[k] - 1])
        points[k, 1] += 0.25 * np.sign(maps[k, y[k] + 1, x[k]] - maps[k, y[k] - 1, x[k]])
    points *= np.array([size[1] / cols, size[0] / rows])
    points = (points - affine[:, 2]) / np.array([affine[0, 0], affine[1, 1]])
    scores = np.clip(flat[np.arange(num), peak], 0.0, 1.0)
    return Keypoints(points=points.astype(np.float32), scores=scores.astype(np.float32))
