"""Which files of a raw data set cannot be read: by their headers, or by every pixel."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain, islice

from vills.data.images import CorruptImageError, read_header, read_image
from vills.data.layouts import Layout, RawRow, RawVideo
from vills.inputs import open_input
from vills.refusals import check_machine

NUM_READERS = 4
CHUNK = 256

VideoCheck = Callable[[Layout, RawVideo, bool], tuple[str, Iterable[str]]]
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
    changes: Counter[str],
    video_changes: Counter[str],
) -> list[Damage]:
    """Read every file of a data set that a row names, and list those that fail.

    Args:
        layout: The data set; what it has in a container is read from there.
        full: Decode every pixel; else only the header is read.
        check_video: Says what is wrong with a video.
        progress: Called with the number of files that are done.
        changes: Receives what is done to how many images, as far as it is read.
        video_changes: Receives what is done to how many videos, as far as they are read.

    Returns:
        Path and reason of each file that is missing, empty or damaged, in the order of the rows.
    """
    damaged: list[Damage] = []
    done = 0
    rows: Iterable[RawRow] = chain(layout.images, layout.tracklets)
    paths = (path for row in rows for path in row.paths)

    def check(batch: list[str]) -> list[tuple[str, str, Iterable[str]]]:
        return [(path, *_check_image(layout, path, full=full)) for path in batch]

    with ThreadPoolExecutor(NUM_READERS) as pool:
        while (batches := [list(islice(paths, CHUNK)) for _ in range(NUM_READERS)])[0]:
            for found in pool.map(check, batches):
                damaged += [(path, reason) for path, reason, _ in found if reason]
                changes.update(change for *_, done_to_it in found for change in done_to_it)
                done += len(found)
            progress(done)
    for video in layout.videos:
        reason, done_to_it = check_video(layout, video, full)
        video_changes.update(done_to_it)
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


def _check_image(layout: Layout, path: str, *, full: bool) -> tuple[str, Iterable[str]]:
    """Return what is wrong with an image, or nothing, and what is done to it."""
    try:
        if full:
            return "", read_image(layout.read_bytes(path), name=path).changes
        if layout.container is None:
            with open_input(layout.root / path) as stream:
                return "", read_header(stream, name=path)
        # what lies in a container comes whole anyway
        return "", read_header(BytesIO(layout.read_bytes(path)), name=path)
    except CorruptImageError as error:
        return str(error).removeprefix(f"{path}: "), ()
    except OSError as error:
        check_machine(error)
        return error.strerror or type(error).__name__, ()
