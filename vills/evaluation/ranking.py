"""Rank a gallery for every query, in blocks of queries, with the field's junk rules.

Legend: Q queries, Qb queries of a block, G gallery entries, P true matches of a query.

Tie rule: entries at equal distance keep gallery order, which is the sorted record order. The sort
is stable and the distances are exact, so ranks depend neither on the platform nor on the block.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vills.evaluation.distance import FeatureDistance, Matrix

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

JUNK_PID = -1
"""Bad detections: neither right nor wrong, as if absent."""
DISTRACTOR_PID = 0
"""People of no identity: always wrong."""
WRONG, RIGHT, JUNK = 0, 1, 2
VERDICTS = ("wrong", "right", "junk")


@dataclass(frozen=True, slots=True)
class Labels:
    """Person and camera of each entry, int64 [n] each; a camera of -1 is unknown."""

    pids: IntArray
    camids: IntArray

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.pids)

    def take(self, rows: slice | IntArray) -> "Labels":
        """Labels of some entries."""
        return Labels(self.pids[rows], self.camids[rows])


JunkRule = Callable[[Labels, Labels], BoolArray]
"""(queries [Qb], gallery [G]) -> junk [Qb, G]; a cloth-changing protocol brings its own."""


def find_same_camera(query: Labels, gallery: Labels) -> BoolArray:
    """The Market-1501 rule: a person seen again by the same camera is junk, as are pid -1.

    It removes a query that stands in the gallery too. An unknown camera equals no other.
    """
    same_pid = query.pids[:, None] == gallery.pids[None]
    same_cam = (query.camids[:, None] == gallery.camids[None]) & (query.camids[:, None] >= 0)
    junk: BoolArray = (same_pid & same_cam) | (gallery.pids == JUNK_PID)[None]
    return junk


@dataclass(frozen=True, slots=True)
class RankedList:
    """Top of one query's ranking: up to `top_k` entries that count, with the junk between them."""

    gallery: IntArray
    """Gallery rows, nearest first."""
    verdicts: NDArray[np.int8]
    """WRONG, RIGHT or JUNK."""
    distances: Matrix


@dataclass(frozen=True, slots=True)
class Ranking:
    """All that the metrics need."""

    hit_ranks: list[IntArray]
    """Per query the 1-based ranks [P] of its true matches among what counts; empty if none."""
    lists: list[RankedList]
    """Per query the top of its list (empty when top_k is 0)."""


def rank_gallery(
    distance: FeatureDistance,
    *,
    query: Labels,
    gallery: Labels,
    block_size: int,
    junk_rule: JunkRule = find_same_camera,
    top_k: int = 0,
) -> Ranking:
    """Rank the gallery for every query.

    Memory is that of one block: about 17 bytes * block_size * G.

    Raises:
        ValueError: labels and features of different number, or an empty gallery.
    """
    if (len(query), len(gallery)) != (distance.num_queries, distance.num_gallery):
        raise ValueError(
            f"{len(query)} query and {len(gallery)} gallery labels must match "
            f"{distance.num_queries} query and {distance.num_gallery} gallery features"
        )
    if len(gallery) == 0:
        raise ValueError("the gallery is empty: nothing to rank")
    ranking = Ranking([], [])
    for start, distances in distance.iterate_blocks(block_size):
        block = query.take(slice(start, start + len(distances)))
        _rank_block(ranking, distances, block, gallery, junk_rule, top_k)
    return ranking


def _rank_block(
    ranking: Ranking,
    distances: Matrix,
    query: Labels,
    gallery: Labels,
    junk_rule: JunkRule,
    top_k: int,
) -> None:
    order = np.argsort(distances, axis=1, kind="stable")  # [Qb, G]
    verdicts = (query.pids[:, None] == gallery.pids[None]).astype(np.int8)  # RIGHT = 1
    verdicts[(query.pids == DISTRACTOR_PID), :] = WRONG  # distractors are not one person
    verdicts[junk_rule(query, gallery)] = JUNK
    verdicts = np.take_along_axis(verdicts, order, axis=1)
    for row in range(len(distances)):
        counted = verdicts[row][verdicts[row] != JUNK]
        ranking.hit_ranks.append(np.flatnonzero(counted == RIGHT) + 1)
        if top_k:
            stop = _find_top(verdicts[row], top_k)
            top = order[row, :stop]
            ranking.lists.append(RankedList(top, verdicts[row, :stop], distances[row, top]))


def _find_top(verdicts: NDArray[np.int8], top_k: int) -> int:
    counted = np.flatnonzero(verdicts != JUNK)
    return int(counted[min(top_k, len(counted)) - 1]) + 1 if len(counted) else 0
