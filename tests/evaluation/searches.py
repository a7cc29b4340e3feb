"""Searches by hand: entries as short rows, features as places on a line."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vills.evaluation.distance import FeatureDistance
from vills.evaluation.entries import Entries, build_entries
from vills.evaluation.protocols import PROTOCOLS as OBJECTS
from vills.evaluation.protocols import FeatureChoice, ProtocolResult, ProtocolSettings, TestData

Item = tuple[str, int, int, int, float]
"""(id, pid, camid, clothes id, place)."""
EUCLIDEAN = ProtocolSettings(distance="euclidean")
NOTES = ("queries", "valid_queries", "gallery")


class MatrixDistance:
    """Distances that exist already, [Q, G]."""

    def __init__(self, distmat: np.ndarray) -> None:
        self.distmat = distmat
        self.num_queries, self.num_gallery = distmat.shape

    def compute_block(self, start: int, stop: int) -> np.ndarray:
        return self.distmat[start:stop]


def compute_distances(query: np.ndarray, gallery: np.ndarray, *, metric: str) -> np.ndarray:
    """The full matrix, [Q, G]."""
    distance = FeatureDistance(query, gallery, metric=metric)
    return distance.compute_block(0, distance.num_queries)


def build(items: Sequence[Item], kind: str = "image", frames: int = 1) -> Entries:
    """Entries in the order of their ids."""
    ids, pids, camids, clothes_ids, _ = zip(*sorted(items), strict=True)
    return build_entries(
        pa.table(
            {
                "record_id": ids,
                "kind": [kind] * len(ids),
                "pid": pids,
                "camid": camids,
                "clothes_id": clothes_ids,
                "num_frames": [frames] * len(ids),
            }
        )
    )


class Line:
    """Places items on a line: near in place is near in distance. Remembers what it was asked."""

    def __init__(self, *parts: Sequence[Item]) -> None:
        self.places = {item[0]: item[4] for items in parts for item in items}
        self.calls: list[tuple[Entries, FeatureChoice]] = []

    def __call__(self, entries: Entries, choice: FeatureChoice) -> np.ndarray:
        self.calls.append((entries, choice))
        return np.array([[self.places[name]] for name in entries.ids], np.float32)


def search(
    name: str,
    query: Sequence[Item],
    gallery: Sequence[Item],
    *,
    settings: ProtocolSettings = EUCLIDEAN,
    kind: str = "image",
    frames: int = 1,
    top_k: int = 0,
) -> ProtocolResult:
    """Run a protocol on a line."""
    data = TestData(build(query, kind, frames), build(gallery, kind, frames))
    return OBJECTS[name].run(Line(query, gallery), data=data, settings=settings, top_k=top_k)
