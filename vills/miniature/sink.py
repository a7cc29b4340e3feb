"""What a unit of work makes: files, and the rows of the tables beside them.

Tables have fixed columns and sorted rows; the same rows give the same bytes.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pycocotools.mask as coco
from numpy.typing import NDArray

from vills.areas import AREAS
from vills.miniature.canvas import Image, Instance
from vills.miniature.predictions import Clutter, parse, sample_predictions

Row = dict[str, Any]

_BOX = ("x1", "y1", "x2", "y2")
_MASKS = tuple(f"mask_{area}" for area in AREAS)
_TYPES: Mapping[str, pa.DataType] = {
    "path": pa.string(),
    "area": pa.string(),
    "keypoints": pa.list_(pa.float32()),
    "counts": pa.binary(),
    **dict.fromkeys(_MASKS, pa.binary()),
    **dict.fromkeys((*_BOX, "visible", "score"), pa.float32()),
    **dict.fromkeys(("frame", "person", "outfit", "height", "width"), pa.int32()),
}


SCHEMAS: Mapping[str, pa.Schema] = {
    kind: pa.schema([(name, _TYPES[name]) for name in ("path", "frame", *columns)])
    for kind, columns in {
        "truth": ("person", "outfit", *_BOX, "visible", "keypoints", *_MASKS, "height", "width"),
        "detections": (*_BOX, "score", "keypoints"),
        "parsing": ("area", "height", "width", "counts"),
    }.items()
}


class Sink:
    """Keeps the files and rows of one unit: it writes nothing, so that only one process writes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.rows: dict[str, list[Row]] = {kind: [] for kind in SCHEMAS}

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
        """Add an RGB image, uint8 [H, W, 3], its truth and what producers are told about it.

        `rng` decides the predictions; `quality` is that of the camera's JPEG: a .png is cut from
        what such a camera had recorded.
        """
        data = encode_image(image, quality=quality)
        self.add_file(path, encode_image(decode_image(data)) if path.endswith(".png") else data)
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
            row = {
                "person": instance.person,
                "outfit": instance.outfit,
                "visible": instance.visible,
                "keypoints": instance.keypoints.ravel().tolist(),
                **{f"mask_{area}": _encode_mask(instance.areas[area]) for area in AREAS},
            }
            self.rows["truth"].append(where | shape | _name_box(instance.box) | row)
        for found in sample_predictions(
            instances, rng, height=height, width=width, clutter=clutter
        ):
            row = {"score": found.score, "keypoints": found.keypoints.ravel().tolist()}
            self.rows["detections"].append(where | _name_box(found.box) | row)
        for area, mask in parse(instances, rng, height=height, width=width).items():
            row = {"area": area, "counts": _encode_mask(mask)}
            self.rows["parsing"].append(where | shape | row)


def encode_table(kind: str, tables: Sequence[pa.Table]) -> bytes:
    """Return a parquet file of the rows of `tables`, sorted by path and frame."""
    table = pa.concat_tables([SCHEMAS[kind].empty_table(), *tables])
    # Sorting is stable: persons and areas of a frame keep the order they were found in.
    order = pc.sort_indices(
        table.append_column("row", pa.array(range(len(table)), pa.int64())),
        sort_keys=[("path", "ascending"), ("frame", "ascending"), ("row", "ascending")],
    )
    buffer = io.BytesIO()
    pq.write_table(table.take(order), buffer, compression="zstd")
    return buffer.getvalue()


def encode_image(image: Image, *, quality: int | None = None) -> bytes:
    """Return an RGB uint8 [H, W, 3] image as JPEG of a quality, or as PNG."""
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png" if quality is None else ".jpg", bgr, options)
    assert done, image.shape
    return bytes(data)


def decode_image(data: bytes) -> Image:
    """Return an image file as RGB uint8 [H, W, 3]."""
    bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return the COCO run lengths of a mask [H, W]."""
    # OpenCV turns pictures faster than NumPy copies them into columns.
    columns = cv2.transpose(np.ascontiguousarray(mask).view(np.uint8)).T
    counts: bytes = coco.encode(columns)["counts"]
    return counts


def _name_box(box: NDArray[np.floating]) -> Row:
    return dict(zip(_BOX, box.tolist(), strict=True))
