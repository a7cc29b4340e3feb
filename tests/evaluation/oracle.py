"""Protocols as plain loops, written from their definitions: slow, short and without numpy.

An item is a dict of id, pid, camid, clothes_id, kind, num_frames and split. Distances come as
distmat[query id][gallery id]. Items of the gallery at equal distance keep the order of their ids.
"""

from collections.abc import Callable, Sequence
from typing import Any

Item = dict[str, Any]
Distances = dict[str, dict[str, float]]
Rule = Callable[[Item, Item], bool]


def same_camera(query: Item, other: Item) -> bool:
    """The person again in the query's own camera."""
    return query["pid"] == other["pid"] and query["camid"] == other["camid"] != -1


def never(query: Item, other: Item) -> bool:
    """Nothing is left out."""
    return False


def same_camera_or_clothes(query: Item, other: Item) -> bool:
    """Cloth-changing: the person in the same camera or in the same clothes."""
    if query["pid"] != other["pid"]:
        return False
    return same_camera(query, other) or query["clothes_id"] == other["clothes_id"]


def same_camera_or_other_clothes(query: Item, other: Item) -> bool:
    """Same-clothes: the person in the same camera or in other clothes."""
    if query["pid"] != other["pid"]:
        return False
    return same_camera(query, other) or query["clothes_id"] != other["clothes_id"]


def find_hit_ranks(
    query: Item, gallery: Sequence[Item], distances: dict[str, float], *, is_junk: Rule
) -> list[int]:
    """1-based ranks of the true matches, junk taken out of the list first."""
    listed = sorted(gallery, key=lambda item: (distances[item["id"]], item["id"]))
    ranks = []
    rank = 0
    for item in listed:
        if item["pid"] == -1 or is_junk(query, item):
            continue
        rank += 1
        if item["pid"] == query["pid"]:
            ranks.append(rank)
    return ranks


def average_precision(ranks: Sequence[int], kind: str) -> float:
    """Area under the precision-recall curve of one list."""
    total = 0.0
    for number, rank in enumerate(ranks, start=1):
        precision = number / rank
        if kind == "trapezoid":
            before = (number - 1) / (rank - 1) if rank > 1 else 1.0
            precision = (precision + before) / 2
        total += precision
    return total / len(ranks)


def score(
    hit_ranks: Sequence[Sequence[int]], *, kind: str, top: Sequence[int]
) -> dict[str, float | int]:
    """Means over the queries that have a true match."""
    valid = [ranks for ranks in hit_ranks if ranks]
    row: dict[str, float | int] = {
        "queries": len(hit_ranks),
        "valid_queries": len(valid),
        "mAP": sum(average_precision(ranks, kind) for ranks in valid) / len(valid),
        "mINP": sum(len(ranks) / ranks[-1] for ranks in valid) / len(valid),
    }
    for k in top:
        row[f"R-{k}"] = sum(1 for ranks in valid if ranks[0] <= k) / len(valid)
    return row


def read_tar(genuine: Sequence[float], impostor: Sequence[float], far: float) -> float | None:
    """Largest share of genuine scores accepted by a threshold that accepts at most `far` impostors.

    Scores: higher is more alike; everything from the threshold on is accepted. None where one
    impostor is already more than `far` of them.
    """
    if far * len(impostor) < 1:
        return None
    best = 0.0
    for threshold in sorted({*genuine, *impostor}):
        accepted = sum(1 for value in impostor if value >= threshold)
        if accepted <= far * len(impostor):
            best = max(best, sum(1 for value in genuine if value >= threshold) / len(genuine))
    return best


def identify(scores: Sequence[dict[int, float] | None], pids: Sequence[int], k: int) -> float:
    """Share of probes whose subject is among the k most alike; a probe without scores misses."""
    found = 0
    for row, pid in zip(scores, pids, strict=True):
        if row is None or pid not in row:
            continue
        better = sum(1 for other, value in row.items() if other != pid and value > row[pid])
        if better < k:
            found += 1
    return found / len(pids)
