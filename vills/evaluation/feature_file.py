"""Files of features: parquet or npz whose bytes depend on the features alone.

Legend: n entries, D token width, W feature width.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vills.config.checks import ConfigError
from vills.data.files import save_table
from vills.io import atomic_path

SUFFIXES = (".parquet", ".npz")
ROW_GROUP = 4096
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip member can carry


def check_suffix(path: Path) -> None:
    """Refuse other formats before any work is done.

    Raises:
        ConfigError: naming those that exist.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"out = {path.name!r} is not allowed. Allowed: a name that ends in "
            f"{' or '.join(SUFFIXES)}. What to do: choose one of them."
        )


def save_feature_table(
    path: Path, *, ids: Sequence[str], frames: np.ndarray, features: np.ndarray
) -> None:
    """Write features [n, W] in record order: columns record_id, frame (-1: all of it), feature."""
    flat = pa.array(np.ascontiguousarray(features, np.float32).ravel())
    columns = {
        "record_id": pa.array(list(ids), pa.string()),
        "frame": pa.array(frames, pa.int32()),
        "feature": pa.FixedSizeListArray.from_arrays(flat, features.shape[1]),
    }
    save_table(path, pa.table(columns))


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz; unlike numpy.savez, members carry no time whatever the Python."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


class TokenWriter:
    """Streams rows of tokens to parquet, or gathers them for an npz.

    Columns: path, kind, num_frames, one list per role, feature. A role that an entry lacks
    (temporal of an image, an untrained area) is null; in an npz, which has no null, it is NaN, and
    the feature of an image ends in NaN where a video's has its temporal token.
    """

    def __init__(self, path: Path, *, roles: Sequence[str], parquet: bool) -> None:
        self._roles = (*roles, "feature")
        self._rows: list[dict[str, object]] = []
        self._parquet: pq.ParquetWriter | None = None
        if parquet:
            tokens = [(name, pa.list_(pa.float32())) for name in self._roles]
            head = [("path", pa.string()), ("kind", pa.string()), ("num_frames", pa.int32())]
            self._schema = pa.schema([*head, *tokens])
            self._parquet = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._path = path

    def add(self, row: dict[str, object]) -> None:
        """Append an entry; its role values are float32 arrays [D] or None."""
        self._rows.append(row)
        if self._parquet is not None and len(self._rows) >= ROW_GROUP:
            self._flush(self._parquet)

    def close(self) -> None:
        """Write what is left."""
        if self._parquet is None:
            save_arrays(self._path, self._gather())
            return
        self._flush(self._parquet)
        self._parquet.close()

    def _flush(self, parquet: pq.ParquetWriter) -> None:
        if self._rows:
            parquet.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def _gather(self) -> dict[str, np.ndarray]:
        arrays = {
            "path": np.array([row["path"] for row in self._rows], dtype=np.str_),
            "kind": np.array([row["kind"] for row in self._rows], dtype=np.str_),
            "num_frames": np.array([row["num_frames"] for row in self._rows], dtype=np.int32),
        }
        for name in self._roles:
            arrays[name] = _stack([row[name] for row in self._rows])
        return arrays


def _stack(values: Sequence[object]) -> np.ndarray:
    """Vectors of several widths, or None, as rows that end in NaN; [n, 0] if all are None."""
    vectors = [np.zeros(0, np.float32) if value is None else np.asarray(value) for value in values]
    stacked = np.full((len(vectors), max(map(len, vectors), default=0)), np.nan, np.float32)
    for row, vector in zip(stacked, vectors, strict=True):
        row[: len(vector)] = vector
    return stacked
