"""A plain folder: people's own data.

Names say person and camera: `0001_c1_anything.jpg` (Market-1501 naming) for images,
`0001C1T0001F001.jpg` (MARS naming) for frames of tracklets; numbers may have any length.

Splits, the first that applies: `splits.csv` with a header and rows `path,split` or `pid,split`
(split: train, query, gallery; for a pid also test); sub-folders train, query, gallery, or those of
Market-1501 (DukeMTMC-reID and others have them); else the first half of the sorted people for
training and the others for testing. A person for testing whose split is not query or gallery has
its lowest camera as query and its others as gallery, or all as gallery if there is one camera. Junk
(pid -1) is gallery unless said otherwise. Pid 0 is a person, but for one that is said to be in the
gallery alone, as distractors are. Cameras count from 1, or from 0 if there is a camera 0.
"""

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vills.data.files import compute_order
from vills.data.images import SUFFIXES
from vills.data.layouts.base import Layout, LayoutError, RawImage, RawTracklet, check_folder
from vills.data.layouts.labelled_images import MARKET1501_FOLDERS
from vills.data.layouts.listing import (
    MAX_NUMBER,
    describe_stray,
    list_folder,
    list_rows,
    render_first,
)
from vills.data.layouts.people import convert_zero, describe_people
from vills.data.records import JUNK_PID
from vills.data.spelling import describe_spelling
from vills.inputs import read_input

IMAGE_NAME = re.compile(r"(-?\d+)_c(\d+)")
TRACKLET_NAME = re.compile(r"(?P<pid>\d{4,}|00-1)C(?P<cam>\d+)T(?P<track>\d+)F(?P<frame>\d+)")
_PID = re.compile(r"-?[0-9]{1,12}")
SPLIT_FOLDERS = ("train", "query", "gallery")
_FOLDERS = ({split: split for split in SPLIT_FOLDERS}, MARKET1501_FOLDERS)
SPLIT_FILE = "splits.csv"
_ALLOWED = {"path": SPLIT_FOLDERS, "pid": (*SPLIT_FOLDERS, "test")}


@dataclass(frozen=True, slots=True)
class Named:
    """An image, and what its name says."""

    path: str
    """Below the root, posix."""
    pid: int
    """Person, as it is written; -1 junk."""
    camid: int
    """Camera from 0; -1 of a camera 0."""
    label: str
    """How the person is written."""
    track: tuple[str, int] | None = None
    """Folder, person and camera, and number of its tracklet; None for an image."""
    frame: int = 0
    """Frame number within the tracklet."""


def read_folder(root: Path) -> Layout:
    """Images, or tracklets, of the folder.

    Raises:
        LayoutError: if a name does not fit, both namings occur, a frame or an image is there twice,
            or a split is missing.
    """
    check_folder(root, "folder")
    found = list_folder(root)
    named = [_parse(path) for path in list_rows(found.media)]
    stray = describe_stray(".", [path for path in found.stray if path != SPLIT_FILE])
    if not named:
        raise LayoutError(
            f"folder: no image ({', '.join(SUFFIXES)}) below {root}{'; '.join(['', *stray])}. What "
            "to do: put images named like 0001_c1_anything.jpg there."
        )
    if len({entry.track is None for entry in named}) > 1:
        raise LayoutError(
            f"folder: {root} mixes images (0001_c1.jpg) and tracklets (0001C1T0001F001.jpg). What "
            "to do: put them into two folders and make two sources."
        )
    _check_unique(named)
    notes = [*stray, *_note_names(named)]
    if min(entry.camid for entry in named) < 0:
        named = [replace(entry, camid=entry.camid + 1) for entry in named]
    splits = find_splits(root, named)
    if named[0].track is None:
        images, about_zero = convert_zero(
            [RawImage(e.path, splits[e.path], e.pid, e.camid) for e in named], name="folder"
        )
        notes += [*about_zero, *describe_people(images)]
        return Layout("folder", root, images=images, notes=tuple(notes))
    tracklets, about_zero = convert_zero(_group(named, splits), name="folder")
    notes += [*about_zero, *describe_people(tracklets)]
    return Layout("folder", root, tracklets=tracklets, notes=tuple(notes))


def _note_names(named: Sequence[Named]) -> Iterator[str]:
    """Say where names were read in a way that may not be meant."""
    labels: dict[int, set[str]] = defaultdict(set)
    for entry in named:
        labels[entry.pid].add(entry.label)
    if junk := sum(entry.pid == JUNK_PID for entry in named):
        yield f"{junk:,} images of id -1 are junk, which no search counts"
    if several := {pid: sorted(found) for pid, found in labels.items() if len(found) > 1}:
        shown = [f"{pid} ({', '.join(found)})" for pid, found in sorted(several.items())]
        yield f"{len(several):,} people are written in several ways: {render_first(shown)}"
    if any(entry.camid < 0 for entry in named):
        yield "cameras count from 0, since there is a camera 0"


def parse_name(path: str) -> Named | None:
    """Who and which camera a name says, or None."""
    folder, _, name = path.rpartition("/")
    if found := TRACKLET_NAME.match(name):
        pid = JUNK_PID if found["pid"] == "00-1" else int(found["pid"])
        track = (f"{folder}/{found['pid']}C{found['cam']}", int(found["track"]))
        frame = int(found["frame"])
        named = Named(path, pid, int(found["cam"]) - 1, found["pid"], track, frame)
    elif found := IMAGE_NAME.match(name):
        named = Named(path, int(found[1]), int(found[2]) - 1, found[1])
    else:
        return None
    return named if JUNK_PID <= named.pid <= MAX_NUMBER else None


def _parse(path: str) -> Named:
    named = parse_name(path)
    if named is None:
        raise LayoutError(
            f"folder: {path} does not say which person it shows. Expected names like "
            "0001_c1_anything.jpg (person 1, camera 1) or 0001C1T0001F001.jpg (and tracklet 1, "
            "frame 1). What to do: rename it or remove it."
        )
    return named


def _check_unique(named: Sequence[Named]) -> None:
    """Refuse a.jpg beside a.png, and a frame number that a tracklet has twice."""
    seen: dict[object, str] = {}
    for entry in named:
        key = (entry.track, entry.frame) if entry.track else entry.path.rpartition(".")[0]
        other = seen.setdefault(key, entry.path)
        if other != entry.path:
            raise LayoutError(
                f"folder: {other} and {entry.path} are the same image or frame. What to "
                "do: keep one of them."
            )


def _group(named: Sequence[Named], splits: Mapping[str, str]) -> list[RawTracklet]:
    groups: dict[tuple[str, int], list[Named]] = defaultdict(list)
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


def find_splits(root: Path, named: Sequence[Named]) -> dict[str, str]:
    """Split (train, query, gallery) of each image by its path.

    Raises:
        LayoutError: if the split file or the folders leave one open.
    """
    if os.path.lexists(root / SPLIT_FILE):  # a link to nothing is not silently another split
        return _splits_of_file(root / SPLIT_FILE, named)
    present = {name for names in _FOLDERS for name in names.values() if (root / name).is_dir()}
    folders = max(_FOLDERS, key=lambda names: len(present.intersection(names.values())))
    if present.issuperset(folders.values()):
        return _splits_of_folders(root, named, {folder: split for split, folder in folders.items()})
    if present:
        raise LayoutError(
            f"folder: {root} has {sorted(present)}, but not all of {list(folders.values())}. What "
            f"to do: add the others, or write {SPLIT_FILE}, or put all images into one folder."
        )
    _check_level(root, named)
    return _default_splits(named)


def _check_level(root: Path, named: Sequence[Named]) -> None:
    """Refuse a folder whose splits are told one level below: the default would be other ones."""
    inner = {entry.path.split("/")[0] for entry in named if entry.path.count("/")}
    for folder in sorted(inner, key=compute_order):
        telling = (SPLIT_FILE, *SPLIT_FOLDERS, *MARKET1501_FOLDERS.values())
        found = [name for name in telling if (root / folder / name).exists()]
        if found:
            raise LayoutError(
                f"folder: {root} is the wrong folder level, or holds several data sets: the splits "
                f"are defined by {', '.join(dict.fromkeys(found))} in {root / folder}. What to do: "
                f"give {root / folder}, or write {SPLIT_FILE} into {root}."
            )


def _splits_of_folders(
    root: Path, named: Sequence[Named], folders: Mapping[str, str]
) -> dict[str, str]:
    """Split of each image by its first folder; `folders` says which splits they are."""
    splits = {entry.path: folders.get(entry.path.split("/")[0], "") for entry in named}
    for path, split in splits.items():
        if not split:
            raise LayoutError(
                f"folder: {path} is in none of {list(folders)} of {root}. What to do: move "
                "it into one of them."
            )
    missing = [folder for folder, split in folders.items() if split not in splits.values()]
    if missing:
        raise LayoutError(f"folder: {missing} of {root} hold no image. What to do: fill them.")
    return splits


def _splits_of_file(path: Path, named: Sequence[Named]) -> dict[str, str]:
    key, listed = _load_listed(path)
    names = {e.path: e.path if key == "path" else str(e.pid) for e in named}
    unlisted = [name for name in names if names[name] not in listed]
    absent = sorted(listed.keys() - set(names.values()))
    if unlisted:
        alike = describe_spelling(absent, unlisted) if key == "path" else ""
        raise LayoutError(
            f"folder: {path} does not list {len(unlisted)} images, e.g. {unlisted[0]}.{alike} What "
            "to do: list them, or remove them."
        )
    if absent:
        raise LayoutError(
            f"folder: {path} lists {len(absent)} without an image: {key} "
            f"{render_first(absent)}. What to do: restore the images, or remove the rows."
        )
    return _resolve_test(named, {name: listed[names[name]] for name in names})


def _load_listed(path: Path) -> tuple[str, dict[str, str]]:
    """Return what the file lists, path or pid, and the split of each."""
    try:
        text = read_input(path).decode("utf-8-sig")
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
        is_named = key == "path" or _PID.fullmatch(row[0])
        if len(row) != 2 or row[1] not in _ALLOWED[key] or not is_named:
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


def _default_splits(named: Sequence[Named]) -> dict[str, str]:
    people = sorted({entry.pid for entry in named} - {JUNK_PID})
    train = set(people[: len(people) // 2])
    splits = {entry.path: "train" if entry.pid in train else "test" for entry in named}
    return _resolve_test(named, splits)


def _resolve_test(named: Sequence[Named], splits: Mapping[str, str]) -> dict[str, str]:
    """Replace test by query or gallery."""
    cameras: dict[int, set[int]] = defaultdict(set)
    for entry in named:
        if splits[entry.path] == "test":
            cameras[entry.pid].add(entry.camid)

    def resolve(entry: Named) -> str:
        seen = cameras[entry.pid]
        is_asked = entry.pid != JUNK_PID and len(seen) > 1 and entry.camid == min(seen)
        return "query" if is_asked else "gallery"

    return {e.path: resolve(e) if splits[e.path] == "test" else splits[e.path] for e in named}
