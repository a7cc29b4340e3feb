"""Query and gallery of a raw layout without a look at a pixel: who is where, by path."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import pyarrow as pa

from vills.config.checks import ConfigError
from vills.data.layouts import Layout, LayoutError, RawImage, RawTracklet, RawVideo
from vills.data.records import TEMPLATES_SCHEMA, build_record_id
from vills.data.spelling import Spelling, Spellings
from vills.evaluation.entries import TestData, build_entries

TEST_SPLITS = ("query", "gallery")

Raw = RawImage | RawTracklet | RawVideo


class Medium(NamedTuple):
    """An image, tracklet or video of the test splits."""

    raw: Raw
    split: str

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of its frames in order; the file of an image or video."""
        return self.raw.paths if isinstance(self.raw, RawTracklet) else (self.raw.path,)

    @property
    def kind(self) -> str:
        """Kind of record."""
        return "image" if isinstance(self.raw, RawImage) else "tracklet"

    @property
    def is_video(self) -> bool:
        """Whether it is one file of any number of frames."""
        return isinstance(self.raw, RawVideo)

    @property
    def name(self) -> str:
        """Path of the image, of the first frame, or of the video (and segment)."""
        return self.raw.video_id if isinstance(self.raw, RawVideo) else self.names[0]

    @property
    def record_id(self) -> str:
        """As in a curated folder (but for videos, whose tracklets only curation knows)."""
        return build_record_id(self.name)


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
        raws: Iterable[Raw] = (*layout.images, *layout.tracklets, *layout.videos)
        media = sorted(
            (Medium(raw, assign(raw)) for raw in raws), key=lambda medium: medium.record_id
        )
        self.media = [medium for medium in media if medium.split in TEST_SPLITS]
        self._rest = [medium for medium in media if medium.split not in TEST_SPLITS]
        for split in TEST_SPLITS:
            if not any(medium.split == split for medium in self.media):
                raise LayoutError(
                    f"{layout.name}: {layout.root} has nothing in split {split}. What to do: check "
                    "the layout and the root."
                )
        self.rows = {medium.record_id: row for row, medium in enumerate(self.media)}
        frames = {
            name: Found(row, position)
            for row, medium in enumerate(self.media)
            for position, name in enumerate(medium.names)
            if not medium.is_video
        }
        self._found = frames | _index_wholes(self.media)
        # train's files too can have a name
        counts = Counter(posixpath.basename(name) for medium in media for name in medium.names)
        bare = {posixpath.basename(path): path for path in frames}
        self._bare = {name: path for name, path in bare.items() if counts[name] == 1}
        shared = posixpath.commonpath([posixpath.dirname(own.names[0]) for own in self.media])
        self._prefixes = list(accumulate(shared.split("/"), posixpath.join)) if shared else []
        self._templates = _build_templates(layout, self.media)
        self._split_id = split_id if layout.splits else None

    @cached_property
    def data(self) -> TestData:
        """Query and gallery of all test rows; a gallery's junk is left to the protocols."""
        query, gallery = (
            build_entries(_build_table(medium for medium in self.media if medium.split == split))
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

    @cached_property
    def others(self) -> frozenset[str]:
        """Paths of what is no query and no gallery."""
        return frozenset(name for medium in self._rest for name in medium.names)

    def find_namesake(self, path: str) -> str:
        """Find a test file of this name in another folder; empty if none, or several, have it."""
        return self._bare.get(posixpath.basename(path), "")

    def find_spelt(self, written: Iterable[str]) -> Iterator[tuple[Found, Spelling]]:
        """Find which of the paths mean a test file (by the ways of `find`) but are spelt otherwise.

        What could mean several files means none.
        """
        spellings = Spellings(written)
        claims: dict[str, dict[Found, Spelling]] = {}
        for path, found in self._found.items():
            folders = [f"{prefix}/" for prefix in self._prefixes if path.startswith(f"{prefix}/")]
            for spelling in map(spellings.find, [path, *map(path.removeprefix, folders)]):
                if spelling is not None:
                    claims.setdefault(spelling.written, {}).setdefault(found, spelling)
        for bare, path in self._bare.items():
            spelling = spellings.find(bare)
            if spelling is not None and not spelling.is_longer:
                claims.setdefault(spelling.written, {}).setdefault(self._found[path], spelling)
        for claim in claims.values():
            if len(claim) == 1:
                yield from claim.items()

    def name(self, row: int, position: int = -1) -> str:
        """Name a medium, or one of its frames, for a message."""
        medium = self.media[row]
        return medium.name if medium.is_video else medium.names[max(position, 0)]


def _index_wholes(media: Sequence[Medium]) -> dict[str, Found]:
    """Find videos, and folders that hold the frames of one tracklet alone, by path.

    A video of which several segments are rows is named by their ids (path#start-stop).
    """
    ids = {medium.name for medium in media if medium.is_video}
    named: list[tuple[str, int]] = []
    for row, medium in enumerate(media):
        if medium.is_video:
            names = {medium.name, *({*medium.names} - ids)}
        else:
            folders = {posixpath.dirname(name) for name in medium.names}
            names = folders if medium.kind == "tracklet" else set()
        named += [(name, row) for name in names]
    counts = Counter(name for name, _ in named)
    return {name: Found(row, -1) for name, row in named if name and counts[name] == 1}


def _find_assignment(layout: Layout, split_id: int) -> Callable[[Raw], str]:
    """Find how a row gets its split: its own, unless the official split by people decides.

    Of a split by people camera 0 is searched from, the others are searched.
    """
    allowed = len(layout.splits) or 1
    if not 0 <= split_id < allowed:
        raise ConfigError(
            f"split_id = {split_id} is not allowed. Allowed: {layout.name} has "
            f"{'splits 0 to ' + str(allowed - 1) if allowed > 1 else 'only split 0'}. "
            "What to do: give --split-id with one of them."
        )
    if not layout.splits or not layout.splits[split_id].test:
        return lambda raw: raw.split
    test = frozenset(layout.splits[split_id].test) - frozenset(layout.splits[split_id].train)

    def assign(raw: Raw) -> str:
        if raw.pid not in test:
            return "none"
        return "query" if raw.camid == 0 else "gallery"

    return assign


def _build_table(media: Iterable[Medium]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "record_id": medium.record_id,
                "kind": medium.kind,
                "pid": medium.raw.pid,
                "camid": medium.raw.camid,
                "clothes_id": medium.raw.clothes_id,
                "num_frames": len(medium.names),
            }
            for medium in media
        ]
    )


def _build_templates(layout: Layout, media: Iterable[Medium]) -> pa.Table | None:
    """Build templates by the ids of their members, as curation writes them."""
    if not layout.templates:
        return None
    ids = {medium.name: medium.record_id for medium in media}
    rows = [
        {
            "group": template.group,
            "name": template.name,
            "pid": template.pid,
            "record_ids": [ids[name] for name in template.members if name in ids],
        }
        for template in layout.templates
    ]
    return pa.Table.from_pylist(rows, schema=TEMPLATES_SCHEMA)
