"""Raw image files to candidates: bytes as they are, after they have decoded without an error."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import PurePosixPath
from typing import TypeVar

from vills.curation.candidate import Candidate
from vills.data.images import CorruptImageError, decode_image
from vills.data.layouts import RawImage, RawTracklet
from vills.data.layouts.listing import find_number
from vills.data.records import Record, make_record_id

# Reading and decoding wait for a disk or run outside Python's lock; the order stays that of the
# source. A chunk is in memory at a time.
NUM_READERS = min(4, os.cpu_count() or 1)
CHUNK = 128

Raw = TypeVar("Raw", RawImage, RawTracklet)
ReadBytes = Callable[[str], bytes]
"""Content of a raw path: `Layout.read_bytes`."""


class _Image:
    """One file: its bytes and size, or why there are none."""

    def __init__(self, path: str, read: ReadBytes) -> None:
        self.path = path
        self.content, self.reason, self.width, self.height = b"", "", 0, 0
        try:
            self.content = read(path)
            self.height, self.width = decode_image(self.content, name=path).shape[:2]
        except CorruptImageError as error:
            self.reason = str(error).removeprefix(f"{path}: ")
        except OSError as error:
            self.reason = error.strerror or type(error).__name__


def read_images(images: Iterable[RawImage], *, read: ReadBytes, source: str) -> Iterator[Candidate]:
    """Make a candidate of each image file, in their order."""

    def build(raw: RawImage) -> Candidate:
        image = _Image(raw.path, read)
        if image.reason:
            return Candidate(None, damaged=((raw.path, image.reason),))
        record = _build_record([image], raw=raw, source=source, frames=(0,))
        return Candidate(record, (image.content,), suffix=_get_suffix(raw.path))

    return _map(build, images)


def read_tracklets(
    tracklets: Iterable[RawTracklet], *, read: ReadBytes, source: str
) -> Iterator[Candidate]:
    """Make a candidate of each tracklet of image files, without its unreadable frames."""

    def build(raw: RawTracklet) -> Candidate:
        images = [_Image(path, read) for path in raw.paths]
        damaged = tuple((image.path, image.reason) for image in images if image.reason)
        good = [i for i, image in enumerate(images) if not image.reason]
        if not good:
            return Candidate(None, damaged=damaged)
        numbers = get_frame_numbers(raw.paths)
        frames = tuple(numbers[i] for i in good)
        record = _build_record([images[i] for i in good], raw=raw, source=source, frames=frames)
        content = tuple(images[i].content for i in good)
        return Candidate(record, content, suffix=_get_suffix(raw.paths[0]), damaged=damaged)

    return _map(build, tracklets)


def get_frame_numbers(paths: tuple[str, ...]) -> tuple[int, ...]:
    """Read the frame numbers off the file names (F001 of MARS is 1), or count them from 0.

    They are counted where a name ends in no number, or the numbers do not rise.
    """
    found = [find_number(path) for path in paths]
    numbers = tuple(number for number in found if number is not None)
    rising = all(a < b for a, b in zip(numbers, numbers[1:], strict=False))
    if len(numbers) == len(paths) and rising and numbers[-1] < 2**31:
        return numbers
    return tuple(range(len(paths)))


def _build_record(
    images: list[_Image], *, raw: RawImage | RawTracklet, source: str, frames: tuple[int, ...]
) -> Record:
    is_tracklet = isinstance(raw, RawTracklet)
    path = raw.paths[0] if isinstance(raw, RawTracklet) else raw.path
    return Record(
        record_id=make_record_id(path),
        kind="tracklet" if is_tracklet else "image",
        source=source,
        split=raw.split,
        pid=raw.pid,
        camid=raw.camid,
        clothes_id=raw.clothes_id,
        video_id="",
        origin=path,
        width=images[0].width,
        height=images[0].height,
        shard="",
        offsets=(0,) * len(images),
        lengths=(0,) * len(images),
        frames=frames,
        boxes=tuple((0.0, 0.0, float(i.width), float(i.height)) for i in images),
    )


def _get_suffix(path: str) -> str:
    return PurePosixPath(path).suffix[1:].lower()


def _map(build: Callable[[Raw], Candidate], items: Iterable[Raw]) -> Iterator[Candidate]:
    """Map in threads, in order, one chunk at a time."""
    stream = iter(items)
    with ThreadPoolExecutor(NUM_READERS) as pool:
        while chunk := list(islice(stream, CHUNK)):
            yield from pool.map(build, chunk)
