"""MARS: `bbox_train`, `bbox_test` and the index files of MARS-evaluation in `info`.

The index files say what a tracklet is; nothing else in the two folders is read. Queries are
tracklets of `bbox_test`: that they stay in the gallery in the official protocol is the protocol's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vills.data.layouts.base import Layout, LayoutError, RawTracklet, Stream
from vills.data.layouts.listing import list_folder, list_subfolders, shorten
from vills.data.layouts.mars_info import load_names, load_queries, load_rows
from vills.data.layouts.people import note_people
from vills.data.layouts.roots import find_base, get_prefix, hint_nested

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


@dataclass(frozen=True)
class _Part:
    """Tracks of bbox_train or bbox_test."""

    base: Path
    prefix: str
    part: str
    rows: np.ndarray
    splits: list[str]

    def list_tracklets(self) -> Iterator[RawTracklet]:
        """Tracklets in the order of the index file; the names are loaded anew each time."""
        names = load_names(self.base / f"info/{self.part}_name.txt", self.rows)
        folder = f"{self.prefix}{FOLDERS[self.part]}"
        for row, split in zip(self.rows.tolist(), self.splits, strict=True):
            yield _build_tracklet(row, names, folder, split)


def read(root: Path) -> Layout:
    """Tracklets: split query for those of query_IDX, gallery for the rest of bbox_test.

    Raises:
        LayoutError: if a folder, a person's folder or an index file is missing or damaged, or the
            files do not belong together.
    """
    base = _find_base(root)
    info = base / "info"
    train_rows = load_rows(info / "tracks_train_info.mat", "track_train_info")
    test_rows = load_rows(info / "tracks_test_info.mat", "track_test_info")
    queries = load_queries(info / "query_IDX.mat", num_tracks=len(test_rows))
    splits = ["query" if number in queries else "gallery" for number in range(len(test_rows))]
    prefix = get_prefix(base, root)
    parts = (
        _Part(base, prefix, "train", train_rows, ["train"] * len(train_rows)),
        _Part(base, prefix, "test", test_rows, splits),
    )
    for part in parts:
        _check_people(base / FOLDERS[part.part], part.rows)

    def list_tracklets() -> Iterator[RawTracklet]:
        for part in parts:
            yield from part.list_tracklets()

    everything = np.concatenate([train_rows, test_rows]).tolist()
    rows = zip([*parts[0].splits, *splits], everything, strict=True)
    notes = note_people((split, pid, camera - 1) for split, (_, _, pid, camera) in rows)
    return Layout("mars", root, tracklets=Stream(list_tracklets), notes=notes)


def count_files(root: Path) -> dict[str, tuple[int, int]]:
    """Images and other files that lie in bbox_train and bbox_test, whatever the index says."""
    base = _find_base(root)
    found = {part: list_folder(base / folder) for part, folder in FOLDERS.items()}
    return {part: (len(files.images), len(files.stray)) for part, files in found.items()}


def _find_base(root: Path) -> Path:
    nested = ("mars", "MARS")
    for folder in (root, *(root / path for path in nested)):
        missing = [name for name in _NEEDED if not (folder / name).exists()]
        if missing and all(name.startswith("info/") for name in missing):
            raise LayoutError(
                f"mars: {folder} has no {', '.join(missing)}. What to do: put there the folder "
                "info of liangzheng06/MARS-evaluation, which is a download of its own."
            )
    return find_base(root, nested=nested, needed=_NEEDED, name="mars")


def _check_people(folder: Path, rows: np.ndarray) -> None:
    present = set(list_subfolders(folder))
    needed = [_name_person(pid) for pid in sorted(set(rows[:, 2].tolist()))]
    missing = [name for name in needed if name not in present]
    if missing:
        raise LayoutError(
            f"mars: {folder} lacks {len(missing):,} of the {len(needed):,} folders of people that "
            f"the index names: {shorten(missing)}. What to do: {hint_nested(folder)}."
        )
    empty = [name for name in needed if next((folder / name).iterdir(), None) is None]
    if empty:
        raise LayoutError(
            f"mars: {len(empty):,} folders of people in {folder} are empty: {shorten(empty)}. What "
            "to do: the archive is half-unpacked: unpack the official archive again."
        )


def _name_person(pid: int) -> str:
    return "00-1" if pid == -1 else f"{pid:04d}"


def _build_tracklet(row: list[int], names: list[str], folder: str, split: str) -> RawTracklet:
    start, end, pid, camera = row
    person = _name_person(pid)
    chosen = names[start - 1 : end]
    wrong = [name for name in chosen if not name.startswith(f"{person}C{camera}T")]
    if wrong:
        raise LayoutError(
            f"mars: {wrong[0]} lies in a track of person {pid}, camera {camera}. What to do: take "
            "the index files and the name files from one release."
        )
    paths = tuple(f"{folder}/{person}/{name}" for name in chosen)
    return RawTracklet(paths=paths, split=split, pid=pid, camid=camera - 1)
