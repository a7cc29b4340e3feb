"""Where a unit of work puts its pictures, and the rows that go into the tables beside them."""

from pathlib import Path

import numpy as np
import pycocotools.mask as coco
from numpy.typing import NDArray

from vills.areas import AREAS
from vills.miniature.files import encode_jpeg
from vills.miniature.painter import Image
from vills.miniature.parsing import parse
from vills.miniature.predictions import Clutter, predict
from vills.miniature.tables import SCHEMAS, Row
from vills.miniature.truth import Instance


class Sink:
    """Writes pictures below `root` at once and keeps rows until the unit is done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: dict[str, list[Row]] = {name: [] for name in SCHEMAS}
        self.files: list[str] = []
        self._folders: set[Path] = set()

    def add_file(self, path: str, data: bytes) -> None:
        """Write a file of the data set.

        Not atomically: a unit counts only when all of it is there, and is else written again.
        """
        target = self.root / path
        if target.parent not in self._folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(target.parent)
        target.write_bytes(data)
        self.files.append(path)

    def add_image(
        self,
        path: str,
        image: Image,
        instances: list[Instance],
        rng: np.random.Generator,
        *,
        quality: int,
    ) -> None:
        """Write an image, its truth and what producers are told about it."""
        self.add_file(path, encode_jpeg(image, quality=quality))
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


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return the COCO run lengths of a mask [H, W]."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
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
