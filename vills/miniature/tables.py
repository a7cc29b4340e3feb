"""The parquet files beside the pictures: fixed columns, sorted rows, same rows same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vills.areas import AREAS
from vills.miniature.files import replace_atomically

Row = dict[str, Any]

_BOX = [(name, pa.float32()) for name in ("x1", "y1", "x2", "y2")]

SCHEMAS: Mapping[str, pa.Schema] = {
    "truth": pa.schema(
        [
            ("path", pa.string()),
            ("frame", pa.int32()),
            ("person", pa.int32()),
            ("outfit", pa.int32()),
            *_BOX,
            ("visible", pa.float32()),
            ("keypoints", pa.list_(pa.float32())),
            *((f"mask_{area}", pa.binary()) for area in AREAS),
            ("height", pa.int32()),
            ("width", pa.int32()),
        ]
    ),
    "detections": pa.schema(
        [
            ("path", pa.string()),
            ("frame", pa.int32()),
            *_BOX,
            ("score", pa.float32()),
            ("keypoints", pa.list_(pa.float32())),
        ]
    ),
    "parsing": pa.schema(
        [
            ("path", pa.string()),
            ("frame", pa.int32()),
            ("area", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("counts", pa.binary()),
        ]
    ),
}


def write_table(path: Path, name: str, tables: Sequence[pa.Table]) -> None:
    """Write the rows of `tables` of kind `name`, sorted by path and frame."""
    table = pa.concat_tables([SCHEMAS[name].empty_table(), *tables])
    # Sorting is stable: persons and areas of a frame keep the order they were found in.
    order = pc.sort_indices(
        table.append_column("row", pa.array(range(len(table)), pa.int64())),
        sort_keys=[("path", "ascending"), ("frame", "ascending"), ("row", "ascending")],
    )
    with replace_atomically(path) as temporary:
        pq.write_table(table.take(order), temporary, compression="zstd")


def build_table(name: str, rows: Sequence[Row]) -> pa.Table:
    """Return rows of kind `name` as a table."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMAS[name])
