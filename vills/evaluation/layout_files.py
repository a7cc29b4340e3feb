"""Query and gallery of a raw layout without a look at a pixel: who is where, by path."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from vills.config.checks import ConfigError
from vills.data.layouts import Layout, LayoutError, RawImage, RawTracklet, RawVideo
from vills.data.records import TEMPLATES_SCHEMA, make_record_id
from vills.evaluation.entries import TestData, build_entries

TEST_SPLITS = ("query", "gallery")

Raw = RawImage | RawTracklet | RawVideo


class Medium(NamedTuple):
    """An image, tracklet or video of the test splits."""

    raw: Raw
    names: tuple[str, ...]
    """Paths of its frames in order; the file of an image or video."""
    split: str

    @property
    def kind(self) -> str:
        """Kind of record."""
        return "image" if isinstance(self.raw, RawImage) else "tracklet"

    @property
    def is_video(self) -> bool:
        """Whether it is one file of any number of frames."""
        return isinstance(self.raw, RawVideo)

    @property
    def record_id(self) -> str:
        """As in a curated folder (but for videos, whose tracklets only curation knows)."""
        return make_record_id(
            self.raw.video_id if isinstance(self.raw, RawVideo) else self.names[0]
        )


class Found(NamedTuple):
    """Which medium a path means."""

    row: int
    position: int
    """Which of its frames the path is of; -1: the folder, or the video file."""


class LayoutFiles:
    """The test files of a layout in record order, and what each path means."""

    def __init__(self, layout: Layout, *, split_id: int = 0) -> None:
        """List the test splits of a layout.

        Args:
            layout: what a reader found.
            split_id: which of its official splits, where it has several.

        Raises:
            ConfigError: no such split.
            LayoutError: no query, or no gallery.
        """
        self.layout = layout
        assign = _find_assignment(layout, split_id)
        media = sorted(_iterate_media(layout, assign), key=lambda medium: medium.record_id)
        self.media = [medium for medium in media if medium.split in TEST_SPLITS]
        for split in TEST_SPLITS:
            if not any(medium.split == split for medium in self.media):
                raise LayoutError(
                    f"{layout.name}: {layout.root} has nothing in split {split}. What to do: check "
                    "the layout and the root."
                )
        frames = {
            name: Found(row, position)
            for row, medium in enumerate(self.media)
            for position, name in enumerate(medium.names)
            if not medium.is_video
        }
        self._bare = _index_bare_names(frames, media)
        self._found = frames | _index_wholes(self.media)
        self._prefixes = _list_prefixes(self.media)
        self._templates = _build_templates(layout, self.media)
        self._split_id = split_id if layout.splits else None

    @cached_property
    def data(self) -> TestData:
        """Query and gallery of all test rows; a gallery's junk is left to the protocols."""
        query, gallery = (
            build_entries(_build_table([medium for medium in self.media if medium.split == split]))
            for split in TEST_SPLITS
        )
        counted = query.drop_junk()
        num_junk = len(query) - len(counted)
        notes = (f"{num_junk:,} rows of query without a person left out",) if num_junk else ()
        return TestData(counted, gallery, self._templates, self._split_id, notes)

    def find(self, path: str) -> Found | None:
        """Find what a path below the root means; a unique file name alone is enough.

        A level of folders that the data set has above all its files may be left out.
        """
        candidates = [path, *(f"{prefix}/{path}" for prefix in self._prefixes)]
        if "/" not in path and path in self._bare:
            candidates.append(self._bare[path])
        return next((self._found[name] for name in candidates if name in self._found), None)

    def name(self, row: int, position: int = -1) -> str:
        """Name a medium, or one of its frames, for a message."""
        medium = self.media[row]
        if isinstance(medium.raw, RawVideo):
            return medium.raw.video_id
        return medium.names[max(position, 0)]


def _index_wholes(media: Sequence[Medium]) -> dict[str, Found]:
    """Find videos, and folders that hold the frames of one tracklet alone, by path.

    A video of which several segments are rows is named by their ids (path#start-stop).
    """
    ids = {medium.raw.video_id for medium in media if isinstance(medium.raw, RawVideo)}
    named: list[tuple[str, int]] = []
    for row, medium in enumerate(media):
        names: set[str] = set()
        if isinstance(medium.raw, RawVideo):
            names = {medium.raw.video_id, *({medium.raw.path} - ids)}
        elif medium.kind == "tracklet":
            names = {posixpath.dirname(name) for name in medium.names}
        named += [(name, row) for name in names]
    counts = Counter(name for name, _ in named)
    return {name: Found(row, -1) for name, row in named if name and counts[name] == 1}


def _index_bare_names(paths: Iterable[str], media: Sequence[Medium]) -> dict[str, str]:
    """Find paths by file name, where no other file of the data set (train's too) is named so."""
    counts = Counter(posixpath.basename(name) for medium in media for name in medium.names)
    found = ((posixpath.basename(path), path) for path in paths)
    return {base: path for base, path in found if counts[base] == 1}


def _list_prefixes(media: Sequence[Medium]) -> list[str]:
    """List the folders that hold all of the test rows, outermost first."""
    shared = posixpath.commonpath([posixpath.dirname(medium.names[0]) for medium in media])
    parts = shared.split("/") if shared else []
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _iterate_media(layout: Layout, assign: Callable[[Raw], str]) -> Iterator[Medium]:
    rows: Iterable[Raw]
    for rows in (layout.images, layout.tracklets, layout.videos):
        for raw in rows:
            names = raw.paths if isinstance(raw, RawTracklet) else (raw.path,)
            yield Medium(raw, names, assign(raw))


def _find_assignment(layout: Layout, split_id: int) -> Callable[[Raw], str]:
    """Find how a row gets its split: its own, unless the official split by people decides.

    Of a split by people camera 0 is searched from, the others are searched.
    """
    allowed = len(layout.splits) or 1
    if not 0 <= split_id < allowed:
        raise ConfigError(
            f"split_id = {split_id} is not allowed. Allowed: {layout.name} has "
            f"{'splits 0 to ' + str(allowed - 1) if allowed > 1 else 'split 0 alone'}. "
            "What to do: --split-id with one of them."
        )
    if not layout.splits or not layout.splits[split_id].test:
        return lambda raw: raw.split
    split = layout.splits[split_id]
    train, test = frozenset(split.train), frozenset(split.test)

    def assign(raw: Raw) -> str:
        if raw.pid in train:
            return "train"
        if raw.pid in test:
            return "query" if raw.camid == 0 else "gallery"
        return "none"

    return assign


def _build_table(media: Sequence[Medium]) -> pa.Table:
    raws = [medium.raw for medium in media]
    return pa.table(
        {
            "record_id": pa.array([medium.record_id for medium in media], pa.string()),
            "kind": pa.array([medium.kind for medium in media], pa.string()),
            "pid": pa.array([raw.pid for raw in raws], pa.int32()),
            "camid": pa.array([raw.camid for raw in raws], pa.int32()),
            "clothes_id": pa.array([raw.clothes_id for raw in raws], pa.int32()),
            "num_frames": pa.array([len(medium.names) for medium in media], pa.int32()),
        }
    )


def _build_templates(layout: Layout, media: Sequence[Medium]) -> pa.Table | None:
    """Build templates by the ids of their members, as curation writes them."""
    if not layout.templates:
        return None
    ids: dict[str, str] = {}
    for medium in media:
        raw = medium.raw
        ids[raw.video_id if isinstance(raw, RawVideo) else medium.names[0]] = medium.record_id
    columns = {
        "group": [entry.group for entry in layout.templates],
        "name": [entry.name for entry in layout.templates],
        "pid": [entry.pid for entry in layout.templates],
        "record_ids": [
            [ids[name] for name in entry.members if name in ids] for entry in layout.templates
        ],
    }
    return pa.table(columns, schema=TEMPLATES_SCHEMA)
