"""Finds the data sets below a folder."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from vills.data.layouts.listing import list_subfolders
from vills.data.layouts.signatures import recognise, recognise_media

MAX_DEPTH = 3
_UP = 2
_LOOSE = {"kinetics", "luperson", "folder", "images"}
_TOO_DEEP = ("market1501", "mars", "prid2011", "prcc", "ltcc")
_PART = re.compile(
    r"\d+|00-1|train\d*|val|test|query|gallery|images|cam\w{1,3}|c\d+|clips|videos", re.IGNORECASE
)

_HINT = "images whose names say nobody: layout = luperson reads them, for pre-training alone"


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
    """Data sets at `root` and up to MAX_DEPTH folders below it, by path; and folders of unknown.

    A folder that has a known layout is one data set, whatever it holds. Other folders with media
    count as one where their names look like parts of one (train, 0001), else each for itself.
    """
    if around := _find_around(root):
        problem = (
            f"{root} lies inside a data set: the wrong folder level. What to do: give {around[0]}."
        )
        return [FoundFolder(root, around[1], problem=problem)]
    found = _visit(root, depth=0)
    if found == [FoundFolder(root, "")]:
        return [FoundFolder(root / name, "") for name in list_subfolders(root)]
    return [FoundFolder(f.path, "", hint=_HINT) if f.layout == "images" else f for f in found]


def _find_around(root: Path) -> tuple[Path, str] | None:
    """A data set that `root` is only a part of."""
    folder = root
    # folders above belong to others: what cannot be read there is no error
    with contextlib.suppress(OSError):
        if recognise(root):
            return None
        for _ in range(_UP):
            folder = folder.parent if folder.name else folder.resolve().parent
            layout = recognise(folder)
            if layout in _TOO_DEEP:
                return folder, layout
    return None


def _visit(folder: Path, *, depth: int) -> list[FoundFolder]:
    try:
        return _look_into(folder, depth=depth)
    except OSError as error:
        problem = (
            f"cannot look into {folder} ({error.strerror}: {error.filename}). What to do: make it, "
            "and what lies in it, readable."
        )
        return [FoundFolder(folder, "", problem=problem)]


def _look_into(folder: Path, *, depth: int) -> list[FoundFolder]:
    layout = recognise(folder) or recognise_media(folder)
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
        layout = recognise_media(folder / name) or _peek_below(folder / name, depth=depth - 1)
        if layout:
            return layout
    return ""
