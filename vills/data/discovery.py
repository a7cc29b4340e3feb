"""Find the data sets below a folder, and the layout of each.

A layout is told from names alone; half-unpacked copies are recognised too.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vills.data.files import VIDEO_SUFFIXES, list_names
from vills.data.layouts.containers import DATA_FILE
from vills.data.layouts.folder import SPLIT_FILE, parse_name
from vills.data.layouts.labelled_images import (
    LTCC_FOLDERS,
    LTCC_NAME,
    MARKET1501_FOLDERS,
    MARKET1501_NAME,
)
from vills.data.layouts.listing import is_medium, list_above, list_subfolders
from vills.data.layouts.prid2011 import SPLIT_FILE as PRID2011_SPLIT_FILE
from vills.data.layouts.unlabelled import KEYS_FILE
from vills.inputs import open_input

# LUPerson's extract.py, its convert_lmdb.py, and LUPerson-NL's extract.py
_LUPERSON_NAME = re.compile(r"\d{8}_\d{4}|\d{2}_\d{2}_\d{3,4}_\d{8}|\d{6}_\d{7}_\d{2}")
_LUPERSON_FOLDER = re.compile(r"lu-?person.*|lup", re.IGNORECASE)
_PRCC_NAME = re.compile(r"[ABC]_\w+\.(jpg|jpeg|png)", re.IGNORECASE)
_MARS_NAMES = (
    "bbox_train",
    "bbox_test",
    "info/tracks_test_info.mat",
    "info/tracks_train_info.mat",
    "info/query_IDX.mat",
)
_PRID2011_NAMES = (
    PRID2011_SPLIT_FILE,
    "multi_shot",
    "single_shot",
    "prid_2011/multi_shot",
    "prid_2011/single_shot",
)
_SIGSET_MARK = b"briar/xml/sigset"
_HEAD_BYTES = 4096
_PEEK = 50


def find_layout(folder: Path) -> str:
    """Layout that starts at `folder`, or an empty string; a whole or a part of a copy."""
    return next((name for name, check in _CHECKS.items() if check(folder)), "")


def find_media_kind(folder: Path) -> str:
    """Return what the media files that lie directly in `folder` could be read as; empty if nothing.

    `images` says that there are images, but none whose name says a person.
    """
    names = _list_files(folder)
    if any(is_medium(name, VIDEO_SUFFIXES) for name in names):
        return "kinetics"
    images = [name for name in names if is_medium(name)]
    if not images:
        return ""
    if all(_LUPERSON_NAME.match(name) for name in images[:_PEEK]):
        return "luperson"
    if any(parse_name(name) for name in images[:_PEEK]):
        return "folder"
    return "images"


def _is_market1501(folder: Path) -> bool:
    """Whether folders have Market-1501's names, and images no others (DukeMTMC-reID has no s1).

    What is called Market is to be compared with it, whatever the images are called.
    """
    parts = [folder / name for name in ("bounding_box_train", "bounding_box_test")]
    names = [name for part in parts if part.is_dir() for name in _list_files(part)[:_PEEK]]
    found = [match for name in names if (match := MARKET1501_NAME.match(name))]
    is_other = bool(found) and not any(m[3] for m in found) and "market" not in folder.name.lower()
    return any(part.exists() for part in parts) and not is_other


def _is_prcc(folder: Path) -> bool:
    for base in (folder / "rgb", folder):
        if any((base / "test" / letter).is_dir() for letter in "ABC"):
            return True
        for split in ("train", "val"):
            people = list_subfolders(base / split) if (base / split).is_dir() else ()
            if people and any(map(_PRCC_NAME.fullmatch, _list_files(base / split / people[0]))):
                return True
    return False


def _is_ltcc(folder: Path) -> bool:
    if _has_any(folder, ("info/cloth-change_id_train.txt", "info/cloth-change_id_test.txt")):
        return True
    return any(
        (folder / name).is_dir() and any(map(LTCC_NAME.match, _list_files(folder / name)[:_PEEK]))
        for name in LTCC_FOLDERS.values()
    )


def _is_sigset(folder: Path) -> bool:
    if any(folder.glob("sigsets_*/*.xml")):
        return True
    for name in (name for name in _list_files(folder) if name.lower().endswith(".xml")):
        with open_input(folder / name) as stream:
            if _SIGSET_MARK in stream.read(_HEAD_BYTES):
                return True
    return False


def _is_luperson(folder: Path) -> bool:
    is_database = any((folder / name).is_file() for name in (KEYS_FILE, DATA_FILE))
    return is_database or bool(_LUPERSON_FOLDER.fullmatch(folder.name))


def _is_folder(folder: Path) -> bool:
    if (folder / SPLIT_FILE).is_file():
        return True
    # of another data set than Market-1501, which is asked for before
    names = (MARKET1501_FOLDERS["train"], MARKET1501_FOLDERS["gallery"])
    return all((folder / name).is_dir() for name in ("query", "gallery")) or _has_any(folder, names)


def _has_any(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).exists() for name in names)


_CHECKS: dict[str, Callable[[Path], bool]] = {
    "market1501": _is_market1501,
    "mars": partial(_has_any, names=_MARS_NAMES),
    "prid2011": partial(_has_any, names=_PRID2011_NAMES),
    "prcc": _is_prcc,
    "ltcc": _is_ltcc,
    "sigset": _is_sigset,
    "luperson": _is_luperson,
    "folder": _is_folder,
}


def _list_files(folder: Path) -> list[str]:
    return [name for name in list_names(folder) if (folder / name).is_file()]


MAX_DEPTH = 3
_LOOSE = {"kinetics", "luperson", "folder", "images"}
_TOO_DEEP = ("market1501", "mars", "prid2011", "prcc", "ltcc")
_PART = re.compile(
    r"\d+|00-1|train\d*|val|test|query|gallery|images|cam\w{1,3}|c\d+|clips|videos", re.IGNORECASE
)

_HINT = "images whose names identify no person: layout = luperson reads them, for pre-training only"


@dataclass(frozen=True)
class FoundFolder:
    """A folder, and what it holds."""

    path: Path
    layout: str
    """Name of the layout; empty: nothing that is known."""
    problem: str = ""
    """Why it cannot be read, if that is known already."""
    hint: str = ""
    """What could be done with a folder of no known layout."""


def find_datasets(root: Path) -> list[FoundFolder]:
    """Find data sets at `root` and up to MAX_DEPTH folders below, by path; and unknown folders.

    A folder that has a known layout is one data set, whatever it holds. Other folders with media
    count as one where their names look like parts of one (train, 0001), else each for itself.
    """
    if around := _find_around(root):
        problem = (
            f"{root} is inside a data set: the wrong folder level. What to do: give {around[0]}."
        )
        return [FoundFolder(root, around[1], problem=problem)]
    found = _visit(root, depth=0)
    if found == [FoundFolder(root, "")]:
        return [FoundFolder(root / name, "") for name in list_subfolders(root)]
    return [FoundFolder(f.path, "", hint=_HINT) if f.layout == "images" else f for f in found]


def _find_around(root: Path) -> tuple[Path, str] | None:
    """Return a data set that `root` is only a part of."""
    # folders above belong to others: what cannot be read there is no error
    with contextlib.suppress(OSError):
        if find_layout(root):
            return None
        for folder in list_above(root):
            if (layout := find_layout(folder)) in _TOO_DEEP:
                return folder, layout
    return None


def _visit(folder: Path, *, depth: int) -> list[FoundFolder]:
    try:
        return _look_into(folder, depth=depth)
    except OSError as error:
        problem = (
            f"cannot read {folder} ({error.strerror}: {error.filename}). What to do: make it and "
            "its contents readable."
        )
        return [FoundFolder(folder, "", problem=problem)]


def _look_into(folder: Path, *, depth: int) -> list[FoundFolder]:
    layout = find_layout(folder) or find_media_kind(folder)
    if layout:
        return [FoundFolder(folder, layout)]
    if depth == MAX_DEPTH:
        return [FoundFolder(folder, _peek_below(folder, depth=MAX_DEPTH))]
    found = [f for name in list_subfolders(folder) for f in _visit(folder / name, depth=depth + 1)]
    known = {f.layout for f in found if f.layout}
    if not known and not any(f.problem for f in found):
        return [FoundFolder(folder, "")]
    if _is_one(folder, found, known=known, depth=depth):
        return [FoundFolder(folder, known.pop())]
    return found


def _is_one(folder: Path, found: list[FoundFolder], *, known: set[str], depth: int) -> bool:
    """Whether what lies in `folder` are parts of one data set."""
    if len(known) != 1 or any(f.problem for f in found):
        return False
    parts = [f.path.relative_to(folder).parts[0] for f in found if f.layout]
    # below the root itself, only names of parts say that it is one data set and not several
    if depth and known <= {"kinetics", "luperson"}:
        return True
    return known <= _LOOSE and all(map(_PART.fullmatch, parts))


def _peek_below(folder: Path, *, depth: int) -> str:
    """Layout of the first folder with media, up to `depth` below: links may go in circles."""
    for name in list_subfolders(folder) if depth else ():
        layout = find_media_kind(folder / name) or _peek_below(folder / name, depth=depth - 1)
        if layout:
            return layout
    return ""
