"""K by any top-down COCO-17 heatmap network in ONNX (SimplePose, HRNet and their like).

Shapes: B batch; n = 17 keypoints; h, w of the heatmap; Hi, Wi of the network's input.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vills.areas import NUM_KEYPOINTS
from vills.config.checks import ConfigError
from vills.lse.crop import Crop, Floats
from vills.lse.keypoints import Keypoints
from vills.onnx import PictureModel

# These networks are trained on widened boxes; a crop holds no more than its box, so
# the border is filled with the mean colour that normalisation turns into 0.
MARGIN = 1.1


class HeatmapDetector:
    """One person per crop; the crop is the box."""

    def __init__(self, path: Path, *, convention: str) -> None:
        """Open the ONNX file.

        Args:
            path: the file.
            convention: how it takes pixels, see vills.config.convention; '': the file says it.

        Raises:
            ConfigError: it holds a network of another kind, or its input is not known.
        """
        self._model = PictureModel(path, field="lse.keypoint_convention", stated=convention)
        heatmap = self._model.output_shape
        if len(heatmap) != 4 or heatmap[1] != NUM_KEYPOINTS:
            raise ConfigError(
                f"lse.keypoint_weights = {path.name!r} gives {heatmap}. Allowed: heatmaps [B, "
                f"{NUM_KEYPOINTS}, h, w]. What to do: choose a top-down COCO-17 heatmap network, "
                "or name its output in lse.keypoint_convention (output NAME)."
            )

    def detect(self, crops: Sequence[Crop]) -> list[Keypoints]:
        """Run the network on all crops; a ConfigError if what it gives is no number."""
        size = self._model.size
        normalise = self._model.convention.normalise
        placed = [convert_image(normalise(crop.image), size=size) for crop in crops]
        maps = self._model.run(np.stack([image for image, _ in placed]))  # [B, n, h, w]
        if not np.isfinite(maps).all():
            raise ConfigError(
                f"{self._model.name} gives heatmaps that are not finite. Allowed: numbers. What to "
                "do: check the file and lse.keypoint_convention = "
                f"{self._model.convention.describe()!r}."
            )
        return [
            decode_heatmaps(own, size=size, affine=affine)
            for own, (_, affine) in zip(maps, placed, strict=True)
        ]


def convert_image(image: Floats, *, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Centre a crop in the network's input with its aspect kept and `MARGIN` around it.

    Args:
        image: normalised [H, W, 3].
        size: (Hi, Wi).

    Returns:
        The input [Hi, Wi, 3], and the affine [2, 3] from crop px to input px.
    """
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width) / MARGIN
    # Pixel centres: crop centre on input centre.
    shift_x = (size[1] - 1) / 2 - scale * (width - 1) / 2
    shift_y = (size[0] - 1) / 2 - scale * (height - 1) / 2
    affine = np.array([[scale, 0, shift_x], [0, scale, shift_y]], np.float32)
    values: np.ndarray = image
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
    return np.asarray(placed, np.float32), affine


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
