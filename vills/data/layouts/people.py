"""What is worth knowing of the people of a data set: who cannot be found, and who is there twice.

Copies of images are in official releases too: none is refused or left out, all are counted.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np

from vills.data.layouts.base import Layout, LayoutError, RawImage, RawTracklet
from vills.data.layouts.listing import ZERO_PERSON, render_first
from vills.data.records import DISTRACTOR_PID, JUNK_PID
from vills.refusals import check_machine

Row = TypeVar("Row", RawImage, RawTracklet)
_COPY = re.compile(
    r"""
    \s?\(\d+\)$  # 0001 (1).jpg, of Windows and of browsers
    | [\s_.\u2013-]+(copy|copie|kopie|kopia|kopio|copia|c\u00f3pia|\u526f\u672c)([\s_-]*\(?\d+\)?)?$
    | ^(copy|kopie|copie|copia|c\u00f3pia)\s(\(\d+\)\s)?(of|von|van|de|di)\s
    | conflicted\scopy | sync-conflict
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NUM_READERS = 4
_CHUNK = 256


def convert_zero(rows: list[Row], *, name: str) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows with ZERO_PERSON for a person 0, and what is to be said of it.

    Id 0 is a distractor, as in Market-1501, where the gallery alone has it; whoever is trained on
    or searched for is a person.

    Raises:
        LayoutError: if ZERO_PERSON is somebody else.
    """
    zero = [row for row in rows if row.pid == DISTRACTOR_PID]
    num_files = sum(len(row.paths) for row in zero)
    if all(row.split == "gallery" for row in zero):
        said = f"{num_files:,} files of id 0, which the gallery alone has, are distractors"
        return rows, (said,) if zero else ()
    if other := next((row.key for row in rows if row.pid == ZERO_PERSON), None):
        raise LayoutError(
            f"{name}: {other} is of person {ZERO_PERSON}, the number that records give to person "
            f"0 ({zero[0].key}). What to do: give one of them another number."
        )
    rows = [replace(row, pid=row.pid or ZERO_PERSON) for row in rows]
    return rows, (f"id 0 is read as a person, {ZERO_PERSON} in records: {num_files:,} files",)


def describe_people(rows: Iterable[RawImage | RawTracklet]) -> tuple[str, ...]:
    """Note queries without a match in another camera, people trained and tested, names of copies.

    Names of copies are those that file managers give: `0001 (1).jpg`, `0001 - Copy.jpg`.
    """
    people: dict[str, set[int]] = defaultdict(set)
    cameras: dict[int, set[int]] = defaultdict(set)
    queries: list[tuple[int, int]] = []
    total, num_lost, copies = 0, 0, list[str]()
    for row in rows:
        total += len(row.paths)
        copies += filter(is_copy_name, row.paths)
        if row.pid > DISTRACTOR_PID:
            people[row.split].add(row.pid)
        num_lost += row.pid <= DISTRACTOR_PID and row.split == "train"
        if row.split == "query":
            queries.append((row.pid, row.camid))
        elif row.split == "gallery":
            cameras[row.pid].add(row.camid)
    notes = _describe_queries(queries, cameras)
    if num_lost:
        notes.append(f"{num_lost:,} rows of train are junk or distractors (id -1, 0): not learned")
    if both := sorted(people["train"] & (people["query"] | people["gallery"])):
        notes.append(f"{_count(both)} both in train and in query or gallery: {render_first(both)}")
    return (*notes, *describe_copy_names(copies, total=total))


def _describe_queries(
    queries: Sequence[tuple[int, int]], cameras: dict[int, set[int]]
) -> list[str]:
    absent = [pid for pid, _ in queries if not cameras[pid]]
    # an unknown camera (-1) is another one
    alone = [pid for pid, c in queries if not cameras[pid] - ({c} if c >= 0 else set())]
    nobody = [pid for pid, _ in queries if pid <= DISTRACTOR_PID]
    total = f"of {len(queries):,} queries"
    notes = []
    if who := sorted(set(absent)):
        shown = f"{_count(who)} not in the gallery: {render_first(who)}"
        notes.append(f"{len(absent):,} {total} are of {shown}")
    if alone and len(alone) != len(absent):
        notes.append(f"{len(alone):,} {total} have no match in another camera of the gallery")
    if nobody:
        notes.append(f"{len(nobody):,} {total} are junk or distractors")
    return notes


def _count(people: list[int]) -> str:
    return "1 person who is" if len(people) == 1 else f"{len(people):,} people who are"


def is_copy_name(path: str) -> bool:
    """Whether a file has a name that file managers and cloud drives give to copies."""
    return _COPY.search(PurePosixPath(path).stem) is not None


def describe_copy_names(copies: Sequence[str], *, total: int) -> tuple[str, ...]:
    """Note how many of `total` files have the names of copies."""
    if not copies:
        return ()
    return (f"{len(copies):,} of {total:,} names look like copies: {render_first(copies)}",)


class _File(NamedTuple):
    path: str
    split: str
    pid: int


def describe_copies(layout: Layout, *, unlabelled: bool = False) -> tuple[str, ...]:
    """Note images whose bytes another image has too, and where that is more than a waste.

    Files are read only where others have their size. Images for pre-training, which may be
    millions, are compared if `unlabelled`.
    """

    def list_all() -> Iterator[_File]:
        for row in chain[RawImage | RawTracklet](layout.images, layout.tracklets):
            if unlabelled or row.split != "pretrain":
                yield from (_File(path, row.split, row.pid) for path in row.paths)

    sizes = np.fromiter((_find_size(layout, file.path) for file in list_all()), np.int64)
    likely = _find_shared(sizes)
    digests = np.zeros(len(sizes), np.uint64)
    chosen = (file.path for file, ask in zip(list_all(), likely, strict=True) if ask)
    digests[likely] = np.fromiter(_compute_digests(layout, chosen), np.uint64)
    is_copy = _find_shared(digests)
    if not is_copy.any():
        return ()
    groups: dict[int, list[_File]] = defaultdict(list)
    for file, digest, ask in zip(list_all(), digests.tolist(), is_copy, strict=True):
        if ask:
            groups[digest].append(file)
    return tuple(_describe_groups(list(groups.values()), total=len(sizes)))


def _describe_groups(groups: list[list[_File]], *, total: int) -> Iterator[str]:
    """Say how many files are copies, and which are where they make scores or labels wrong."""
    num = sum(len(group) - 1 for group in groups)
    yield f"images with the bytes of another one: {num:,} of {total:,}: {_render(groups)}"
    splits = [{file.split for file in group} for group in groups]
    cases = {
        "in query and in gallery, where a query finds itself": [
            {"query", "gallery"} <= found for found in splits
        ],
        "in train and in query or gallery": [
            "train" in found and len(found) > 1 for found in splits
        ],
        "of several people, so that a label is wrong": [
            len({file.pid for file in group} - {JUNK_PID}) > 1 for group in groups
        ],
    }
    for case, holds in cases.items():
        if found := [group for group, ask in zip(groups, holds, strict=True) if ask]:
            yield f"of these, {case}: {len(found):,}: {_render(found)}"


def _render(groups: list[list[_File]]) -> str:
    return render_first([" = ".join(file.path for file in group[:2]) for group in groups])


def _find_shared(values: np.ndarray) -> np.ndarray:
    """Bool [n]: which values [n] are positive and there more than once."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts[places] > 1) & (values > 0))


def _find_size(layout: Layout, path: str) -> int:
    """Bytes of a file; -1 if it cannot be read, which is somebody else's business."""
    try:
        if layout.container is None:
            return (layout.root / path).stat().st_size
        return len(layout.read_bytes(path))
    except OSError as error:
        check_machine(error)
        return -1


def _compute_digests(layout: Layout, paths: Iterator[str]) -> Iterator[int]:
    """Yield 64 bits for the content of each file; 0 if it cannot be read."""

    def compute(path: str) -> int:
        try:
            content = layout.read_bytes(path)
        except OSError as error:
            check_machine(error)
            return 0
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())

    with ThreadPoolExecutor(_NUM_READERS) as pool:
        while batch := list(islice(paths, _CHUNK)):
            yield from pool.map(compute, batch)
