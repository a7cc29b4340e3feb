"""The index files of MARS (liangzheng06/MARS-evaluation, `info`): tracks, queries, names."""

import struct
import zlib
from pathlib import Path

import numpy as np

from vills.data.layouts.base import LayoutError
from vills.data.layouts.listing import MAX_NUMBER

_REMEDY = "What to do: take all files of info from one release of MARS-evaluation."


def load_rows(path: Path, key: str) -> np.ndarray:
    """int64 [n, 4] rows (start, end, pid, camera); start and end count from 1, inclusive.

    Raises:
        LayoutError: if the file is no such table, a track has no frame, or two share one.
    """
    rows = _load(path, key)
    if rows.ndim != 2 or rows.shape[1] != 4 or len(rows) == 0:
        raise LayoutError(f"mars: {path} holds a table of {rows.shape}, expected rows of 4")
    start, end, pid, camera = rows.T
    bad = (start < 1) | (end < start) | (pid < -1) | (pid > MAX_NUMBER) | (camera < 1)
    if bad.any():
        number = int(bad.argmax())
        raise LayoutError(
            f"mars: track {number + 1} of {path} is (start, end, person, camera) = "
            f"{tuple(rows[number].tolist())}: a track without frames, or no person. {_REMEDY}"
        )
    order = np.argsort(start, kind="stable")
    shared = start[order][1:] <= end[order][:-1]
    if shared.any():
        at = int(shared.argmax())
        pair = sorted((int(order[at]) + 1, int(order[at + 1]) + 1))
        raise LayoutError(f"mars: tracks {pair[0]} and {pair[1]} of {path} share frames. {_REMEDY}")
    return rows


def load_queries(path: Path, *, num_tracks: int) -> set[int]:
    """Query tracks as indices from 0 into the test tracks.

    Raises:
        LayoutError: if an index lies outside, or is there twice.
    """
    # stored as uint16 counted from 1: subtracting in place would wrap a 0 around
    queries = _load(path, "query_IDX").ravel() - 1
    if queries.size == 0 or queries.min() < 0 or queries.max() >= num_tracks:
        raise LayoutError(
            f"mars: {path} points outside the {num_tracks} test tracks, or nowhere. {_REMEDY}"
        )
    chosen = set(queries.tolist())
    if len(chosen) != queries.size:
        raise LayoutError(
            f"mars: {path} names {queries.size - len(chosen)} queries twice. {_REMEDY}"
        )
    return chosen


def load_names(path: Path, rows: np.ndarray) -> list[str]:
    """File names that rows index (the official files end lines by CRLF).

    Raises:
        LayoutError: if it is no text, has a name twice, or a row points beyond it.
    """
    try:
        names = path.read_bytes().decode("utf-8-sig").split()
    except UnicodeDecodeError as error:
        raise LayoutError(
            f"mars: {path} is not plain text ({error.reason} at byte {error.start}). {_REMEDY}"
        ) from error
    if len(names) < rows[:, 1].max():
        raise LayoutError(
            f"mars: the tracks reach name {rows[:, 1].max()}, but {path} has {len(names)}. "
            f"{_REMEDY}"
        )
    if len(set(names)) != len(names):
        ordered = sorted(names)
        twice = next(a for a, b in zip(ordered, ordered[1:], strict=False) if a == b)
        raise LayoutError(f"mars: {path} has {twice} twice. {_REMEDY}")
    return names


def _load(path: Path, key: str) -> np.ndarray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    # what scipy raises at a damaged file depends on the byte where it breaks off
    damage = (
        MatReadError,
        NotImplementedError,
        ValueError,
        TypeError,
        OSError,
        IndexError,
        KeyError,
        MemoryError,
        OverflowError,
        struct.error,
        zlib.error,
    )
    try:
        content = loadmat(path, variable_names=[key])
    except damage as error:
        raise LayoutError(
            f"mars: {path} is no MATLAB 5 file, or is cut off ({type(error).__name__}: {error}). "
            f"{_REMEDY}"
        ) from error
    if key not in content:
        raise LayoutError(f"mars: {path} has no variable {key}. {_REMEDY}")
    values = np.asarray(content[key])
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all() or (values % 1).any():
        raise LayoutError(f"mars: {key} of {path} holds no whole numbers. {_REMEDY}")
    return values.astype(np.int64)
