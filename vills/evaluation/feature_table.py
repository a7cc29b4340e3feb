"""Features as a file, a path and a vector per row, read from anyone.

Legend: n rows, D feature width.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vills.data.files import check_size
from vills.errors import UserError
from vills.evaluation.distance import FloatArray
from vills.evaluation.token_file import SUFFIXES, UNREADABLE, load_about
from vills.inputs import check_memory, open_input

WHOLE = -1
"""In `frame`: the row is of the whole image, tracklet or video."""
NUM_NAMED = 5
ALIKE = 0.9999
"""Mean cosine of two rows above which a note says that the features hardly differ."""
_CHUNK = 8192
_SMALLEST, _LARGEST = 2.0**-149, float(np.finfo(np.float32).max)
"""Of what float32 can hold, and squares in float64 too."""
_TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())

Columns = tuple[list[str], FloatArray, NDArray[np.int64] | None]
"""Paths, features, frames: see `FeatureTable`."""


class FeatureFileError(UserError, ValueError):
    """The features cannot be used as they are; says which and what to do."""


@dataclass(frozen=True)
class FeatureTable:
    """Rows of the file, checked."""

    paths: list[str]
    """[n] as they are written, without `./`."""
    features: FloatArray
    """[n, D], finite."""
    frames: NDArray[np.int64] | None
    """[n] place in the tracklet, from 0; WHOLE: all of it. None: the file does not say."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What the features are: neck, flip, pooling and so on. Empty: the file does not say."""

    def name(self, row: int) -> str:
        """Name a row for a message."""
        frame = WHOLE if self.frames is None else int(self.frames[row])
        return self.paths[row] if frame == WHOLE else f"{self.paths[row]} frame {frame}"


def describe_directions(table: FeatureTable) -> list[str]:
    """Say what no ranking can use: features without a direction, or all with the same one."""
    zeros, notes = np.flatnonzero(~table.features.any(axis=1)), []
    if len(zeros):  # without a direction they are equally far (cosine) from everything
        names = list_names([table.name(int(row)) for row in zeros])
        notes.append(f"{len(zeros):,} features are all zeros: {names}")
    # the squared length of the mean direction is the mean cosine of two rows
    total = np.zeros(table.features.shape[1])
    for first in range(0, len(table.paths), _CHUNK):
        rows = table.features[first : first + _CHUNK].astype(np.float64)
        total += (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SMALLEST)).sum(0)
    cosine = float(np.square(total / len(table.paths)).sum())
    if len(table.paths) > 1 and cosine > ALIKE:
        notes.append(
            f"the features hardly differ: the mean cosine of two rows is {cosine:.6f}. The model "
            "may have collapsed, or its pixels are not what it was trained with"
        )
    return notes


def load_feature_table(path: Path, *, column: str = "feature") -> FeatureTable:
    """Read and check a feature file.

    Args:
        path: an .npz with arrays `path` [n] (text), `column` [n, D] (floating point) and, if need
            be, `frame` [n] (whole numbers); or a .parquet with columns of these names, the
            features as lists. Other arrays and columns are passed over.
        column: name of the features (`vills extract` writes coarse, temporal and others too).

    Raises:
        FeatureFileError: no such file, another format, missing or wrong columns, no row, features
            of several sizes or not finite, an empty path, a row twice.
    """
    if not path.is_file():
        kind = "regular file" if path.exists() else "file"
        raise FeatureFileError(f"no {kind} {path}. What to do: check the path.")
    if path.suffix not in SUFFIXES:
        raise FeatureFileError(
            f"{path.name} has an unknown format. Allowed: names that end in "
            f"{' or '.join(SUFFIXES)}. What to do: save the features as one of them."
        )
    load = _load_parquet if path.suffix == ".parquet" else _load_npz
    paths, features, frames = load(path, column)
    if not paths:
        raise FeatureFileError(f"{path.name} has no rows. What to do: extract the features again.")
    if features.shape[1] == 0:
        raise FeatureFileError(f"{path.name}: features of length 0. What to do: extract again.")
    if not all(paths):
        raise FeatureFileError(f"{path.name}: a path is empty. What to do: correct the file.")
    names = [posixpath.normpath(name) for name in paths]
    table = FeatureTable(names, features, frames, load_about(path))
    _check_rows(table, path.name, column)
    return table


def list_names(names: Sequence[str]) -> str:
    """List the first names, and how many there are beside them."""
    more = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _load_npz(path: Path, column: str) -> Columns:
    try:
        with open_input(path) as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FeatureFileError(
                    f"{path.name} holds a single array. Allowed: an .npz of named arrays. What to "
                    f"do: np.savez(file, path=paths, {column}=features)."
                )
            assert archive.zip is not None
            check_memory(sum(part.file_size for part in archive.zip.infolist()), path)
            _check_columns(path.name, list(archive), column)
            names, features = archive["path"], archive[column]
            frames = archive.get("frame")
    except UNREADABLE as error:
        if isinstance(error, FeatureFileError):
            raise
        pickled = "pickle" in str(error)
        hint = "; objects are never unpickled, so save text as text" if pickled else ""
        raise FeatureFileError(
            f"{path.name} cannot be read as .npz ({error}){hint}. What to do: write it again with "
            f"np.savez(file, path=np.array(paths, dtype=str), {column}=features)."
        ) from error
    if names.dtype.kind == "S":
        names = _decode(names, path.name)
    if names.dtype.kind != "U" or names.ndim != 1:
        raise _refuse_type(path.name, "path", f"{names.dtype} {names.shape}", "text [n]")
    if features.dtype.kind != "f" or features.ndim != 2:
        found = f"{features.dtype} {features.shape}"
        raise _refuse_type(path.name, column, found, "floating point [n, D]")
    if frames is not None and (frames.dtype.kind not in "iu" or frames.ndim != 1):
        raise _refuse_type(path.name, "frame", f"{frames.dtype} {frames.shape}", "integers [n]")
    lengths = {len(array) for array in (names, features, frames) if array is not None}
    if len(lengths) != 1:
        raise FeatureFileError(
            f"{path.name}: arrays of {sorted(lengths)} rows. Allowed: the same number of rows in "
            "all. What to do: save a path and a feature for each row."
        )
    whole = None if frames is None else frames.astype(np.int64)
    return names.tolist(), _convert(features), whole


def _load_parquet(path: Path, column: str) -> Columns:
    try:
        schema = pq.read_schema(path)
        _check_columns(path.name, schema.names, column)
        wanted = ["path", column, *(["frame"] if "frame" in schema.names else [])]
        check_size(path, wanted)
        table = pq.read_table(path, columns=wanted).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise FeatureFileError(
            f"{path.name} cannot be read as parquet ({error}). What to do: write it again."
        ) from error
    for name in wanted:
        if table.column(name).null_count:
            raise FeatureFileError(
                f"{path.name}: {table.column(name).null_count:,} of {table.num_rows:,} values of "
                f"{name!r} are null. What to do: remove those rows, or choose another column "
                "with --column."
            )
    kind = table.schema.field("path").type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if kind not in _TEXTS:
        raise _refuse_type(path.name, "path", str(kind), "string")
    try:
        names = table.column("path").cast(pa.string()).to_pylist()
    except pa.ArrowException as error:
        raise _refuse_type(path.name, "path", f"{kind} ({error})", "text in UTF-8") from error
    features = _to_matrix(path.name, table.column(column), column)
    if "frame" not in wanted:
        return names, features, None
    if not pa.types.is_integer(table.schema.field("frame").type):
        raise _refuse_type(path.name, "frame", str(table.schema.field("frame").type), "integer")
    return names, features, np.asarray(table.column("frame").to_numpy()).astype(np.int64)


def _to_matrix(file: str, chunked: pa.ChunkedArray, column: str) -> FloatArray:
    kind = chunked.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (lists or pa.types.is_fixed_size_list(kind)) or not pa.types.is_floating(
        kind.value_type
    ):
        raise _refuse_type(file, column, str(kind), "list<float>")
    sizes = sorted(pc.unique(pc.list_value_length(chunked)).to_pylist()) or [0]
    if len(sizes) != 1:
        raise FeatureFileError(
            f"{file}: features of lengths {', '.join(map(str, sizes))} in {column!r}. "
            "Allowed: one length for all. What to do: give images and tracklets the same features; "
            "in files of `vills extract` both have --column coarse."
        )
    return _convert(pc.list_flatten(chunked).to_numpy().reshape(len(chunked), sizes[0]))


def _convert(features: np.ndarray) -> FloatArray:
    """Keep float32 and float64; half precision becomes the one, anything longer the other."""
    kept = np.float32 if features.dtype.itemsize <= 4 else np.float64
    with np.errstate(over="ignore"):  # what becomes inf is refused
        return np.ascontiguousarray(features, dtype=kept)


def _check_columns(file: str, names: Sequence[str], column: str) -> None:
    if column in ("path", "frame"):
        raise FeatureFileError(
            f"--column {column} is not allowed: {column} says what a row describes. Allowed: the "
            "name of the features. What to do: give their name."
        )
    missing = [name for name in ("path", column) if name not in names]
    if missing:
        raise FeatureFileError(
            f"{file} has no {' and no '.join(missing)}; it has {', '.join(names) or 'nothing'}. "
            f"Allowed: path, {column} and, if needed, frame. What to do: rename its parts, or name "
            "the features with --column."
        )


def _refuse_type(file: str, name: str, found: str, allowed: str) -> FeatureFileError:
    return FeatureFileError(
        f"{file}: {name} is {found}. Allowed: {allowed}. What to do: convert it before saving."
    )


def _decode(names: np.ndarray, file: str) -> np.ndarray:
    try:
        return np.char.decode(names, "utf-8")
    except UnicodeDecodeError as error:
        raise _refuse_type(file, "path", f"bytes ({error})", "text in UTF-8") from error


def _check_rows(table: FeatureTable, file: str, column: str) -> None:
    """Refuse frames before the first, features that are not finite, and rows of the same."""
    if table.frames is not None and table.frames.min() < WHOLE:
        row = int(np.argmin(table.frames))
        raise FeatureFileError(
            f"{file}: frame {table.frames[row]} of {table.paths[row]}. Allowed: the frame's index "
            f"in the tracklet, from 0, or {WHOLE} for the whole tracklet. What to do: correct it."
        )
    names = [table.name(row) for row in range(len(table.paths))]
    bad = np.flatnonzero(~np.isfinite(table.features).all(axis=1))
    if len(bad):
        raise FeatureFileError(
            f"{file}: {len(bad):,} of {len(names):,} rows of {column!r} hold NaN or inf: "
            f"{list_names([names[row] for row in bad])}. What to do: extract them again, or remove "
            "those rows and give --allow-missing, which counts them. (An npz of `vills extract` "
            "that holds images and videos pads with NaN: choose --column coarse.)"
        )
    largest = np.maximum(table.features.max(axis=1), -table.features.min(axis=1))
    bad = np.flatnonzero((largest > _LARGEST) | ((largest > 0) & (largest < _SMALLEST)))
    if len(bad):
        raise FeatureFileError(
            f"{file}: {len(bad):,} of {len(names):,} rows of {column!r} are beyond the range of "
            f"distances: {list_names([names[row] for row in bad])} (largest value "
            f"{largest[bad[0]]:g}). Allowed: {_SMALLEST:.1e} to {_LARGEST:.1e}, or all zeros. What "
            "to do: scale the features, or extract them again."
        )
    first = {name: row for row, name in reversed([*enumerate(names)])}
    twice = [name for row, name in enumerate(names) if first[name] != row]
    if twice:
        raise FeatureFileError(
            f"{file}: {len(twice):,} rows occur twice: {list_names(twice)}. What to do: keep one "
            "row per path (for the frames of a tracklet: the path of each frame, or column frame)."
        )
