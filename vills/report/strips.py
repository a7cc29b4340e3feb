"""Ranked retrieval strips: a query and what was found, right and wrong marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vills.data.images import decode_image, encode_jpeg
from vills.data.records import Manifest, load_manifest
from vills.data.shards import ShardReader

Picture = NDArray[np.uint8]
HEIGHT, WIDTH, GAP, EDGE = 112, 56, 6, 3
QUALITY = 88
COLOURS = {"query": (70, 90, 110), "right": (60, 150, 80), "wrong": (200, 70, 60)}


@dataclass(frozen=True)
class Strip:
    """One query and the top of its list."""

    query: str
    """Record id."""
    frame: int
    """Which of its frames is the query; -1: all of it."""
    gallery: list[str]
    """Record ids, nearest first, junk left out."""
    right: list[bool]


class CropReader:
    """The middle frame of any record of a curated source, by its id."""

    def __init__(self, curated: Path) -> None:
        """Open the source in folder `curated`."""
        self.manifest: Manifest = load_manifest(curated / "manifest.parquet")
        self._reader = ShardReader(curated)
        ids = self.manifest.column("record_id")
        self._rows = {str(name): row for row, name in enumerate(ids)}

    def read_frames(self, record_id: str) -> list[Picture]:
        """All frames of a record."""
        record = self.manifest[self._rows[record_id]]
        spans = zip(record.offsets, record.lengths, strict=True)
        return [decode_image(self._reader.read(record.shard, o, n)) for o, n in spans]

    def read(self, record_id: str, frame: int = -1) -> Picture:
        """One frame; -1: that in the middle."""
        record = self.manifest[self._rows[record_id]]
        place = record.num_frames // 2 if frame < 0 else frame
        data = self._reader.read(record.shard, record.offsets[place], record.lengths[place])
        return decode_image(data)


def load_strips(path: Path, *, count: int, length: int) -> list[Strip]:
    """Strips of one model, evenly over its queries in record order: not the best, not the worst."""
    lists: dict[tuple[str, int], list[tuple[str, bool]]] = {}
    for entry in pq.read_table(path).to_pylist():
        found = lists.setdefault((entry["query_id"], entry["query_frame"]), [])
        if entry["verdict"] != "junk" and len(found) < length:
            found.append((entry["gallery_id"], entry["verdict"] == "right"))
    names = sorted(lists)
    chosen = sorted({round(i) for i in np.linspace(0, len(names) - 1, count)}) if names else []
    found_by = [(*names[i], lists[names[i]]) for i in chosen]
    return [
        Strip(name, frame, [n for n, _ in top], [right for _, right in top])
        for name, frame, top in found_by
    ]


def render_strips(strips: Sequence[Strip], reader: CropReader) -> bytes:
    """JPEG: a line per strip, the query first."""
    lines = []
    for strip in strips:
        query = frame_crop(reader.read(strip.query, strip.frame), COLOURS["query"])
        found = [
            frame_crop(reader.read(name), COLOURS["right" if right else "wrong"])
            for name, right in zip(strip.gallery, strip.right, strict=True)
        ]
        space = np.full((query.shape[0], 3 * GAP, 3), 255, np.uint8)
        lines.append(join([query, space, *found]))
    return encode_picture(stack(lines))


def frame_crop(picture: Picture, colour: tuple[int, int, int]) -> Picture:
    """A crop at strip size with a coloured edge."""
    small = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    edged = cv2.copyMakeBorder(small, EDGE, EDGE, EDGE, EDGE, cv2.BORDER_CONSTANT, value=colour)
    return np.asarray(edged, np.uint8)


def join(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height side by side."""
    space = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, space)][:-1]
    return np.concatenate(parts, axis=1)


def stack(lines: Sequence[Picture]) -> Picture:
    """Lines of any width below each other."""
    width = max(line.shape[1] for line in lines)
    rows = []
    for line in lines:
        pad = ((0, GAP), (0, width - line.shape[1]), (0, 0))
        rows.append(np.pad(line, pad, constant_values=255))
    return np.concatenate(rows)


def encode_picture(picture: Picture) -> bytes:
    """A picture of many crops as JPEG: as PNG, a report of six data sets would have 24 MB."""
    return encode_jpeg(picture, QUALITY)
