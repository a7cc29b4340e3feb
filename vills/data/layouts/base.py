"""What every layout reader yields, and the errors they share."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from vills.data.files import walk_files
from vills.errors import UserError

T = TypeVar("T")


class LayoutError(UserError, ValueError):
    """The folder does not hold what was expected; says what was looked for and what to do."""


@dataclass(frozen=True, slots=True)
class RawImage:
    """An image file of one person."""

    path: str
    """Below the root, posix."""
    split: str
    """pretrain, train, query or gallery."""
    pid: int = -1
    """Person; -1 unknown or junk, 0 distractor."""
    camid: int = -1
    """Camera from 0; -1 unknown."""
    clothes_id: int = -1
    """Outfit; -1 unknown."""


@dataclass(frozen=True, slots=True)
class RawTracklet:
    """Image files of one person in one camera, in temporal order."""

    paths: tuple[str, ...]
    """Below the root, posix."""
    split: str
    """pretrain, train, query or gallery."""
    pid: int = -1
    """Person; -1 unknown or junk, 0 distractor."""
    camid: int = -1
    """Camera from 0; -1 unknown."""
    clothes_id: int = -1
    """Outfit; -1 unknown."""


@dataclass(frozen=True, slots=True)
class RawVideo:
    """A video file with any number of people."""

    path: str
    """Below the root, posix."""
    video_id: str
    """Unique within the source."""
    split: str = "pretrain"
    """pretrain, train, query or gallery."""
    pid: int = -1
    """The one person of a labelled video; -1 unknown."""
    camid: int = -1
    """Camera from 0; -1 unknown."""
    clothes_id: int = -1
    """Outfit; -1 unknown."""
    start: int = 0
    """First frame that counts."""
    stop: int = -1
    """Frame after the last one that counts; -1: to the end."""


@dataclass(frozen=True, slots=True)
class RawEntry:
    """Media that are one entry of a query or gallery together: a sigset's template."""

    group: str
    """probe, or the name of its gallery: gallery_1, gallery_2."""
    name: str
    """Unique within the group."""
    pid: int
    """Person."""
    members: tuple[str, ...]
    """`path` of images and tracklets (of the first frame), `video_id` of videos."""


@dataclass(frozen=True, slots=True)
class PersonSplit:
    """People of one of several official splits (PRID2011 has ten)."""

    train: tuple[int, ...]
    """Pids."""
    test: tuple[int, ...]
    """Pids."""


class Stream(Iterable[T], Generic[T]):
    """An iterable that starts anew each time, so that millions of rows never stand in memory."""

    def __init__(self, build: Callable[[], Iterator[T]]) -> None:
        self._build = build

    def __iter__(self) -> Iterator[T]:
        """Start from the first row."""
        return self._build()


@dataclass(frozen=True)
class Layout:
    """What a reader found, in a sorted order; iterate each field as often as needed."""

    name: str
    """Name of the layout."""
    root: Path
    """Folder that all paths are below."""
    images: Iterable[RawImage] = ()
    """Image files."""
    tracklets: Iterable[RawTracklet] = ()
    """Tracklets of image files."""
    videos: Iterable[RawVideo] = ()
    """Video files."""
    entries: tuple[RawEntry, ...] = ()
    """Templates, for data sets whose query and gallery are not single images or tracklets."""
    splits: tuple[PersonSplit, ...] = ()
    """Official splits by people, where there are several; rows carry split 0."""
    notes: tuple[str, ...] = ()
    """What was passed over or looks wrong, for the report and `vills data check`."""

    def read_bytes(self, path: str) -> bytes:
        """Content of the file at `path` (a layout with its own container overrides this)."""
        return (self.root / path).read_bytes()


OFFICIAL_COUNTS: dict[str, dict[str, int]] = {
    "market1501": {
        "train": 12_936,
        "train ids": 751,
        "query": 3_368,
        "query ids": 750,
        "gallery": 15_913,
    },
    "mars": {
        "train": 8_298,
        "train ids": 625,
        "query": 1_980,
        "query ids": 626,
        "gallery": 9_330,
    },
}
"""Rows and people per split after junk (pid -1) is dropped; MARS in tracklets."""


def compare_counts(name: str, counts: Mapping[str, int]) -> list[str]:
    """Lines for a report where `counts` differ from the official ones; a subset is no failure."""
    return [
        f"{name}: {counts.get(key, 0):,} {key}, the official release has {official:,}"
        for key, official in OFFICIAL_COUNTS.get(name, {}).items()
        if counts.get(key, 0) != official
    ]


def check_folder(root: Path, name: str) -> None:
    """Refuse a missing or empty folder.

    Raises:
        LayoutError: saying which.
    """
    if not root.is_dir():
        raise LayoutError(
            f"{name}: no folder {root}. What to do: put the data set there, or correct the "
            "source's path and VILLS_DATA."
        )
    if next(root.iterdir(), None) is None:
        raise LayoutError(f"{name}: {root} is empty. What to do: put the data set there.")


def find_root(root: Path, *, nested: tuple[str, ...], needed: tuple[str, ...], name: str) -> Path:
    """The first of root and root/nested... that has all `needed` entries.

    Raises:
        LayoutError: listing what was looked for and what is there.
    """
    check_folder(root, name)
    candidates = [root, *(root / path for path in nested)]
    for candidate in candidates:
        if all((candidate / entry).exists() for entry in needed):
            return candidate
    found = ", ".join(sorted(path.name for path in root.iterdir())[:8])
    raise LayoutError(
        f"{name}: {root} has another layout. Looked for {', '.join(needed)} in it and in "
        f"{', '.join(nested)}; found {found}. What to do: unpack the official archive there, or "
        "use layout = folder for data of your own."
    )


def walk(root: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Files below `root` with one of the suffixes: posix, relative, folder by folder, sorted."""
    return (path for path in walk_files(root) if path.lower().endswith(suffixes))


def require_any(stream: Iterable[T], *, root: Path, name: str, expected: str) -> None:
    """Refuse a stream without a row.

    Raises:
        LayoutError: saying what was expected.
    """
    if next(iter(stream), None) is None:
        raise LayoutError(
            f"{name}: no {expected} below {root}. What to do: check that the data set is unpacked "
            "there and that the source's layout is right."
        )
