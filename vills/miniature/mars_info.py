"""The index files of MARS: image names, tracklet tables and the query list, as published."""

import io
import itertools
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from vills.miniature.files import write_bytes

_HEADER = b"MATLAB 5.0 MAT-file"
_HEADER_BYTES = 116  # free text at the start of a level 5 MAT-file


def write_info(root: Path) -> None:
    """Write `info/` for the images below `root`, from their names alone."""
    train = _list_names(root / "bbox_train")
    test = _list_names(root / "bbox_test")
    info = root / "info"
    write_bytes(info / "train_name.txt", _join(train))
    write_bytes(info / "test_name.txt", _join(test))
    tracks = build_track_table(test)
    tables: dict[str, tuple[str, NDArray[np.integer]]] = {
        "tracks_train_info.mat": ("track_train_info", build_track_table(train)),
        "tracks_test_info.mat": ("track_test_info", tracks),
        "query_IDX.mat": ("query_IDX", choose_queries(tracks)),
    }
    for name, (key, table) in tables.items():
        write_bytes(info / name, encode_mat(key, table))


def build_track_table(names: list[str]) -> NDArray[np.int32]:
    """Return [tracklets, 4] int32: first and last name (from 1, both included), pid, camera."""
    rows = []
    start = 1
    for _, group in itertools.groupby(names, key=lambda name: name[: name.index("F")]):
        members = list(group)
        first = members[0]
        stop = start + len(members) - 1
        rows.append(
            (start, stop, int(first[2:4] if first[:3] == "00-" else first[:4]), int(first[5]))
        )
        start = stop + 1
    return np.array(rows, dtype=np.int32).reshape(-1, 4)


def choose_queries(tracks: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Return [1, queries] uint16: the first tracklet (from 1) of each real person and camera."""
    chosen: dict[tuple[int, int], int] = {}
    for row, (_, _, pid, camera) in enumerate(tracks.tolist(), start=1):
        if pid > 0:
            chosen.setdefault((pid, camera), row)
    return np.array([sorted(chosen.values())], dtype=np.uint16)


def encode_mat(key: str, table: NDArray[np.integer]) -> bytes:
    """Return a level 5 MAT-file whose header text carries no date."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {key: table})
    return _HEADER.ljust(_HEADER_BYTES) + buffer.getvalue()[_HEADER_BYTES:]


def _list_names(folder: Path) -> list[str]:
    people = sorted(folder.glob("[0-9]*"))
    return [file.name for person in people for file in sorted(person.glob("[0-9]*.jpg"))]


def _join(names: list[str]) -> bytes:
    return "".join(f"{name}\r\n" for name in names).encode()  # as the official generator does
