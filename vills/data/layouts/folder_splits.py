"""Which split of a plain folder an image is in.

The first that applies: `splits.csv` with a header and rows `path,split` or `pid,split` (split:
train, query, gallery; for a pid also test); sub-folders train, query, gallery; else the first half
of the sorted people for training and the others for testing. A person for testing whose split is
not query or gallery has its lowest camera as query and its others as gallery, or all as gallery if
there is one camera. Junk (pid -1) and distractors (pid 0) are gallery unless said otherwise.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vills.data.layouts.base import LayoutError
from vills.data.layouts.listing import shorten

SPLIT_FOLDERS = ("train", "query", "gallery")
SPLIT_FILE = "splits.csv"
_ALLOWED = {"path": SPLIT_FOLDERS, "pid": (*SPLIT_FOLDERS, "test")}


@dataclass(frozen=True, slots=True)
class Named:
    """An image, and what its name says."""

    path: str
    """Below the root, posix."""
    pid: int
    """Person; -1 junk, 0 distractor."""
    camid: int
    """Camera from 0."""
    track: tuple[str, int] | None = None
    """Folder, person and camera, and number of its tracklet; None for an image."""
    frame: int = 0
    """Frame number within the tracklet."""


def find_splits(root: Path, named: Sequence[Named]) -> dict[str, str]:
    """Split (train, query, gallery) of each image by its path.

    Raises:
        LayoutError: if the split file or the folders leave one open.
    """
    if (root / SPLIT_FILE).is_file():
        return _splits_of_file(root / SPLIT_FILE, named)
    present = [name for name in SPLIT_FOLDERS if (root / name).is_dir()]
    if len(present) == len(SPLIT_FOLDERS):
        return _splits_of_folders(root, named)
    if present:
        raise LayoutError(
            f"folder: {root} has {present}, but not all of {list(SPLIT_FOLDERS)}. What to do: add "
            f"the others, or write {SPLIT_FILE}, or put all images into one folder."
        )
    _check_level(root, named)
    return _default_splits(named)


def _check_level(root: Path, named: Sequence[Named]) -> None:
    """Refuse a folder whose splits are told one level below: the default would be other ones."""
    inner = {entry.path.split("/")[0] for entry in named if entry.path.count("/")}
    for folder in sorted(inner):
        found = [name for name in (SPLIT_FILE, *SPLIT_FOLDERS) if (root / folder / name).exists()]
        if found:
            raise LayoutError(
                f"folder: {root} is the wrong folder level, or holds several data sets: the splits "
                f"are told by {', '.join(found)} in {root / folder}. What to do: give "
                f"{root / folder}, or write {SPLIT_FILE} into {root}."
            )


def _splits_of_folders(root: Path, named: Sequence[Named]) -> dict[str, str]:
    splits = {entry.path: entry.path.split("/")[0] for entry in named}
    for path, split in splits.items():
        if split not in SPLIT_FOLDERS:
            raise LayoutError(
                f"folder: {path} lies in none of {list(SPLIT_FOLDERS)} of {root}. What to do: move "
                "it into one of them."
            )
    missing = [name for name in SPLIT_FOLDERS if name not in splits.values()]
    if missing:
        raise LayoutError(f"folder: {missing} of {root} hold no image. What to do: fill them.")
    return splits


def _splits_of_file(path: Path, named: Sequence[Named]) -> dict[str, str]:
    key, listed = _load_listed(path)
    names = {e.path: e.path if key == "path" else str(e.pid) for e in named}
    unlisted = [name for name in names if names[name] not in listed]
    if unlisted:
        raise LayoutError(
            f"folder: {path} says nothing of {len(unlisted)} images, e.g. {unlisted[0]}. What to "
            "do: list them, or take them away."
        )
    absent = sorted(listed.keys() - set(names.values()))
    if absent:
        raise LayoutError(
            f"folder: {path} lists {len(absent)} that no image shows: {key} {shorten(absent)}. "
            "What to do: restore the images, or take the rows away."
        )
    return _resolve_test(named, {name: listed[names[name]] for name in names})


def _load_listed(path: Path) -> tuple[str, dict[str, str]]:
    """What the file lists, path or pid, and the split of each."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""))
        rows = [[cell.strip() for cell in row] for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(
            f"folder: {path} is not plain text in UTF-8 ({error}). What to do: save it as CSV in "
            "UTF-8."
        ) from error
    if not rows or len(rows[0]) != 2 or rows[0][0] not in _ALLOWED or rows[0][1] != "split":
        raise LayoutError(
            f"folder: {path} must start with the line `path,split` or `pid,split`. What to do: add "
            "the header."
        )
    key = rows[0][0]
    listed: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) != 2 or row[1] not in _ALLOWED[key] or (key == "pid" and not _is_int(row[0])):
            raise LayoutError(
                f"folder: {path}: row {','.join(row)} is not allowed. Allowed: {key},split with "
                f"split one of {', '.join(_ALLOWED[key])}."
            )
        name = row[0] if key == "path" else str(int(row[0]))
        if name in listed:
            raise LayoutError(
                f"folder: {path} lists {key} {name} twice. What to do: keep one of the rows."
            )
        listed[name] = row[1]
    return key, listed


def _is_int(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,12}", text) is not None


def _default_splits(named: Sequence[Named]) -> dict[str, str]:
    people = sorted({entry.pid for entry in named if entry.pid > 0})
    train = set(people[: len(people) // 2])
    splits = {
        entry.path: "train" if entry.pid in train else ("test" if entry.pid > 0 else "gallery")
        for entry in named
    }
    return _resolve_test(named, splits)


def _resolve_test(named: Sequence[Named], splits: Mapping[str, str]) -> dict[str, str]:
    """Replace test by query or gallery."""
    cameras: dict[int, set[int]] = defaultdict(set)
    for entry in named:
        if splits[entry.path] == "test":
            cameras[entry.pid].add(entry.camid)

    def resolve(entry: Named) -> str:
        seen = cameras[entry.pid]
        is_asked = entry.pid > 0 and len(seen) > 1 and entry.camid == min(seen)
        return "query" if is_asked else "gallery"

    return {e.path: resolve(e) if splits[e.path] == "test" else splits[e.path] for e in named}
