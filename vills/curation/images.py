"""Raw image files to candidates: their bytes as they are, or as PNG what would be read otherwise.

Everything behind curation reads with the fast decoder, which knows no orientation, no transparency,
and other bits than PIL: a file goes on unchanged where both decoders see the same pixels.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import PurePosixPath

from vills.curation.packer import Candidate
from vills.data.images import STORED_AS_PNG, CorruptImageError, encode_stored, read_image
from vills.data.layouts import RawImage, RawTracklet
from vills.data.layouts.listing import find_number
from vills.data.records import Record, build_record_id
from vills.refusals import check_machine

# Reading and decoding wait for a disk or run outside Python's lock; the order stays that of the
# source. A chunk is in memory at a time.
NUM_READERS = min(4, os.cpu_count() or 1)
CHUNK = 128

ReadBytes = Callable[[str], bytes]
"""Content of a raw path: `Layout.read_bytes`."""


class _Image:
    """One file: what is stored of it, its size and what was changed, or why there is nothing."""

    def __init__(self, path: str, read: ReadBytes) -> None:
        self.path = path
        self.content, self.reason, self.width, self.height = b"", "", 0, 0
        self.suffix, self.changes = PurePosixPath(path).suffix[1:].lower(), tuple[str, ...]()
        try:
            data = read(path)
            image = read_image(data, name=path)
            self.height, self.width = image.pixels.shape[:2]
            self.content, self.changes = encode_stored(image, data), image.changes
            if self.content is not data:
                self.suffix, self.changes = "png", (*self.changes, STORED_AS_PNG)
        except CorruptImageError as error:
            self.reason = str(error).removeprefix(f"{path}: ")
        except OSError as error:
            check_machine(error)
            self.reason = error.strerror or type(error).__name__


def read_images(
    items: Iterable[RawImage | RawTracklet], *, read: ReadBytes, source: str
) -> Iterator[Candidate]:
    """Make a candidate of each image and each tracklet of images, without unreadable frames."""

    def build(raw: RawImage | RawTracklet) -> Candidate:
        paths, is_tracklet = raw.paths, isinstance(raw, RawTracklet)
        images = [_Image(path, read) for path in paths]
        damaged = tuple((image.path, image.reason) for image in images if image.reason)
        good = [i for i, image in enumerate(images) if not image.reason]
        if not good:
            return Candidate(None, damaged=damaged)
        numbers = get_frame_numbers(paths) if is_tracklet else (0,)
        kept = [images[i] for i in good]
        record = Record(
            record_id=build_record_id(paths[0]),
            kind="tracklet" if is_tracklet else "image",
            source=source,
            split=raw.split,
            pid=raw.pid,
            camid=raw.camid,
            clothes_id=raw.clothes_id,
            video_id="",
            origins=tuple(paths[i] for i in good),
            width=kept[0].width,
            height=kept[0].height,
            shard="",
            offsets=(0,) * len(kept),
            lengths=(0,) * len(kept),
            frames=tuple(numbers[i] for i in good),
            boxes=tuple((0.0, 0.0, float(image.width), float(image.height)) for image in kept),
        )
        return Candidate(
            record,
            tuple(image.content for image in kept),
            suffixes=tuple(image.suffix for image in kept),
            damaged=damaged,
            changes=tuple(change for image in kept for change in image.changes),
        )

    stream = iter(items)
    with ThreadPoolExecutor(NUM_READERS) as pool:
        while chunk := list(islice(stream, CHUNK)):
            yield from pool.map(build, chunk)


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
