"""Files of a folder, where a data set starts in it, and what looks wrong there.

Files that have nothing to do with the data set are listed apart, and noted.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from vills.data.files import is_clutter, list_folders, list_names
from vills.data.images import SUFFIXES
from vills.data.layouts.base import LayoutError, check_folder

MAX_NUMBER = 2**31 - 1
ZERO_PERSON = 100_000
"""Person 0 of a data set that counts people from 0: in records, 0 is a distractor."""
_SHOWN = 5
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True)
class Listing:
    """What lies below a folder: paths, posix and relative to it, in natural order by folder."""

    media: tuple[str, ...]
    """Files with one of the suffixes asked for."""
    stray: tuple[str, ...]
    """Everything else: text files, Thumbs.db, hidden folders."""


def list_folder(folder: Path, *, suffixes: Sequence[str] = SUFFIXES) -> Listing:
    """Sort the files below `folder` into media (images) and others; links are followed, once.

    Raises:
        UnreadableFolderError: if a folder cannot be listed, or a name is not UTF-8.
    """
    media: list[str] = []
    stray: list[str] = []
    for prefix, files, passed in list_folders(folder):
        stray += [prefix + name for name in passed]
        for name in files:
            (media if is_medium(name, suffixes) else stray).append(prefix + name)
    return Listing(tuple(media), tuple(stray))


def list_images(folder: Path, *, name: str) -> Listing:
    """Sort the files below a folder that has to hold images, each of them once.

    Raises:
        LayoutError: if there is no image, or two have one name, whatever their suffix.
        UnreadableFolderError: if a folder cannot be listed, or a name is not UTF-8.
    """
    found = list_folder(folder)
    if not found.media:
        raise LayoutError(f"{name}: {folder} holds no image. What to do: unpack the archive again.")
    seen: dict[str, str] = {}
    for path in found.media:
        other = seen.setdefault(PurePosixPath(path).stem, path)
        if other != path:
            raise LayoutError(
                f"{name}: {folder}: {other} and {path} are the same image. What to do: keep "
                "one of them; a second copy of the data set may be inside the first."
            )
    return found


def list_rows(paths: Iterable[str]) -> Iterator[str]:
    """Order single images or videos as text, folder by folder.

    They have no order in time, and the ids of Kinetics no numbers: what counts is that records,
    and with them every random draw, stay the same from release to release.
    """
    for _, inside in groupby(paths, key=posixpath.dirname):
        yield from sorted(inside)


def is_medium(name: str, suffixes: Sequence[str] = SUFFIXES) -> bool:
    """Whether the name of a file ends in one of the suffixes, in whatever case."""
    return name.lower().endswith(tuple(suffixes))


def find_number(path: str) -> int | None:
    """Last number in the name of a file: that of a frame; None if there is none."""
    found = _LAST_NUMBER.search(PurePosixPath(path).stem)
    return int(found[1]) if found else None


def list_subfolders(folder: Path) -> tuple[str, ...]:
    """Names of the folders in `folder`, in natural order, without clutter."""
    return tuple(name for name in list_names(folder) if (folder / name).is_dir())


def list_beside(folder: Path) -> list[str]:
    """Names of what lies beside folders of people, clutter too; of folders with a slash."""
    entries = sorted(folder.iterdir())
    found = [e.name for e in entries if not e.is_dir()]
    return found + [f"{e.name}/" for e in entries if e.is_dir() and is_clutter(e.name)]


def parse_person(text: str, *, path: str, name: str) -> int:
    """Return the number of a person as it stands in records; a person 0 becomes ZERO_PERSON.

    Raises:
        LayoutError: if it is no number that a record can hold.
    """
    if not text.isascii() or not text.isdigit() or int(text) > MAX_NUMBER:
        raise LayoutError(
            f"{name}: {path}: {text!r} is not a person's number. What to do: rename it, or remove "
            "it."
        )
    return int(text) or ZERO_PERSON


def list_people(folder: Path, *, name: str, parse: Callable[[str, str], int]) -> dict[int, str]:
    """Return the folder of each person in `folder`, in the order of their names.

    Raises:
        LayoutError: if two are of the same person, or one says nobody.
    """
    people: dict[int, str] = {}
    for person in list_subfolders(folder):
        pid = parse(person, f"{folder}/{person}")
        if people.setdefault(pid, person) != person:
            raise LayoutError(
                f"{name}: {folder} has {people[pid]} and {person}, which are the same person. What "
                "to do: keep one."
            )
    return people


def render_first(names: Sequence[object]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else shown


def describe_stray(folder: str, stray: Sequence[str]) -> tuple[str, ...]:
    """Say which files of a folder were passed over, counted by suffix."""
    if not stray:
        return ()
    kinds = Counter(map(_find_kind, stray))
    counted = ", ".join(
        f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda k: (-k[1], k[0]))
    )
    word = "file" if len(stray) == 1 else "files"
    return (f"{folder}: {len(stray):,} other {word} ignored ({counted}): {render_first(stray)}",)


def _find_kind(path: str) -> str:
    name = path.rsplit("/", maxsplit=1)[-1]
    if not name:
        return "folder"
    return "hidden" if name[0] == "." else PurePosixPath(name).suffix.lower() or "without suffix"


_UP, _DOWN = 2, 3


def find_base(
    root: Path, *, name: str, needed: tuple[str, ...], nested: tuple[str, ...]
) -> tuple[Path, str]:
    """Return the first of root and root/nested... with all `needed` entries, and what leads there..

    The second is the prefix of paths below it: nothing, or nested with a slash at its end.

    Raises:
        LayoutError: saying whether the archive is half-unpacked, the folder is one level off (and
            which path to give), or another data set lies there.
    """
    check_folder(root, name)
    candidates = [root, *(root / path for path in nested)]
    for candidate in candidates:
        if _count_present(candidate, needed) == len(needed):
            return candidate, "" if candidate == root else f"{candidate.relative_to(root)}/"
    found = _list_names(root)
    if elsewhere := _locate(root, needed):
        raise LayoutError(
            f"{name}: {root} is the wrong folder level: {', '.join(needed)} are in {elsewhere}; "
            f"found {found}. What to do: give {elsewhere}."
        )
    best = max(candidates, key=lambda candidate: _count_present(candidate, needed))
    if _count_present(best, needed):
        missing = [entry for entry in needed if not (best / entry).exists()]
        raise LayoutError(
            f"{name}: {best} has no {', '.join(missing)}; found {_list_names(best)}. What to do: "
            "the archive is incompletely unpacked, or it is another data set: unpack the official "
            "archive again."
        )
    raise LayoutError(
        f"{name}: {root} has another layout. Looked for {', '.join(needed)} in it and in "
        f"{', '.join(nested)}; found {found}. What to do: unpack the official archive there, or "
        "use layout = folder for data of your own."
    )


def describe_nested(folder: Path) -> str:
    """Say that a folder lies inside its namesake, as some unpackers leave it."""
    if (folder / folder.name).is_dir():
        return f"{folder / folder.name} is one level too deep: move its contents up by one level"
    return "the archive is incompletely unpacked: unpack the official archive again"


def _count_present(folder: Path, needed: tuple[str, ...]) -> int:
    return sum((folder / entry).exists() for entry in needed)


def _list_names(folder: Path) -> str:
    return render_first(list_names(folder))


def _locate(root: Path, needed: tuple[str, ...]) -> Path | None:
    """Return the folder a little above or below `root` that has everything."""
    around = [*list_above(root), *_walk_down(root, _DOWN)]
    return next((path for path in around if _count_present(path, needed) == len(needed)), None)


def list_above(root: Path) -> Iterator[Path]:
    """Return the folders that `root` may be a part of, the nearest first."""
    for _ in range(_UP):
        # a relative root ends at "."; above it, only the real path goes on
        root = root.parent if root.name else root.resolve().parent
        yield root


def _walk_down(folder: Path, depth: int) -> Iterator[Path]:
    for name in list_subfolders(folder):
        yield folder / name
        if depth > 1:
            yield from _walk_down(folder / name, depth - 1)
