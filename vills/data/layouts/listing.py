"""Files of a folder, apart from those that have nothing to do with the data set."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vills.data.layouts.base import LayoutError

IMAGES = (".jpg", ".jpeg", ".png")
MAX_NUMBER = 2**31 - 1
ZERO_PERSON = 100_000
"""Person 0 of a data set that counts people from 0: in records, 0 is a distractor."""
_SHOWN = 5


@dataclass(frozen=True)
class Listing:
    """What lies below a folder; paths are posix and relative to it, folder by folder, sorted."""

    images: tuple[str, ...]
    """Files with a suffix of an image."""
    stray: tuple[str, ...]
    """Everything else: Thumbs.db, .DS_Store, hidden folders."""


def list_folder(folder: Path, *, name: str, suffixes: Sequence[str] = IMAGES) -> Listing:
    """Sort the files below `folder` into images and others; links are followed, once.

    Raises:
        LayoutError: if a folder cannot be listed: to pass it over would lose its images.
    """

    def refuse(error: OSError) -> None:
        raise LayoutError(
            f"{name}: cannot list {error.filename} ({error.strerror}). What to do: make the folder "
            "readable."
        ) from error

    images: list[str] = []
    stray: list[str] = []
    seen = set()
    for current, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(current).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        base = Path(current).relative_to(folder).as_posix()
        prefix = "" if base == "." else f"{base}/"
        stray += sorted(f"{prefix}{entry}/" for entry in folders if entry.startswith("."))
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        for entry in sorted(names):
            is_image = entry.lower().endswith(tuple(suffixes)) and not entry.startswith(".")
            (images if is_image else stray).append(prefix + entry)
    return Listing(tuple(images), tuple(stray))


def list_subfolders(folder: Path) -> tuple[str, ...]:
    """Names of the folders in `folder`, sorted, without hidden ones and those of macOS's zip."""
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return tuple(sorted(n for n in names if not n.startswith(".") and n != "__MACOSX"))


def require_unique(paths: Iterable[str], *, name: str) -> None:
    """Refuse two files of one name, whatever their folder and suffix.

    Raises:
        LayoutError: naming the first pair.
    """
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(PurePosixPath(path).stem, path)
        if other != path:
            raise LayoutError(
                f"{name}: {other} and {path} are the same image twice. What to do: keep one of "
                "them; a second copy of the data set may lie inside the first."
            )


def parse_person(text: str, *, path: str, name: str) -> int:
    """Number of a person as it stands in records; a person 0 becomes ZERO_PERSON.

    Raises:
        LayoutError: if it is no number that a record can hold.
    """
    if not text.isascii() or not text.isdigit() or int(text) > MAX_NUMBER:
        raise LayoutError(
            f"{name}: {path}: {text!r} is not the number of a person. What to do: rename it, or "
            "take it away."
        )
    return int(text) or ZERO_PERSON


def shorten(names: Sequence[object]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else shown


def note_stray(folder: str, stray: Sequence[str]) -> tuple[str, ...]:
    """Say which files of a folder were passed over."""
    if not stray:
        return ()
    word = "file" if len(stray) == 1 else "files"
    return (f"{folder}: {len(stray):,} other {word} passed over: {shorten(stray)}",)
