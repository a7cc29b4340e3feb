"""A plain folder: people's own data.

Names say person and camera: `0001_c1_anything.jpg` (Market-1501 naming) for images,
`0001C1T0001F001.jpg` (MARS naming) for frames of tracklets. Splits, first that applies:
`splits.csv` with a header and rows `path,split` or `pid,split` (split: train, query, gallery; for a
pid also test); sub-folders train, query, gallery; else the first half of the sorted people for
training and the others for testing. A person for testing whose split is not query or gallery has
its lowest camera as query and its others as gallery, or all as gallery if there is one camera.
Junk (pid -1) and distractors (pid 0) are gallery unless said otherwise.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vills.data.images import SUFFIXES
from vills.data.layouts.base import Layout, LayoutError, RawImage, RawTracklet, check_folder, walk

IMAGE_NAME = re.compile(r"(-?\d+)_c(\d+)")
TRACKLET_NAME = re.compile(r"(?P<pid>\d{4,}|00-1)C(?P<cam>\d+)T(?P<track>\d+)F(?P<frame>\d+)")
SPLIT_FOLDERS = ("train", "query", "gallery")
SPLIT_FILE = "splits.csv"
_ALLOWED = {"path": SPLIT_FOLDERS, "pid": (*SPLIT_FOLDERS, "test")}


@dataclass(frozen=True, slots=True)
class _Named:
    path: str
    pid: int
    camid: int
    track: tuple[str, int] | None = None
    frame: int = 0


def read(root: Path) -> Layout:
    """Images, or tracklets, of the folder.

    Raises:
        LayoutError: if a name does not fit, both namings occur, or a split is missing.
    """
    check_folder(root, "folder")
    named = [_parse(path) for path in walk(root, SUFFIXES)]
    if not named:
        raise LayoutError(
            f"folder: no image ({', '.join(SUFFIXES)}) below {root}. What to do: put images named "
            "like 0001_c1_anything.jpg there."
        )
    if len({entry.track is None for entry in named}) > 1:
        raise LayoutError(
            f"folder: {root} mixes images (0001_c1.jpg) and tracklets (0001C1T0001F001.jpg). What "
            "to do: put them into two folders and make two sources."
        )
    splits = _find_splits(root, named)
    if named[0].track is None:
        images = [RawImage(e.path, splits[e.path], e.pid, e.camid) for e in named]
        return Layout("folder", root, images=images)
    return Layout("folder", root, tracklets=_group(named, splits))


def _parse(path: str) -> _Named:
    folder, _, name = path.rpartition("/")
    if found := TRACKLET_NAME.match(name):
        pid = -1 if found["pid"] == "00-1" else int(found["pid"])
        track = (f"{folder}/{found['pid']}C{found['cam']}", int(found["track"]))
        return _Named(path, pid, int(found["cam"]) - 1, track, int(found["frame"]))
    if found := IMAGE_NAME.match(name):
        return _Named(path, int(found[1]), int(found[2]) - 1)
    raise LayoutError(
        f"folder: {path} does not say who it shows. Expected names like 0001_c1_anything.jpg "
        "(person 1, camera 1) or 0001C1T0001F001.jpg (and tracklet 1, frame 1). What to do: "
        "rename it or take it away."
    )


def _group(named: Sequence[_Named], splits: Mapping[str, str]) -> list[RawTracklet]:
    groups: dict[tuple[str, int], list[_Named]] = defaultdict(list)
    for entry in named:
        if entry.track is not None:
            groups[entry.track].append(entry)
    tracklets = []
    for track in sorted(groups):
        frames = sorted(groups[track], key=lambda entry: entry.frame)
        found = {splits[entry.path] for entry in frames}
        if len(found) > 1:
            raise LayoutError(
                f"folder: the frames of tracklet {track[0]}T{track[1]:04d} are in {sorted(found)}. "
                "What to do: put a tracklet into one split."
            )
        paths = tuple(entry.path for entry in frames)
        tracklets.append(RawTracklet(paths, found.pop(), frames[0].pid, frames[0].camid))
    return tracklets


def _find_splits(root: Path, named: Sequence[_Named]) -> dict[str, str]:
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
    return _default_splits(named)


def _splits_of_folders(root: Path, named: Sequence[_Named]) -> dict[str, str]:
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


def _splits_of_file(path: Path, named: Sequence[_Named]) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [[cell.strip() for cell in row] for row in csv.reader(stream) if row]
    if not rows or len(rows[0]) != 2 or rows[0][0] not in _ALLOWED or rows[0][1] != "split":
        raise LayoutError(
            f"folder: {path} must start with the line `path,split` or `pid,split`. What to do: add "
            "the header."
        )
    key = rows[0][0]
    for row in rows[1:]:
        if len(row) != 2 or row[1] not in _ALLOWED[key] or (key == "pid" and not _is_int(row[0])):
            raise LayoutError(
                f"folder: {path}: row {','.join(row)} is not allowed. Allowed: {key},split with "
                f"split one of {', '.join(_ALLOWED[key])}."
            )
    listed = {row[0] if key == "path" else str(int(row[0])): row[1] for row in rows[1:]}
    splits = {e.path: listed.get(e.path if key == "path" else str(e.pid), "") for e in named}
    unlisted = [name for name, split in splits.items() if not split]
    if unlisted:
        raise LayoutError(
            f"folder: {path} says nothing of {len(unlisted)} images, e.g. {unlisted[0]}. What to "
            "do: list them, or take them away."
        )
    return _resolve_test(named, splits)


def _is_int(text: str) -> bool:
    return re.fullmatch(r"-?\d+", text) is not None


def _default_splits(named: Sequence[_Named]) -> dict[str, str]:
    people = sorted({entry.pid for entry in named if entry.pid > 0})
    train = set(people[: len(people) // 2])
    splits = {
        entry.path: "train" if entry.pid in train else ("test" if entry.pid > 0 else "gallery")
        for entry in named
    }
    return _resolve_test(named, splits)


def _resolve_test(named: Sequence[_Named], splits: Mapping[str, str]) -> dict[str, str]:
    """Replace test by query or gallery."""
    cameras: dict[int, set[int]] = defaultdict(set)
    for entry in named:
        if splits[entry.path] == "test":
            cameras[entry.pid].add(entry.camid)

    def resolve(entry: _Named) -> str:
        seen = cameras[entry.pid]
        return "query" if len(seen) > 1 and entry.camid == min(seen) else "gallery"

    return {e.path: resolve(e) if splits[e.path] == "test" else splits[e.path] for e in named}
