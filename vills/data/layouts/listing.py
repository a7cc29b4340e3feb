"""Files of a folder, where a data set starts in it, and what looks wrong there.

Files that have nothing to do with the data set are listed apart, and noted.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vills.data.files import list_folders
from vills.data.layouts.base import LayoutError, RawImage, RawTracklet, check_folder
from vills.data.records import DISTRACTOR_PID

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
    for prefix, hidden, names in list_folders(folder):
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
                f"{name}: {folder}: {other} and {path} are the same image. What to do: keep "
                "one of them; a second copy of the data set may be inside the first."
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
    """Say which files of a folder were passed over."""
    if not stray:
        return ()
    word = "file" if len(stray) == 1 else "files"
    return (f"{folder}: {len(stray):,} other {word} ignored: {render_first(stray)}",)


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
    return render_first(sorted(path.name for path in folder.iterdir()))


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


def describe_people(rows: Iterable[RawImage | RawTracklet]) -> tuple[str, ...]:
    """Note queries without a match in another camera, and people trained and tested."""
    people: dict[str, set[int]] = defaultdict(set)
    cameras: dict[int, set[int]] = defaultdict(set)
    queries: list[tuple[int, int]] = []
    for row in rows:
        if row.pid > DISTRACTOR_PID:
            people[row.split].add(row.pid)
        if row.split == "query":
            queries.append((row.pid, row.camid))
        elif row.split == "gallery":
            cameras[row.pid].add(row.camid)
    absent = [pid for pid, _ in queries if not cameras[pid]]
    # an unknown camera (-1) is another one
    alone = [pid for pid, c in queries if not cameras[pid] - ({c} if c >= 0 else set())]
    nobody = [pid for pid, _ in queries if pid <= DISTRACTOR_PID]
    total = f"of {len(queries):,} queries"
    notes = []
    if who := sorted(set(absent)):
        shown = f"{_count(who)} not in the gallery: {render_first(who)}"
        notes.append(f"{len(absent):,} {total} are of {shown}")
    if alone and len(alone) != len(absent):
        notes.append(f"{len(alone):,} {total} have no match in another camera of the gallery")
    if nobody:
        notes.append(f"{len(nobody):,} {total} are junk or distractors")
    if both := sorted(people["train"] & (people["query"] | people["gallery"])):
        notes.append(f"{_count(both)} both in train and in query or gallery: {render_first(both)}")
    return tuple(notes)


def _count(people: list[int]) -> str:
    return "1 person who is" if len(people) == 1 else f"{len(people):,} people who are"
