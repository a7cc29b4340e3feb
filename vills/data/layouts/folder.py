"""A plain folder: people's own data.

Names say person and camera: `0001_c1_anything.jpg` (Market-1501 naming) for images,
`0001C1T0001F001.jpg` (MARS naming) for frames of tracklets; numbers may have any length. Splits as
folder_splits.py says.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from vills.data.images import SUFFIXES
from vills.data.layouts.base import Layout, LayoutError, RawImage, RawTracklet, check_folder
from vills.data.layouts.folder_splits import SPLIT_FILE, Named, find_splits
from vills.data.layouts.listing import MAX_NUMBER, list_folder, note_stray
from vills.data.layouts.people import note_people

IMAGE_NAME = re.compile(r"(-?\d+)_c(\d+)")
TRACKLET_NAME = re.compile(r"(?P<pid>\d{4,}|00-1)C(?P<cam>\d+)T(?P<track>\d+)F(?P<frame>\d+)")


def read(root: Path) -> Layout:
    """Images, or tracklets, of the folder.

    Raises:
        LayoutError: if a name does not fit, both namings occur, a frame or an image is there twice,
            or a split is missing.
    """
    check_folder(root, "folder")
    found = list_folder(root, suffixes=SUFFIXES)
    named = [_parse(path) for path in found.images]
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
    _check_unique(named)
    splits = find_splits(root, named)
    stray = note_stray(".", [path for path in found.stray if path != SPLIT_FILE])
    if named[0].track is None:
        images = [RawImage(e.path, splits[e.path], e.pid, e.camid) for e in named]
        notes = note_people((row.split, row.pid, row.camid) for row in images)
        return Layout("folder", root, images=images, notes=(*stray, *notes))
    tracklets = _group(named, splits)
    notes = note_people((row.split, row.pid, row.camid) for row in tracklets)
    return Layout("folder", root, tracklets=tracklets, notes=(*stray, *notes))


def parse_name(path: str) -> Named | None:
    """Who and which camera a name says, or None."""
    folder, _, name = path.rpartition("/")
    if found := TRACKLET_NAME.match(name):
        pid = -1 if found["pid"] == "00-1" else int(found["pid"])
        track = (f"{folder}/{found['pid']}C{found['cam']}", int(found["track"]))
        named = Named(path, pid, int(found["cam"]) - 1, track, int(found["frame"]))
    elif found := IMAGE_NAME.match(name):
        named = Named(path, int(found[1]), int(found[2]) - 1)
    else:
        return None
    return named if -1 <= named.pid <= MAX_NUMBER and named.camid >= 0 else None


def _parse(path: str) -> Named:
    named = parse_name(path)
    if named is None:
        raise LayoutError(
            f"folder: {path} does not say who it shows. Expected names like 0001_c1_anything.jpg "
            "(person 1, camera 1) or 0001C1T0001F001.jpg (and tracklet 1, frame 1). What to do: "
            "rename it or take it away."
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
                f"folder: {other} and {entry.path} are the same image, or frame, twice. What to "
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
