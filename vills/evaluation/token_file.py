"""Files of `vills extract`: features, their parts, and what they are.

Legend: n rows, D feature width.
"""

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vills.errors import InputError

SUFFIXES = (".parquet", ".npz")
ABOUT = "about"
"""Name under which a file says what its features are, as JSON of texts."""
NAMES = ("model", "modality", "neck", "flip", "pooling", "clips", "size", "resize", "norm")
"""What it says, see `vills.evaluation.media_features`."""
_ROW_GROUP = 4096
UNREADABLE = (
    *(ValueError, OSError, EOFError, KeyError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
)
"""What NumPy and zipfile raise on archives that are cut, damaged, encrypted or packed oddly."""


def save_tokens(
    path: Path,
    rows: Iterable[dict[str, object]],
    *,
    roles: Sequence[str],
    about: Mapping[str, str],
    kind: str,
) -> None:
    """Stream rows of features to parquet, or gather them for an npz.

    Columns: path, kind, num_frames, one list per role, feature; the last two are float32 arrays
    [D] or None. A role that a row lacks (temporal of an image, an untrained area) is null; in an
    npz, which has no null, it is NaN, and the feature of an image ends in NaN where a video's has
    its temporal token.

    Args:
        path: file to write.
        rows: see above.
        roles: names of the parts of a feature.
        about: what the features are, kept as JSON: parquet's metadata, or an array of the npz,
            under the name `about`.
        kind: .parquet or .npz.
    """
    told = json.dumps(dict(about))
    heads = {"path": pa.string(), "kind": pa.string(), "num_frames": pa.int32()}
    columns = {**heads, **dict.fromkeys((*roles, "feature"), pa.list_(pa.float32()))}
    schema = pa.schema(columns, metadata={ABOUT: told})
    if kind == ".parquet":
        stream = iter(rows)
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            while group := list(islice(stream, _ROW_GROUP)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
        return
    held = list(rows)
    with zipfile.ZipFile(path, "w") as archive:
        arrays = {ABOUT: np.array(told)}
        for name in schema.names:
            values = [row[name] for row in held]
            if name in heads:
                arrays[name] = np.array(values, np.int32 if name == "num_frames" else np.str_)
            else:
                arrays[name] = _stack(values)
        for name, array in arrays.items():
            # a ZipInfo of our own has no time of today, unlike those of numpy.savez
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def load_about(path: Path) -> dict[str, str]:
    """Load what a file of `vills extract` says of itself; other files say nothing.

    Raises:
        InputError: it is damaged.
    """
    try:
        if path.suffix == ".parquet":
            content = json.loads((pq.read_schema(path).metadata or {})[ABOUT.encode()])
        else:
            with np.load(path, allow_pickle=False) as archive:
                content = json.loads(str(archive[ABOUT]))
    except (KeyError, ValueError):  # nothing, or somebody else's word of the same name
        return {}
    except UNREADABLE as error:
        raise InputError(
            f"{path.name}: what it says of its features is damaged ({error}). What to do: copy the "
            "file again, or extract the features again."
        ) from error
    ours = isinstance(content, dict) and content.keys() >= {*NAMES}
    return {str(key): str(value) for key, value in content.items()} if ours else {}


def render_about(about: Mapping[str, str]) -> str:
    """Say in one line what features are; empty of a file that does not say."""
    if not about:
        return ""
    neck = "no neck" if about["neck"] == "-" else f"{about['neck']} the neck"
    clips = "frame by frame" if about["clips"] == "none" else f"in clips, {about['clips']}"
    return (
        f"features of {about['model']} ({about['modality']}): {neck}, flip {about['flip']}, "
        f"pictures of {about['size']} px, videos {clips}, pooled by {about['pooling']}, norm "
        f"{about['norm']}"
    )


def parse_choices(about: Mapping[str, str]) -> dict[str, Any]:
    """Parse the choices that were made when features were computed, as `ProtocolSettings` has them.

    Empty for files that do not say; a model without a neck has no choice of it.
    """
    found: dict[str, Any] = {}
    if about.get("neck") in ("before", "after"):
        found["neck"] = about["neck"]
    if about.get("flip") in ("on", "off"):
        found["flip"] = about["flip"] == "on"
    return found


def _stack(values: Sequence[object]) -> np.ndarray:
    """Stack vectors of several widths, or None, as rows that end in NaN; [n, 0] if all are None."""
    vectors = [np.zeros(0, np.float32) if value is None else np.asarray(value) for value in values]
    stacked = np.full((len(vectors), max(map(len, vectors), default=0)), np.nan, np.float32)
    for row, vector in zip(stacked, vectors, strict=True):
        row[: len(vector)] = vector
    return stacked
