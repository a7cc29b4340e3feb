"""MARS: `bbox_train`, `bbox_test` and the index files of MARS-evaluation in `info`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vills.data.layouts.base import Layout, LayoutError, RawTracklet, Stream, find_root

_NEEDED = (
    "bbox_train",
    "bbox_test",
    "info/train_name.txt",
    "info/test_name.txt",
    "info/tracks_train_info.mat",
    "info/tracks_test_info.mat",
    "info/query_IDX.mat",
)


def read(root: Path) -> Layout:
    """Tracklets: split query for those of query_IDX, gallery for the rest of bbox_test."""
    base = find_root(root, nested=("mars", "MARS"), needed=_NEEDED, name="mars")
    prefix = "" if base == root else base.relative_to(root).as_posix() + "/"
    info = base / "info"
    train_rows = load_rows(info / "tracks_train_info.mat", "track_train_info")
    test_rows = load_rows(info / "tracks_test_info.mat", "track_test_info")
    queries = load_queries(info / "query_IDX.mat", num_tracks=len(test_rows))
    splits = ["query" if number in queries else "gallery" for number in range(len(test_rows))]

    def tracklets() -> Iterator[RawTracklet]:
        train_names = load_names(info / "train_name.txt", train_rows)
        for row in train_rows:
            yield _tracklet(row, train_names, f"{prefix}bbox_train", "train")
        test_names = load_names(info / "test_name.txt", test_rows)
        for row, split in zip(test_rows, splits, strict=True):
            yield _tracklet(row, test_names, f"{prefix}bbox_test", split)

    return Layout("mars", root, tracklets=Stream(tracklets))


def load_rows(path: Path, key: str) -> np.ndarray:
    """int64 [n, 4] rows (start, end, pid, camera); start and end count from 1, inclusive.

    Raises:
        LayoutError: if the file is no such table.
    """
    rows = _load(path, key)
    if rows.ndim != 2 or rows.shape[1] != 4 or len(rows) == 0:
        raise LayoutError(f"mars: {path} holds a table of {rows.shape}, expected rows of 4")
    return rows


def load_queries(path: Path, *, num_tracks: int) -> set[int]:
    """Query tracks as indices from 0 into the test tracks.

    Raises:
        LayoutError: if an index lies outside.
    """
    # stored as uint16 counted from 1: subtracting in place would wrap a 0 around
    queries = _load(path, "query_IDX").ravel() - 1
    if queries.size == 0 or queries.min() < 0 or queries.max() >= num_tracks:
        raise LayoutError(f"mars: {path} points outside the {num_tracks} test tracks")
    return set(queries.tolist())


def load_names(path: Path, rows: np.ndarray) -> list[str]:
    """File names that rows index (the official files end lines by CRLF).

    Raises:
        LayoutError: if a row points beyond them.
    """
    names = path.read_text(encoding="utf-8").split()
    if rows[:, 0].min() < 1 or rows[:, 1].max() > len(names) or (rows[:, 1] < rows[:, 0]).any():
        raise LayoutError(
            f"mars: the tracks reach name {rows[:, 1].max()}, but {path} has {len(names)}. "
            "What to do: take the index files and the name files from one release."
        )
    return names


def _tracklet(row: np.ndarray, names: list[str], folder: str, split: str) -> RawTracklet:
    start, end, pid, camera = (int(value) for value in row)
    chosen = names[start - 1 : end]
    for name in (chosen[0], chosen[-1]):
        # "00-1" is junk, which int() reads as -1 only without its zeros
        named = -1 if name[:4] == "00-1" else int(name[:4])
        if named != pid or int(name[5]) != camera:
            raise LayoutError(
                f"mars: {name} lies in a track of person {pid}, camera {camera}. What to do: take "
                "the index files and the name files from one release."
            )
    paths = tuple(f"{folder}/{name[:4]}/{name}" for name in chosen)
    return RawTracklet(paths=paths, split=split, pid=pid, camid=camera - 1)


def _load(path: Path, key: str) -> np.ndarray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=[key])
    except (MatReadError, NotImplementedError, ValueError, TypeError, OSError) as error:
        raise LayoutError(f"mars: {path} is no MATLAB 5 file ({error})") from error
    if key not in content:
        raise LayoutError(f"mars: {path} has no variable {key}")
    return np.asarray(content[key], dtype=np.int64)
