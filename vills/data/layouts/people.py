"""What looks wrong about who is in which split, for the notes of a layout."""

from collections import defaultdict
from collections.abc import Iterable

from vills.data.layouts.listing import shorten


def note_people(rows: Iterable[tuple[str, int, int]]) -> tuple[str, ...]:
    """Notes on queries without a match, and on people who are both trained and tested.

    Args:
        rows: (split, pid, camid) of every image or tracklet.

    Returns:
        One line per finding; empty where every query has a match in another camera.
    """
    people: dict[str, set[int]] = defaultdict(set)
    cameras: dict[int, set[int]] = defaultdict(set)
    queries: list[tuple[int, int]] = []
    for split, pid, camid in rows:
        if pid > 0:
            people[split].add(pid)
        if split == "query":
            queries.append((pid, camid))
        elif split == "gallery":
            cameras[pid].add(camid)
    return (
        *_note_queries(queries, cameras),
        *_note_overlap(people["train"], people["query"] | people["gallery"]),
    )


def _note_queries(queries: list[tuple[int, int]], cameras: dict[int, set[int]]) -> tuple[str, ...]:
    absent = [pid for pid, _ in queries if not cameras.get(pid)]
    alone = [pid for pid, camid in queries if not _has_match(cameras.get(pid, set()), camid)]
    nobody = [pid for pid, _ in queries if pid < 1]
    notes = []
    if absent:
        who = sorted(set(absent))
        notes.append(
            f"{len(absent):,} of {len(queries):,} queries are of {_count(who)} not in the gallery: "
            f"{shorten(who)}"
        )
    if alone and len(alone) != len(absent):
        notes.append(
            f"{len(alone):,} of {len(queries):,} queries have no match in another camera of the "
            "gallery"
        )
    if nobody:
        notes.append(f"{len(nobody):,} of {len(queries):,} queries are junk or distractors")
    return tuple(notes)


def _has_match(cameras: set[int], camid: int) -> bool:
    """Whether a person is in the gallery from another camera; an unknown one (-1) is another."""
    return bool(cameras) if camid < 0 else bool(cameras - {camid})


def _note_overlap(train: set[int], test: set[int]) -> tuple[str, ...]:
    both = sorted(train & test)
    if not both:
        return ()
    return (f"{_count(both)} both in train and in query or gallery: {shorten(both)}",)


def _count(people: list[int]) -> str:
    return "1 person who is" if len(people) == 1 else f"{len(people):,} people who are"
