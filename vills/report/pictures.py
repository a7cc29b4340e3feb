"""Pictures of crops: read from a curated source, set beside and below each other, written.

Shapes: H, W of a picture, RGB uint8 [H, W, 3].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.data.images import decode_curated, encode_jpeg
from vills.data.records import Manifest, load_manifest
from vills.data.shards import ShardReader
from vills.io import open_atomic

Picture = NDArray[np.uint8]
T = TypeVar("T")
GAP = 6
QUALITY = 88


class CropReader:
    """The middle frame of any record of a curated source, by its id."""

    def __init__(self, curated: Path) -> None:
        """Open the source in folder `curated`."""
        self.manifest: Manifest = load_manifest(curated / "manifest.parquet")
        self._reader = ShardReader(curated)
        ids = self.manifest.column("record_id")
        self._rows = {str(name): row for row, name in enumerate(ids)}

    def read_frames(self, record_id: str) -> list[Picture]:
        """Read all frames of a record."""
        num_frames = self.manifest[self._rows[record_id]].num_frames
        return [self.read(record_id, frame) for frame in range(num_frames)]

    def read(self, record_id: str, frame: int = -1) -> Picture:
        """Read one frame; -1: that in the middle."""
        record = self.manifest[self._rows[record_id]]
        place = record.num_frames // 2 if frame < 0 else frame
        data = self._reader.read(record.shard, record.offsets[place], record.lengths[place])
        return decode_curated(data, name=record_id)


def select_evenly(items: Sequence[T], count: int) -> list[T]:
    """Pick `count` items spread evenly from the first to the last, or all there are."""
    places = np.linspace(0, len(items) - 1, count).tolist() if items else list[float]()
    return [items[i] for i in sorted({round(place) for place in places})]


def render_row(pictures: Sequence[Picture]) -> Picture:
    """Set pictures side by side, a gap between them."""
    return render_stack(pictures, axis=1)[:, :-GAP]


def render_stack(pictures: Sequence[Picture], *, axis: int = 0, gap: int = GAP) -> Picture:
    """Set pictures beside (axis 1) or below (axis 0) each other, on white, a gap after each."""
    other = 1 - axis
    length = max(picture.shape[other] for picture in pictures)
    padded = []
    for picture in pictures:
        border = [(0, 0), (0, 0), (0, 0)]
        border[other] = (0, length - picture.shape[other])
        border[axis] = (0, gap)
        padded.append(np.pad(picture, border, constant_values=255))
    return np.concatenate(padded, axis=axis)


def encode_picture(picture: Picture) -> bytes:
    """Encode many crops as JPEG: as PNG, a report of six data sets would have 24 MB."""
    return encode_jpeg(picture, QUALITY)


def save_sheet(path: Path, sheet: Picture) -> None:
    """Write a contact sheet as PNG."""
    done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert done
    with open_atomic(path) as temporary:
        temporary.write_bytes(data.tobytes())
