"""What every layout reader yields, and the errors they share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from vills.data.files import is_clutter
from vills.data.inventory import Registered
from vills.data.records import JUNK_PID
from vills.errors import UserError
from vills.inputs import read_input

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
    pid: int = JUNK_PID
    """Person; -1 unknown or junk, 0 distractor."""
    camid: int = -1
    """Camera from 0; -1 unknown."""
    clothes_id: int = -1
    """Outfit; -1 unknown."""

    def __post_init__(self) -> None:
        _check_below(self.path)

    @property
    def paths(self) -> tuple[str, ...]:
        """Files of the row, here one."""
        return (self.path,)

    @property
    def key(self) -> str:
        """What nothing else of the source has: templates name their members by it."""
        return self.path


@dataclass(frozen=True, slots=True)
class RawTracklet:
    """Image files of one person in one camera, in temporal order; fields as of an image."""

    paths: tuple[str, ...]
    """Below the root, posix."""
    split: str
    pid: int = JUNK_PID
    camid: int = -1
    clothes_id: int = -1

    def __post_init__(self) -> None:
        for path in self.paths:
            _check_below(path)

    @property
    def key(self) -> str:
        """Path of the first frame."""
        return self.paths[0]


@dataclass(frozen=True, slots=True)
class RawVideo:
    """A video file with any number of people; fields as of an image."""

    path: str
    video_id: str
    """Unique within the source."""
    split: str = "pretrain"
    pid: int = JUNK_PID
    """The one person of a labelled video; -1 unknown."""
    camid: int = -1
    clothes_id: int = -1
    start: int = 0
    """First frame, or ms, that counts."""
    stop: int = -1
    """Frame, or ms, after the last one that counts; -1: to the end."""
    unit: str = "frame"
    """What start and stop count: frame, or ms."""

    def __post_init__(self) -> None:
        _check_below(self.path)

    @property
    def paths(self) -> tuple[str, ...]:
        """Files of the row, here one."""
        return (self.path,)

    @property
    def key(self) -> str:
        """The video's id: a file may have several segments."""
        return self.video_id


RawRow = RawImage | RawTracklet | RawVideo


@dataclass(frozen=True, slots=True)
class RawTemplate:
    """Media that are one query, or one of a gallery, together: a template of a sigset."""

    group: str
    """probe, or the name of its gallery: gallery_1, gallery_2."""
    name: str
    """Unique within the group."""
    pid: int
    """Person."""
    members: tuple[str, ...]
    """Keys of the images, tracklets and videos."""


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
    templates: tuple[RawTemplate, ...] = ()
    """Templates, for data sets whose query and gallery are not single images or tracklets."""
    splits: tuple[PersonSplit, ...] = ()
    """Official splits by people, where there are several; rows carry split 0."""
    notes: tuple[str, ...] = ()
    """What was passed over or looks wrong, for the report and `vills data check`."""
    container: Callable[[str], bytes] | None = None
    """Gives the content of a path; None: paths are files below the root."""
    registered: Registered | None = None
    """What was registered, which is compared with all that is read."""

    def read_bytes(self, path: str) -> bytes:
        """Content of the file at `path`."""
        data = self.container(path) if self.container else read_input(self.root / path)
        if self.registered:
            self.registered.check_bytes(path, data)
        return data


def _check_below(path: str) -> None:
    """Refuse what is no path, or leads out of the root: lists of a data set are a stranger's."""
    if path.startswith("/") or "\0" in path or "/../" in f"/{path}/":
        raise LayoutError(
            f"a list of the data set names {path!r}. Allowed: paths below its root, without .. or "
            "a zero byte in them. What to do: do not use this copy, or correct the list."
        )


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
    if all(is_clutter(path.name) for path in root.iterdir()):
        raise LayoutError(f"{name}: {root} is empty. What to do: put the data set there.")
