"""Files of a folder, apart from those that have nothing to do with the data set."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vills.data.files import walk_folders
from vills.data.layouts.base import LayoutError

IMAGES = (".jpg", ".jpeg", ".png")
MAX_NUMBER = 2**31 - 1
ZERO_PERSON = 100_000
"""Person 0 of a data set that counts people from 0: in records, 0 is a distractor."""
_SHOWN = 5
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True)
class Listing:
    """What lies below a folder; paths are posix and relative to it, folder by folder, sorted."""

    images: tuple[str, ...]
    """Files with a suffix of an image."""
    stray: tuple[str, ...]
    """Everything else: Thumbs.db, .DS_Store, hidden folders."""


def list_folder(folder: Path, *, suffixes: Sequence[str] = IMAGES) -> Listing:
    """Sort the files below `folder` into images and others; links are followed, once.

    Raises:
        UnreadableFolderError: if a folder cannot be listed, or a name is not UTF-8.
    """
    images: list[str] = []
    stray: list[str] = []
    for prefix, hidden, names in walk_folders(folder):
        stray += [f"{prefix}{name}/" for name in hidden]
        for name in names:
            (images if is_image(name, suffixes) else stray).append(prefix + name)
    return Listing(tuple(images), tuple(stray))


def list_images(folder: Path, *, name: str) -> Listing:
    """Sort the files below a folder that has to hold images, each of them once.

    Raises:
        LayoutError: if there is no image, or two have one name, whatever their suffix.
        UnreadableFolderError: if a folder cannot be listed, or a name is not UTF-8.
    """
    found = list_folder(folder)
    if not found.images:
        raise LayoutError(f"{name}: {folder} holds no image. What to do: unpack the archive again.")
    seen: dict[str, str] = {}
    for path in found.images:
        other = seen.setdefault(PurePosixPath(path).stem, path)
        if other != path:
            raise LayoutError(
                f"{name}: {folder}: {other} and {path} are the same image twice. What to do: keep "
                "one of them; a second copy of the data set may lie inside the first."
            )
    return found


def is_image(name: str, suffixes: Sequence[str] = IMAGES) -> bool:
    """Whether a name is that of an image, and no resource fork of one (`._0001.jpg`)."""
    return name.lower().endswith(tuple(suffixes)) and not name.startswith(".")


def find_number(path: str) -> int | None:
    """Last number in the name of a file: that of a frame; None if there is none."""
    found = _LAST_NUMBER.search(PurePosixPath(path).stem)
    return int(found[1]) if found else None


def list_subfolders(folder: Path) -> tuple[str, ...]:
    """Names of the folders in `folder`, sorted, without hidden ones and those of macOS's zip."""
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return tuple(sorted(n for n in names if not n.startswith(".") and n != "__MACOSX"))


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
