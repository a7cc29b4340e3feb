"""MARS: `bbox_train`, `bbox_test` and the index files of MARS-evaluation in `info`.

The index files (liangzheng06/MARS-evaluation: tracks, queries, names) say what a tracklet is;
nothing else in the two folders is read. Queries are tracklets of `bbox_test`: that they stay in the
gallery in the official protocol is the protocol's.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vills.data.layouts.base import Layout, LayoutError, RawTracklet, Stream
from vills.data.layouts.listing import (
    MAX_NUMBER,
    describe_nested,
    describe_stray,
    find_base,
    list_folder,
    list_subfolders,
    render_first,
)
from vills.data.layouts.people import describe_people
from vills.data.records import JUNK_PID
from vills.inputs import read_input

FOLDERS = {"train": "bbox_train", "test": "bbox_test"}
_NEEDED = (
    "bbox_train",
    "bbox_test",
    "info/train_name.txt",
    "info/test_name.txt",
    "info/tracks_train_info.mat",
    "info/tracks_test_info.mat",
    "info/query_IDX.mat",
)


def read_mars(root: Path) -> Layout:
    """Tracklets: split query for those of query_IDX, gallery for the rest of bbox_test.

    Raises:
        LayoutError: if a folder, a person's folder or an index file is missing or damaged, or the
            files do not belong together.
    """
    base, prefix = _find_base(root)
    info = base / "info"
    tables = {
        part: load_rows(info / f"tracks_{part}_info.mat", f"track_{part}_info") for part in FOLDERS
    }
    queries = load_queries(info / "query_IDX.mat", num_tracks=len(tables["test"]))
    notes: list[str] = []
    for part, folder in FOLDERS.items():
        notes += _check_files(base / folder, tables[part])

    def list_tracks(part: str) -> Iterator[tuple[list[int], str]]:
        """Rows of the index file, each with its split."""
        for number, row in enumerate(tables[part].tolist()):
            tested = "query" if number in queries else "gallery"
            yield row, "train" if part == "train" else tested

    def list_tracklets() -> Iterator[RawTracklet]:
        """Tracklets in the order of the index files; the names are loaded anew each time."""
        for part, folder in FOLDERS.items():
            names = load_names(info / f"{part}_name.txt", tables[part])
            for row, split in list_tracks(part):
                yield _build_tracklet(row, names, f"{prefix}{folder}", split)

    people = (
        RawTracklet((), split, pid, camera - 1)
        for part in FOLDERS
        for (_, _, pid, camera), split in list_tracks(part)
    )
    notes += describe_people(people)
    return Layout("mars", root, tracklets=Stream(list_tracklets), notes=tuple(notes))


def _find_base(root: Path) -> tuple[Path, str]:
    nested = ("mars", "MARS")
    for folder in (root, *(root / path for path in nested)):
        missing = [name for name in _NEEDED if not (folder / name).exists()]
        if missing and all(name.startswith("info/") for name in missing):
            raise LayoutError(
                f"mars: {folder} has no {', '.join(missing)}. What to do: put the folder info of "
                "liangzheng06/MARS-evaluation there, which is a separate download."
            )
    return find_base(root, nested=nested, needed=_NEEDED, name="mars")


def _check_files(folder: Path, rows: np.ndarray) -> list[str]:
    """Refuse a folder that lacks people of the index, and note what the index does not name."""
    present = set(list_subfolders(folder))
    needed = [_name_person(pid) for pid in sorted(set(rows[:, 2].tolist()))]
    missing = [name for name in needed if name not in present]
    if missing:
        raise LayoutError(
            f"mars: {folder} lacks {len(missing):,} of the {len(needed):,} folders of people that "
            f"the index names: {render_first(missing)}. What to do: {describe_nested(folder)}."
        )
    found = list_folder(folder)
    filled = {path.partition("/")[0] for path in found.media}
    if empty := [name for name in needed if name not in filled]:
        raise LayoutError(
            f"mars: {len(empty):,} folders of people in {folder} are empty: {render_first(empty)}. "
            "What to do: the archive is incompletely unpacked: unpack the official archive again."
        )
    extra = len(found.media) - int((rows[:, 1] - rows[:, 0] + 1).sum())
    unnamed = [f"{folder.name}: {extra:,} images that no track names are not read"]
    return [*(unnamed if extra > 0 else ()), *describe_stray(folder.name, found.stray)]


def _name_person(pid: int) -> str:
    return "00-1" if pid == JUNK_PID else f"{pid:04d}"


def _build_tracklet(row: list[int], names: list[str], folder: str, split: str) -> RawTracklet:
    start, end, pid, camera = row
    person = _name_person(pid)
    chosen = names[start - 1 : end]
    wrong = [name for name in chosen if not name.startswith(f"{person}C{camera}T")]
    if wrong:
        raise LayoutError(
            f"mars: {wrong[0]} is in a track of person {pid}, camera {camera}. What to do: take "
            "the index files and the name files from one release."
        )
    paths = tuple(f"{folder}/{person}/{name}" for name in chosen)
    return RawTracklet(paths=paths, split=split, pid=pid, camid=camera - 1)


_MAX_MAT = 2**23  # the official ones have 0.2 MB; what is packed in them may be 1,000 times more
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
    bad = (start < 1) | (end < start) | (pid < JUNK_PID) | (pid > MAX_NUMBER) | (camera < 1)
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
            f"mars: {path} has an index outside the {num_tracks} test tracks, or none. {_REMEDY}"
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
        names = read_input(path).decode("utf-8-sig").split()
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

    try:
        content = loadmat(io.BytesIO(read_input(path, limit=_MAX_MAT)), variable_names=[key])
    except Exception as error:  # scipy's error depends on the byte where the file breaks off
        raise LayoutError(
            f"mars: {path} is not a MATLAB 5 file, or is cut off ({type(error).__name__}: "
            f"{error}). {_REMEDY}"
        ) from error
    if key not in content:
        raise LayoutError(f"mars: {path} has no variable {key}. {_REMEDY}")
    values = np.asarray(content[key])
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all() or (values % 1).any():
        raise LayoutError(f"mars: {key} of {path} does not hold whole numbers. {_REMEDY}")
    return values.astype(np.int64)
