"""What a unit of work makes: files, and the rows that go into the tables beside them."""

from collections.abc import Mapping

import cv2
import numpy as np
import pyarrow as pa
import pycocotools.mask as coco
from numpy.typing import NDArray

from vills.areas import AREAS
from vills.miniature.files import decode_image, encode_jpeg, encode_png
from vills.miniature.painter import Image
from vills.miniature.parsing import parse
from vills.miniature.predictions import Clutter, predict
from vills.miniature.tables import SCHEMAS, Row, build_table
from vills.miniature.truth import Instance


class Sink:
    """Keeps the files and rows of one unit: it writes nothing, so that only one process writes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.rows: dict[str, list[Row]] = {name: [] for name in SCHEMAS}

    def add_file(self, path: str, data: bytes) -> None:
        """Add a file of the data set; `path` lies below its folder."""
        assert path not in self.files, path
        self.files[path] = data

    def add_image(
        self,
        path: str,
        image: Image,
        instances: list[Instance],
        rng: np.random.Generator,
        *,
        quality: int,
    ) -> None:
        """Add an image, its truth and what producers are told about it.

        Args:
            path: with the suffix .jpg or .png.
            image: uint8 [H, W, 3] RGB.
            instances: the truth.
            rng: decides the predictions.
            quality: of the camera's JPEG; a .png is cut from what such a camera had recorded.
        """
        data = encode_jpeg(image, quality=quality)
        self.add_file(path, encode_png(decode_image(data)) if path.endswith(".png") else data)
        self.describe(path, 0, instances, rng, size=(image.shape[0], image.shape[1]))

    def describe(
        self,
        path: str,
        frame: int,
        instances: list[Instance],
        rng: np.random.Generator,
        *,
        size: tuple[int, int],
        clutter: Clutter | None = None,
    ) -> None:
        """Add the rows of one picture: truth, detections and parsing map."""
        height, width = size
        where: Row = {"path": path, "frame": frame}
        shape: Row = {"height": height, "width": width}
        for instance in instances:
            self.rows["truth"].append(where | shape | _describe_truth(instance))
        for found in predict(instances, rng, height=height, width=width, clutter=clutter):
            row = where | _name_box(found.box) | {"score": found.score}
            points = None if found.keypoints is None else found.keypoints.ravel().tolist()
            self.rows["detections"].append(row | {"keypoints": points})
        masks = parse(instances, rng, height=height, width=width)
        for area, mask in masks.items():
            row = where | shape | {"area": area, "counts": encode_mask(mask)}
            self.rows["parsing"].append(row)

    def build_tables(self) -> Mapping[str, pa.Table]:
        """Return the rows as tables, by kind."""
        return {kind: build_table(kind, rows) for kind, rows in self.rows.items()}


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return the COCO run lengths of a mask [H, W]."""
    # OpenCV turns pictures faster than NumPy copies them into columns.
    columns = cv2.transpose(np.ascontiguousarray(mask).view(np.uint8)).T
    counts: bytes = coco.encode(columns)["counts"]
    return counts


def _describe_truth(instance: Instance) -> Row:
    masks = {f"mask_{area}": encode_mask(instance.areas[area]) for area in AREAS}
    return {
        "person": instance.person,
        "outfit": instance.outfit,
        **_name_box(instance.box),
        "visible": instance.visible,
        "keypoints": instance.keypoints.ravel().tolist(),
        **masks,
    }


def _name_box(box: NDArray[np.floating]) -> Row:
    return dict(zip(("x1", "y1", "x2", "y2"), (float(v) for v in box), strict=True))
