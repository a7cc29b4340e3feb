"""Which files of a raw data set cannot be read: by their headers, or by every pixel."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain, islice
from typing import IO

from PIL import Image

from vills.data.images import FORMATS, CorruptImageError, decode_image
from vills.data.layouts import Layout, RawRow, RawVideo

NUM_READERS = 4
CHUNK = 256

VideoCheck = Callable[[Layout, RawVideo, bool], tuple[str, Sequence[str]]]
"""(layout, video, whether to decode all of it) -> what is wrong with it, or nothing, and what is
done to it."""
Damage = tuple[str, str]
"""Path and reason."""


def find_unreadable(
    layout: Layout,
    *,
    full: bool,
    check_video: VideoCheck,
    progress: Callable[[int], None],
    video_changes: Counter[str],
) -> list[Damage]:
    """Read every file of a data set that a row names, and list those that fail.

    Args:
        layout: The data set; what it has in a container is read from there.
        full: Decode every pixel; else only the header is read.
        check_video: Says what is wrong with a video.
        progress: Called with the number of files that are done.
        video_changes: Receives what is done to how many videos, as far as they are read.

    Returns:
        Path and reason of each file that is missing, empty or damaged, in the order of the rows.
    """
    damaged: list[Damage] = []
    done = 0
    rows: Iterable[RawRow] = chain(layout.images, layout.tracklets)
    paths = (path for row in rows for path in row.paths)

    def check(batch: list[str]) -> list[Damage]:
        return [(path, _find_damage(layout, path, full=full)) for path in batch]

    with ThreadPoolExecutor(NUM_READERS) as pool:
        while (batches := [list(islice(paths, CHUNK)) for _ in range(NUM_READERS)])[0]:
            for found in pool.map(check, batches):
                damaged += [(path, reason) for path, reason in found if reason]
                done += len(found)
            progress(done)
    for video in layout.videos:
        reason, changes = check_video(layout, video, full)
        video_changes.update(changes)
        if reason:
            damaged.append((video.path, reason))
        done += 1
        progress(done)
    return damaged


def describe_video_changes(changes: Counter[str]) -> list[str]:
    """Say what was done to how many videos, or left out."""
    return [
        f"{count:,} video{'s' * (count != 1)} {change}" for change, count in sorted(changes.items())
    ]


def _find_damage(layout: Layout, path: str, *, full: bool) -> str:
    """Return what is wrong with an image, or nothing."""
    try:
        if full:
            decode_image(layout.read_bytes(path), name=path)
        elif layout.container is None:
            with (layout.root / path).open("rb") as stream:
                _read_header(stream)
        else:  # what lies in a container comes whole anyway
            _read_header(BytesIO(layout.read_bytes(path)))
    except CorruptImageError as error:
        return str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _read_header(stream: IO[bytes]) -> None:
    try:
        Image.open(stream, formats=FORMATS).close()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CorruptImageError("not a known image format") from error
