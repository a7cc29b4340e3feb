"""Which files of a raw data set cannot be read: by their headers, or by every pixel."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice

from PIL import Image

from vills.data.images import FORMATS, CorruptImageError, decode_image
from vills.data.layouts import Layout, RawTracklet, RawVideo

NUM_READERS = 4
CHUNK = 256

VideoCheck = Callable[[Layout, RawVideo, bool], str]
"""(layout, video, whether to decode all of it) -> what is wrong with it, or nothing."""
Damage = tuple[str, str]
"""Path and reason."""


def find_unreadable(
    layout: Layout,
    *,
    full: bool,
    check_video: VideoCheck,
    progress: Callable[[int], None],
) -> list[Damage]:
    """Read every file of a data set that a row names, and list those that fail.

    Args:
        layout: The data set; its own `read_bytes` is used where it has a container.
        full: Decode every pixel; else only the header is read.
        check_video: Says what is wrong with a video.
        progress: Called with the number of files that are done.

    Returns:
        Path and reason of each file that is missing, empty or damaged, in the order of the rows.
    """
    check = _decode if full else _find_header_check(layout)
    damaged: list[Damage] = []
    done = 0
    paths = _list_paths(layout)
    with ThreadPoolExecutor(NUM_READERS) as pool:
        while (batches := [list(islice(paths, CHUNK)) for _ in range(NUM_READERS)])[0]:
            for found in pool.map(lambda batch: [check(layout, path) for path in batch], batches):
                damaged += [(path, reason) for path, reason in found if reason]
                done += len(found)
            progress(done)
    for video in layout.videos:
        if reason := check_video(layout, video, full):
            damaged.append((video.path, reason))
        done += 1
        progress(done)
    return damaged


def _list_paths(layout: Layout) -> Iterator[str]:
    rows: Iterable[RawTracklet] = layout.tracklets
    yield from (image.path for image in layout.images)
    for row in rows:
        yield from row.paths


def _find_header_check(layout: Layout) -> Callable[[Layout, str], Damage]:
    """Files are opened; what lies in a container comes whole anyway."""
    in_files = type(layout).read_bytes is Layout.read_bytes
    return _read_file_header if in_files else _read_bytes_header


def _read_file_header(layout: Layout, path: str) -> Damage:
    try:
        with (layout.root / path).open("rb") as stream:
            return path, "" if _has_header(stream) else "not a known image format"
    except OSError as error:
        return path, error.strerror or type(error).__name__


def _read_bytes_header(layout: Layout, path: str) -> Damage:
    try:
        stream = BytesIO(layout.read_bytes(path))
    except OSError as error:
        return path, error.strerror or type(error).__name__
    return path, "" if _has_header(stream) else "not a known image format"


def _has_header(stream: object) -> bool:
    try:
        with Image.open(stream, formats=FORMATS):  # type: ignore[arg-type]
            return True
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _decode(layout: Layout, path: str) -> Damage:
    try:
        decode_image(layout.read_bytes(path), name=path)
    except CorruptImageError as error:
        return path, str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return path, error.strerror or type(error).__name__
    return path, ""
