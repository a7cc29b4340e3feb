"""A person crop on its way through K and M, with the place in the source that it was cut from.

Shapes: H, W height and width of the crop in px; n = 17 COCO keypoints; P points.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.data.images import CorruptImageError, decode_image
from vills.data.records import Box, Manifest
from vills.data.shards import ShardReader

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
Labels = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Crop:
    """One decoded image, or one frame of a tracklet."""

    image: Image
    """RGB, uint8 [H, W, 3]."""
    record_id: str
    """Record that it belongs to."""
    position: int
    """Position in the tracklet, 0 for an image."""
    path: str
    """Raw file that it was cut from, relative to the root of its source."""
    frame: int
    """Frame of that file, 0 for an image file."""
    box: Box
    """Place in that frame, (x1, y1, x2, y2) in px of the source."""

    @property
    def height(self) -> int:
        """Height of the crop, px."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Width of the crop, px."""
        return int(self.image.shape[1])

    @property
    def seed(self) -> int:
        """A number that depends on record and position only, for segmenters that draw."""
        return zlib.crc32(f"{self.record_id}.{self.position}".encode())

    def map_points(self, points: Floats) -> Floats:
        """Map points of the source frame into the crop, which may have been rescaled.

        Args:
            points: [P, 2] px of the source frame.

        Returns:
            [P, 2] px of the crop.
        """
        x1, y1, x2, y2 = self.box
        scale = np.array([self.width / (x2 - x1), self.height / (y2 - y1)], dtype=np.float64)
        mapped: Floats = ((points - np.array([x1, y1])) * scale).astype(np.float32)
        return mapped


def compute_iou(boxes: Floats, box: Box) -> Floats:
    """Compute the overlap of each of `boxes` with one box.

    Args:
        boxes: [P, 4] as x1, y1, x2, y2.
        box: the same, once.

    Returns:
        [P] intersection over union.
    """
    one = np.asarray(box, dtype=np.float64)
    low = np.maximum(boxes[:, :2], one[:2])
    high = np.minimum(boxes[:, 2:], one[2:])
    inter = np.clip(high - low, 0.0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1)
    union = areas + np.clip(one[2:] - one[:2], 0.0, None).prod() - inter
    result: Floats = (inter / np.maximum(union, 1e-9)).astype(np.float32)
    return result


def extract_mask(mask: Mask, *, box: Box, size: tuple[int, int]) -> Mask:
    """Cut a whole-frame mask to a box and rescale it to the crop.

    Args:
        mask: bool, whole frame.
        box: (x1, y1, x2, y2) px of the frame; parts outside the frame are empty.
        size: (H, W) of the crop.

    Returns:
        bool [H, W].
    """
    height, width = size
    x1, y1, x2, y2 = box
    # Each crop pixel's centre, seen from the frame; pixels have their centre at +.5 of a box edge.
    columns = x1 + (np.arange(width) + 0.5) * ((x2 - x1) / width) - 0.5
    rows = y1 + (np.arange(height) + 0.5) * ((y2 - y1) / height) - 0.5
    grid_x, grid_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    cut = cv2.remap(
        mask.astype(np.float32),
        grid_x,
        grid_y,
        interpolation=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0.0,
    )
    result: Mask = cut >= 0.5
    return result


def compute_mask_iou(mask: Mask, other: Mask) -> float:
    """Compute intersection over union of two masks [H, W]; 0 if both are empty."""
    union = np.count_nonzero(mask | other)
    return float(np.count_nonzero(mask & other) / union) if union else 0.0


def load_crops(
    manifest: Manifest,
    *,
    reader: ShardReader,
    rows: Sequence[int],
    frame_stride: int,
    corrupt: list[str],
) -> Iterator[Crop]:
    """Decode images, and every `frame_stride`-th frame of tracklets, of the given rows.

    Args:
        manifest: records of the source.
        reader: its shards.
        rows: rows of the manifest.
        frame_stride: step through a tracklet, from its first frame.
        corrupt: receives the name of each record with a frame that cannot be decoded; such a frame
            is left out.
    """
    for row in rows:
        record = manifest[row]
        damaged = False
        for position in range(0, record.num_frames, frame_stride):
            data = reader.read(record.shard, record.offsets[position], record.lengths[position])
            try:
                image = decode_image(data, name=record.record_id)
            except CorruptImageError:
                damaged = True
                continue
            path, frame = record.get_raw_frame(position)
            yield Crop(
                image=image,
                record_id=record.record_id,
                position=position,
                path=path,
                frame=frame,
                box=record.boxes[position],
            )
        if damaged:
            corrupt.append(record.record_id)
