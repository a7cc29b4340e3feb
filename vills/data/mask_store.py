"""The LSE cache of a source: area masks by record id and frame.

Legend: H x W pixels of a crop. `frame` is the position in the tracklet, 0 for images.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vills.areas import AREAS
from vills.data.files import read_table, save_table
from vills.data.images import decode_rle, encode_rle, find_box

REMEDY = "run the lse stage again"
SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("frame", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("counts", pa.binary()),
        ("score", pa.float32()),
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("x2", pa.int32()),
        ("y2", pa.int32()),
    ]
)


MaskRow = dict[str, Any]
"""Mask of one area of one frame of a record, by the names of `SCHEMA`.

counts: COCO compressed run lengths. score: of the segmenter. x1, y1, x2, y2: tight box, px; x2 and
y2 are outside.
"""


def build_mask_row(mask: np.ndarray, *, record_id: str, frame: int, score: float) -> MaskRow:
    """Return a row of bool [H, W].

    Raises:
        ValueError: if the mask is empty: a missing area has no row.
    """
    if not mask.any():
        raise ValueError(f"the mask of {record_id} frame {frame} is empty")
    height, width = mask.shape
    values = (record_id, frame, height, width, encode_rle(mask), score, *find_box(mask))
    return dict(zip(SCHEMA.names, values, strict=True))


def get_mask_path(folder: Path, area: str) -> Path:
    """File of an area's masks."""
    return folder / f"masks_{area}.parquet"


def build_mask_table(rows: Iterable[MaskRow]) -> pa.Table:
    """Rows as a table of `SCHEMA`, in the given order."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def save_mask_table(path: Path, table: pa.Table) -> None:
    """Write masks sorted by record id and frame.

    Raises:
        ValueError: if a frame of a record occurs twice.
    """
    table = table.sort_by([("record_id", "ascending"), ("frame", "ascending")]).combine_chunks()
    ids, frames = table["record_id"].to_numpy(), table["frame"].to_numpy()
    twice = np.flatnonzero((ids[1:] == ids[:-1]) & (frames[1:] == frames[:-1]))
    if len(twice):
        raise ValueError(f"two masks of {ids[twice[0]]} frame {frames[twice[0]]} in {path.name}")
    save_table(path, table)


class _AreaMasks:
    def __init__(self, table: pa.Table) -> None:
        # fixed-width ids: 4 M records take tens of MB, and a search makes no Python object
        self.ids = np.array(table["record_id"].to_numpy(), dtype=np.bytes_)
        self.frames = table["frame"].to_numpy()
        self.sizes = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1)
        self.scores = table["score"].to_numpy()
        self.counts = table["counts"].combine_chunks()

    def span(self, record_id: str) -> tuple[int, int]:
        key = record_id.encode()
        # a key longer than the column is cut by numpy and could match by mistake
        if len(key) > self.ids.dtype.itemsize:
            return 0, 0
        low, high = (self.ids.searchsorted(key, side=side) for side in ("left", "right"))
        return int(low), int(high)


class MaskStore:
    """Masks of a source.

    Raises:
        FileNotFoundError: if an area's file is missing.
        InputError: if it is damaged.
    """

    def __init__(self, folder: Path, *, areas: Sequence[str] = AREAS) -> None:
        self._areas: dict[str, _AreaMasks] = {}
        for area in areas:
            path = get_mask_path(folder, area)
            if not path.is_file():
                raise FileNotFoundError(f"no masks at {path}. What to do: {REMEDY}.")
            table = read_table(path, remedy=REMEDY, is_full=True, schema=SCHEMA)
            self._areas[area] = _AreaMasks(table.combine_chunks())

    def cached_frames(self, record_id: str) -> np.ndarray:
        """int64, sorted: positions of a record that have a mask of any of the areas."""
        found = [np.zeros(0, dtype=np.int64)]
        for masks in self._areas.values():
            low, high = masks.span(record_id)
            found.append(masks.frames[low:high].astype(np.int64))
        return np.unique(np.concatenate(found))

    def load(self, record_id: str, frame: int, area: str) -> tuple[np.ndarray, float] | None:
        """(bool [H, W], score), or None if the area is missing."""
        masks = self._areas[area]
        low, high = masks.span(record_id)
        row = low + int(np.searchsorted(masks.frames[low:high], frame))
        if row == high or masks.frames[row] != frame:
            return None
        height, width = masks.sizes[row].tolist()
        return decode_rle(masks.counts[row].as_py(), height, width), float(masks.scores[row])
