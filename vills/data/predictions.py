"""What detectors and parsers said about raw files, supplied with the data.

Legend: n people, 17 COCO keypoints, H x W pixels of the image or frame.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vills.areas import NUM_KEYPOINTS
from vills.data.files import list_files, read_table
from vills.data.images import decode_rle
from vills.data.spelling import describe_spelling
from vills.errors import UserError

FOLDER = "predictions"
_CHECKED = 100
"""Paths that are looked for among the raw files."""
DETECTIONS_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("frame", pa.int32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("score", pa.float32()),
        ("keypoints", pa.list_(pa.float32())),
    ]
)
PARSING_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("frame", pa.int32()),
        ("area", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("counts", pa.binary()),
    ]
)


class PredictionsError(UserError, ValueError):
    """Supplied predictions cannot be used; says which and what to do."""


class Detections(NamedTuple):
    """People of one image or frame."""

    boxes: np.ndarray
    """float32 [n, 4], (x1, y1, x2, y2) px."""
    scores: np.ndarray
    """float32 [n]."""
    keypoints: np.ndarray
    """float32 [n, 17, 3], (x, y, score) px; all zero where none were predicted."""


class FrameRows:
    """Rows of a table by (path, frame)."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table.sort_by([("path", "ascending"), ("frame", "ascending")]).combine_chunks()
        encoded = pc.run_end_encode(self.table["path"].combine_chunks())
        ends = encoded.run_ends.to_pylist()
        starts = [0, *ends[:-1]]
        names = encoded.values.to_pylist()
        self._spans = dict(zip(names, zip(starts, ends, strict=True), strict=True))
        self._frames = self.table["frame"].to_numpy()

    def find(self, path: str, frame: int) -> slice:
        """Return the rows of a frame; none if there is no such frame."""
        start, end = self._spans.get(path, (0, 0))
        low, high = np.searchsorted(self._frames[start:end], [frame, frame + 1])
        return slice(start + int(low), start + int(high))

    def stack_boxes(self) -> np.ndarray:
        """Return the boxes of all rows, [rows, 4]."""
        return np.stack([self.table[name].to_numpy() for name in ("x1", "y1", "x2", "y2")], axis=1)


class Predictions(FrameRows):
    """Detections of a data set."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__(table)
        self._boxes, self._scores = self.stack_boxes(), self.table["score"].to_numpy()

    def lookup(self, path: str, frame: int = 0) -> Detections:
        """People of `frame` (0 for images) of the raw file `path`; empty if none were found."""
        rows = self.find(path, frame)
        keypoints = np.zeros((rows.stop - rows.start, NUM_KEYPOINTS, 3), dtype=np.float32)
        for i, flat in enumerate(self.table["keypoints"][rows.start : rows.stop].to_pylist()):
            if flat is not None:
                keypoints[i] = np.asarray(flat, dtype=np.float32).reshape(NUM_KEYPOINTS, 3)
        return Detections(self._boxes[rows], self._scores[rows], keypoints)


class Parsing(FrameRows):
    """Label maps of a data set."""

    def lookup(self, path: str, frame: int = 0) -> dict[str, np.ndarray]:
        """Area -> bool [H, W] over the whole frame, all people together; empty if unknown."""
        rows = self.find(path, frame)
        part = self.table.slice(rows.start, rows.stop - rows.start).to_pylist()
        return {r["area"]: decode_rle(r["counts"], r["height"], r["width"]) for r in part}


def load_predictions(root: Path) -> Predictions | None:
    """Return detections below `root`, if the data set has any.

    Raises:
        PredictionsError: if the file has other columns, or no path as files are named.
    """
    table = _load(root / FOLDER / "detections.parquet", DETECTIONS_SCHEMA)
    return None if table is None else Predictions(table)


def load_parsing(root: Path) -> Parsing | None:
    """Return parsing maps below `root`, if the data set has any.

    Raises:
        PredictionsError: if the file has other columns, or no path as files are named.
    """
    table = _load(root / FOLDER / "parsing.parquet", PARSING_SCHEMA)
    return None if table is None else Parsing(table)


def _load(path: Path, schema: pa.Schema) -> pa.Table | None:
    if not path.exists():
        return None
    table = read_table(path, remedy="copy it again, or write it again")
    missing = [name for name in schema.names if name not in table.schema.names]
    if missing:
        raise PredictionsError(
            f"{path} has no column {missing}. Allowed: {', '.join(schema.names)}. What to do: "
            "rename its columns, or write it again."
        )
    _check_paths(path, pc.unique(table["path"]).to_pylist())
    return table.select(schema.names).cast(schema)


def _check_paths(path: Path, names: Sequence[str]) -> None:
    """Refuse paths that mean raw files but are spelt otherwise: nobody would be found anywhere."""
    root = path.parent.parent
    some = names[:: len(names) // _CHECKED + 1]
    if not some or any((root / name).exists() for name in some):
        return
    if alike := describe_spelling(some, list_files(root)):
        raise PredictionsError(
            f"{path} has no path that is a file below {root}.{alike} Allowed: paths below that "
            "folder with slashes, as files are named there. What to do: write its paths again."
        )
