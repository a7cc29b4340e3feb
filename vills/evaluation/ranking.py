"""Rank a gallery for every query, in blocks of queries, with the field's junk rules.

Legend: Q queries, Qb queries of a block, G gallery entries, S entries of the query's own person,
P true matches of a query.

Tie rule: entries at equal distance keep gallery order, which is the sorted record order. So the
rank of a true match is a count, which needs no sorted gallery:

    rank = 1 + number of counted entries that are nearer, or equally near and earlier in the gallery

It depends on the distances of one query alone: neither on the block, nor on the number of
processes that share the queries, nor on the platform's sort.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vills.data.records import JUNK_PID, find_people
from vills.distributed import gather_objects, get_rank, get_world_size
from vills.evaluation.distance import Distance, DistanceBlock, compute_block_size, find_nearest

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

WRONG, RIGHT, JUNK = 0, 1, 2
VERDICTS = ("wrong", "right", "junk")
MAX_COUNTED = 256
"""Of a query with more true matches, the row is sorted: cheaper than a pass for each."""

_NONE: IntArray = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Labels:
    """Person, camera and outfit of each entry, int64 [n] each; -1 is unknown."""

    pids: IntArray
    camids: IntArray = field(default_factory=lambda: _NONE)
    """Left out, as outfits may be: all unknown."""
    clothes_ids: IntArray = field(default_factory=lambda: _NONE)

    def __post_init__(self) -> None:
        for name in ("camids", "clothes_ids"):
            if getattr(self, name) is _NONE:
                object.__setattr__(self, name, np.full(len(self.pids), -1, dtype=np.int64))
        if not len(self.pids) == len(self.camids) == len(self.clothes_ids):
            raise ValueError(
                f"{len(self.pids)} pids, {len(self.camids)} camids and {len(self.clothes_ids)} "
                "clothes_ids do not describe the same entries"
            )

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.pids)

    def take(self, rows: slice | IntArray) -> "Labels":
        """Return labels of some entries."""
        return Labels(self.pids[rows], self.camids[rows], self.clothes_ids[rows])


JunkRule = Callable[[Labels, Labels], BoolArray]
"""(one query [1], the gallery entries of its own person [S]) -> which are junk [S].

Entries of pid -1 are junk under every rule.
"""


def find_same_camera(query: Labels, gallery: Labels) -> BoolArray:
    """Find junk by the Market-1501 rule: a person seen again by the same camera.

    It removes a query that stands in the gallery too. An unknown camera equals no other.
    """
    junk: BoolArray = (gallery.camids == query.camids) & (query.camids >= 0)
    return junk


def find_ltcc_cloth_changing(query: Labels, gallery: Labels) -> BoolArray:
    """Find junk: same camera, or same clothes (CAL: `evaluate_with_clothes`, mode CC)."""
    return find_same_camera(query, gallery) | _find_same_clothes(query, gallery)


def find_ltcc_same_clothes(query: Labels, gallery: Labels) -> BoolArray:
    """Find junk: same camera, or other clothes (CAL: `evaluate_with_clothes`, mode SC)."""
    return find_same_camera(query, gallery) | ~_find_same_clothes(query, gallery)


def find_no_junk(query: Labels, gallery: Labels) -> BoolArray:
    """Find no junk: all images of the person are true matches."""
    return np.zeros(len(gallery), dtype=np.bool_)


def _find_same_clothes(query: Labels, gallery: Labels) -> BoolArray:
    same: BoolArray = (gallery.clothes_ids == query.clothes_ids) & (query.clothes_ids >= 0)
    return same


@dataclass(frozen=True, slots=True)
class RankedList:
    """Top of one query's ranking: up to `top_k` entries that count, with the junk between them."""

    gallery: IntArray
    """Gallery rows, nearest first."""
    verdicts: NDArray[np.int8]
    """WRONG, RIGHT or JUNK."""
    distances: DistanceBlock


@dataclass(frozen=True, slots=True)
class Ranking:
    """All that the metrics need."""

    hit_ranks: list[IntArray]
    """Per query the 1-based ranks [P] of its true matches among what counts; empty if none."""
    lists: list[RankedList]
    """Per query the top of its list (empty when top_k is 0)."""


def compute_ranking(
    distance: Distance,
    *,
    query: Labels,
    gallery: Labels,
    block_size: int,
    junk_rule: JunkRule = find_same_camera,
    top_k: int = 0,
) -> Ranking:
    """Rank the gallery for every query.

    Every process must call it with the same arguments: they share the blocks, and all get all.
    Beside the block itself, memory is that of a few rows.

    Args:
        distance: a `FeatureDistance`, or re-ranked distances.
        query: labels [Q].
        gallery: labels [G].
        block_size: queries at once, at most.
        junk_rule: which entries of the query's own person do not count.
        top_k: entries that count kept per query in `lists`.

    Raises:
        ValueError: labels and features of different number, an empty gallery, or a distance that
            is NaN.
    """
    if (len(query), len(gallery)) != (distance.num_queries, distance.num_gallery):
        raise ValueError(
            f"{len(query)} query and {len(gallery)} gallery labels must match "
            f"{distance.num_queries} query and {distance.num_gallery} gallery features"
        )
    if len(gallery) == 0:
        raise ValueError("the gallery is empty: nothing to rank")
    ranker = _Ranker(query, gallery, junk_rule, top_k, _group_by_pid(gallery.pids))
    share = -(-len(query) // get_world_size())  # no process idles while another has a large block
    rows = compute_block_size(min(block_size, max(share, 1)), num_gallery=len(gallery))
    starts = range(0, len(query), rows)[get_rank() :: get_world_size()]
    own = [
        ranked
        for start in starts
        for ranked in ranker.rank_block(distance, start, min(start + rows, len(query)))
    ]
    parts = sorted((part for parts in gather_objects(own) for part in parts), key=lambda p: p[0])
    bad = [number for number, ranks, _ in parts if ranks is None]
    if bad:
        raise ValueError(
            f"the distances of {len(bad)} queries are not numbers (first: query {bad[0]}). "
            "They cannot be ranked"
        )
    hits = [ranks for _, ranks, _ in parts if ranks is not None]
    return Ranking(hits, [top for _, _, top in parts if top is not None])


def _group_by_pid(pids: IntArray) -> dict[int, IntArray]:
    """List the gallery rows of each person, ascending."""
    order = np.argsort(pids, kind="stable")
    people, starts = np.unique(pids[order], return_index=True)
    return dict(zip(people.tolist(), np.split(order, starts[1:]), strict=True))


@dataclass(frozen=True, slots=True)
class _Ranker:
    """What all queries have in common."""

    query: Labels
    gallery: Labels
    junk_rule: JunkRule
    top_k: int
    groups: dict[int, IntArray]

    def rank_block(
        self, distance: Distance, start: int, stop: int
    ) -> Iterator[tuple[int, IntArray | None, RankedList | None]]:
        """Rank for queries start..stop-1: ranks (None: a distance is NaN), top if wanted."""
        distances = np.ascontiguousarray(distance.compute_block(start, stop))  # [Qb, G]
        nearer = np.empty(len(self.gallery), dtype=np.bool_)
        for number, row in enumerate(distances, start):
            if np.isnan(row.min()):
                yield number, None, None
                continue
            right, junk = self._judge(number)
            ranks = _compute_ranks(row, right, junk, nearer)
            yield number, ranks, _list_top(row, right, junk, self.top_k) if self.top_k else None

    def _judge(self, number: int) -> tuple[IntArray, IntArray]:
        """Find gallery rows of one query's true matches, and of its junk; both ascending."""
        bad = self.groups.get(JUNK_PID, _NONE)
        query = self.query.take(slice(number, number + 1))
        if not find_people(query.pids)[0]:
            return _NONE, bad
        own = self.groups.get(int(query.pids[0]), _NONE)
        is_junk = self.junk_rule(query, self.gallery.take(own))
        junk = own[is_junk]
        return own[~is_junk], np.sort(np.concatenate([junk, bad])) if len(bad) else junk


def _compute_ranks(
    row: DistanceBlock, right: IntArray, junk: IntArray, nearer: BoolArray
) -> IntArray:
    """Compute the ranks [P] of the true matches, ascending.

    Args:
        row: distances of one query, [G].
        right: rows of its true matches, [P].
        junk: rows that do not count.
        nearer: room for a mask, [G].
    """
    before = np.sort(_count_before(row, right, nearer))
    if len(junk):
        own = np.concatenate([right, junk])
        is_junk = np.lexsort((own, row[own])) >= len(right)  # nearest first, ties in order
        before -= np.cumsum(is_junk)[~is_junk]
    return before + 1


def _count_before(row: DistanceBlock, right: IntArray, nearer: BoolArray) -> IntArray:
    """Count the entries, junk included, that stand before each true match, [P]."""
    counts = np.empty(len(right), dtype=np.int64)
    if len(right) > MAX_COUNTED:
        places = np.empty(len(row), dtype=np.int64)
        places[np.argsort(row, kind="stable")] = np.arange(len(row))
        return places[right]
    for number, (place, value) in enumerate(zip(right.tolist(), row[right], strict=True)):
        # Equally near counts before `place` alone: one pass over the row, the tie rule included.
        np.less_equal(row[:place], value, out=nearer[:place])
        np.less(row[place:], value, out=nearer[place:])
        counts[number] = np.count_nonzero(nearer)
    return counts


def _list_top(row: DistanceBlock, right: IntArray, junk: IntArray, top_k: int) -> RankedList:
    top = find_nearest(row, top_k + len(junk))
    verdicts = np.full(len(top), WRONG, dtype=np.int8)
    verdicts[np.isin(top, right)] = RIGHT
    verdicts[np.isin(top, junk)] = JUNK
    counted = np.flatnonzero(verdicts != JUNK)
    stop = int(counted[min(top_k, len(counted)) - 1]) + 1 if len(counted) else 0
    return RankedList(top[:stop], verdicts[:stop], row[top[:stop]])
