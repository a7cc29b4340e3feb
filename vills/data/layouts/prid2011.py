"""PRID2011, multi-shot: `multi_shot/{cam_a,cam_b}/person_XXXX/*.png`, a folder is a tracklet.

Of the people only the 178 of the field's ten splits are read: the others are in one camera, or
have too few frames. Camera a is query and b is gallery for the test people; both train the others.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from vills.data.layouts.base import Layout, LayoutError, PersonSplit, RawTracklet
from vills.data.layouts.listing import (
    describe_nested,
    describe_stray,
    find_base,
    find_number,
    list_beside,
    list_images,
    list_people,
    parse_person,
    render_first,
)
from vills.data.layouts.people import describe_people
from vills.inputs import read_input

CAMERAS = ("cam_a", "cam_b")
SPLIT_FILE = "splits_prid2011.json"
OWN_SPLITS = Path(__file__).with_name("prid2011_splits.json")
_REMEDY = "What to do: restore it, or remove it: the official splits come with vills."
_PERSON = re.compile(r"person_(\d+)")


def read_prid2011(root: Path) -> Layout:
    """Tracklets of split 0, and the splits: those beside the data, else the ten official ones.

    Raises:
        LayoutError: if a camera, a person of the splits or a person's images are missing, or the
            split file is damaged.
    """
    base, prefix = _find_base(root)
    splits, origin = _find_splits(root, base)
    people = sorted({*splits[0].train, *splits[0].test})
    tracklets: list[RawTracklet] = []
    notes: list[str] = [f"splits: {len(splits)} of {len(people)} people, {origin}"]
    for camid, camera in enumerate(CAMERAS):
        folder = base / "multi_shot" / camera
        folders = _list_people(folder, people)
        notes += describe_stray(f"{prefix}multi_shot/{camera}", list_beside(folder))
        for pid in people:
            path = f"{prefix}multi_shot/{camera}/{folders.pop(pid)}"
            frames, stray = _list_frames(root, path)
            notes += describe_stray(path, stray)
            split = "train" if pid in splits[0].train else ("query", "gallery")[camid]
            tracklets.append(RawTracklet(frames, split, pid, camid))
        if folders:
            notes.append(f"{camera}: {len(folders)} people of no split are not read")
    notes += describe_people(tracklets)
    return Layout("prid2011", root, tracklets=tracklets, splits=splits, notes=tuple(notes))


def load_splits(path: Path) -> tuple[PersonSplit, ...]:
    """Read splits from a file like splits_prid2011.json: [{"train": [names], "test": [names]}].

    Raises:
        LayoutError: if it is no such file, a split has a person twice, or two have other people.
    """
    try:
        content = json.loads(read_input(path).decode("utf-8-sig"))
        splits = tuple(_parse_split(entry, path) for entry in content)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, KeyError, TypeError) as error:
        raise LayoutError(
            f"prid2011: {path} is not a list of splits ({type(error).__name__}: {error}). {_REMEDY}"
        ) from error
    if len({frozenset((*split.train, *split.test)) for split in splits}) != 1:
        raise LayoutError(
            f"prid2011: the {len(splits)} splits of {path} are not of the same people. {_REMEDY}"
        )
    return splits


def load_official_splits() -> tuple[PersonSplit, ...]:
    """Return the ten splits that every paper uses."""
    content = json.loads(OWN_SPLITS.read_text(encoding="utf-8"))
    people = set(content["people"])
    return tuple(
        PersonSplit(tuple(sorted(people - set(test))), tuple(test)) for test in content["test"]
    )


def _find_base(root: Path) -> tuple[Path, str]:
    needed = tuple(f"multi_shot/{camera}" for camera in CAMERAS)
    nested = ("prid_2011", "prid2011", "prid2011/prid_2011", "PRID2011")
    for folder in (root, *(root / path for path in nested)):
        if (folder / "single_shot").is_dir() and not (folder / "multi_shot").is_dir():
            raise LayoutError(
                f"prid2011: {folder} has only single_shot, an image data set with other people. "
                "What to do: unpack multi_shot of the official archive beside it."
            )
    return find_base(root, nested=nested, needed=needed, name="prid2011")


def _find_splits(root: Path, base: Path) -> tuple[tuple[PersonSplit, ...], str]:
    official = load_official_splits()
    folders = [base, *(path for path in base.parents if path == root or root in path.parents)]
    for folder in folders:
        if os.path.lexists(folder / SPLIT_FILE):
            splits = load_splits(folder / SPLIT_FILE)
            if splits != official:
                return splits, f"of {SPLIT_FILE}, not the official ones"
    return official, "the official ones"


def _parse_split(entry: Any, path: Path) -> PersonSplit:
    train, test = (
        tuple(sorted(_parse_person(name, str(path)) for name in entry[part]))
        for part in ("train", "test")
    )
    if not train or not test or len({*train, *test}) != len(train) + len(test):
        raise LayoutError(
            f"prid2011: a split of {path} has a person twice, or an empty half. {_REMEDY}"
        )
    return PersonSplit(train, test)


def _parse_person(name: str, path: str) -> int:
    found = _PERSON.fullmatch(name)
    return parse_person(found[1] if found else name, path=path, name="prid2011")


def _list_people(folder: Path, people: list[int]) -> dict[int, str]:
    """Folder of each person; more than the needed ones."""
    names = list_people(folder, name="prid2011", parse=_parse_person)
    missing = [f"person_{pid:04d}" for pid in people if pid not in names]
    if missing:
        raise LayoutError(
            f"prid2011: {folder} lacks {len(missing)} of the {len(people)} people of the splits: "
            f"{render_first(missing)}. What to do: {describe_nested(folder)}; or, for your own "
            f"data set, put its {SPLIT_FILE} beside multi_shot."
        )
    return names


def _list_frames(root: Path, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Frames in natural order, which is that of their numbers."""
    found = list_images(root / path, name="prid2011")
    numbers: dict[int, str] = {}
    for name in found.media:
        number = find_number(name)
        other = numbers.setdefault(number, name) if number is not None else ""
        if other != name:
            raise LayoutError(
                f"prid2011: {root / path}/{name} has "
                + (f"the frame number of {other}" if other else "no frame number")
                + ". What to do: remove it, or rename it."
            )
    return tuple(f"{path}/{name}" for name in found.media), found.stray
