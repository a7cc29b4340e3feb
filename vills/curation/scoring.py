"""Tracks against the truth: MOTA, IDF1, switches and purity. Scoring only; no producer reads it.

MOTA is that of CLEAR MOT (Bernardin and Stiefelhagen 2008), IDF1 that of Ristani et al. 2016, both
as the `trackers` package computes them (its code follows TrackEval).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from trackers.eval import (
    aggregate_clear_metrics,
    aggregate_identity_metrics,
    box_iou,
    compute_clear_metrics,
    compute_identity_metrics,
)

from vills.curation.tracklets import CORNERS

MATCH_IOU = 0.5


@dataclass(frozen=True)
class PersonBoxes:
    """Boxes with identities of one video, in any order.

    Attributes:
        frames: int64 [n], from 0.
        ids: int64 [n], person or track.
        boxes: float64 [n, 4], x1, y1, x2, y2 in px.
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]


@dataclass(frozen=True)
class TrackingScore:
    """How well tracks agree with the truth at an overlap of 0.5.

    Attributes:
        mota: 1 - (misses + false boxes + switches) / true boxes.
        idf1: F1 of the best one-to-one assignment of tracks to people.
        purity: Share of the tracks' boxes that show the person that their track shows most;
            a box that shows nobody counts against it.
        recall: Share of true boxes that a track covers.
        precision: Share of track boxes that cover a true one.
        switches: Times at which a person goes over to another track.
        num_tracks: Tracks.
        num_people: People in the truth.
    """

    mota: float
    idf1: float
    purity: float
    recall: float
    precision: float
    switches: int
    num_tracks: int
    num_people: int


def load_truth(path: Path) -> dict[str, PersonBoxes]:
    """Read the truth of a rendered data set, by raw relative path: all of whom anything shows."""
    columns = ["path", "frame", "person", *CORNERS]
    table = pq.read_table(path, columns=columns, filters=pc.field("visible") > 0)
    return _split_by_path(table, id_column="person")


def load_tracks(path: Path, *, kept_only: bool = True) -> dict[str, PersonBoxes]:
    """Read `tracks.parquet`, by raw relative path: the boxes in tracklets, or all tracked ones."""
    table = pq.read_table(path, filters=pc.field("record_id") != "" if kept_only else None)
    return _split_by_path(table, id_column="track_id")


def compute_track_scores(
    truth: dict[str, PersonBoxes], *, tracks: dict[str, PersonBoxes]
) -> TrackingScore:
    """Score the tracks of several videos together; a video without any may be left out of them.

    Raises:
        ValueError: there are tracks of a video without truth.
    """
    if unknown := sorted(set(tracks) - set(truth)):
        raise ValueError(f"No truth for {', '.join(unknown[:3])}, which have tracks.")
    nobody = PersonBoxes(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)))
    clear, identity, pure, total = [], [], 0, 0
    for path in sorted(truth):
        pairs = list(_compare(truth[path], tracks.get(path, nobody)))
        people, ids, overlaps = (list(column) for column in zip(*pairs, strict=True))
        clear.append(compute_clear_metrics(people, ids, overlaps, threshold=MATCH_IOU))
        identity.append(compute_identity_metrics(people, ids, overlaps, threshold=MATCH_IOU))
        pure += _count_pure(people, ids, overlaps)
        total += sum(len(row) for row in ids)
    motion, names = aggregate_clear_metrics(clear), aggregate_identity_metrics(identity)
    return TrackingScore(
        mota=motion["MOTA"],
        idf1=names["IDF1"],
        purity=pure / total if total else 0.0,
        recall=motion["CLR_Re"],
        precision=motion["CLR_Pr"],
        switches=motion["IDSW"],
        num_tracks=sum(len(np.unique(boxes.ids)) for boxes in tracks.values()),
        num_people=sum(len(np.unique(boxes.ids)) for boxes in truth.values()),
    )


def _compare(
    truth: PersonBoxes, tracks: PersonBoxes
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Give people [g], track ids [t] and overlaps [g, t] of each frame."""
    # Frames in which there is nobody and nothing was seen change no score.
    for frame in np.union1d(truth.frames, tracks.frames).tolist():
        true, found = truth.frames == frame, tracks.frames == frame
        overlaps = np.asarray(box_iou(truth.boxes[true], tracks.boxes[found]), dtype=np.float64)
        yield truth.ids[true], tracks.ids[found], overlaps


def _count_pure(
    people: list[NDArray[np.int64]],
    ids: list[NDArray[np.int64]],
    overlaps: list[NDArray[np.float64]],
) -> int:
    """Count the boxes that show the person that their track shows most."""
    shown: dict[int, Counter[int]] = {}
    for person, track, overlap in zip(people, ids, overlaps, strict=True):
        for j in range(len(track) if len(person) else 0):
            best = int(overlap[:, j].argmax())
            if overlap[best, j] >= MATCH_IOU:
                shown.setdefault(int(track[j]), Counter())[int(person[best])] += 1
    return sum(max(counts.values()) for counts in shown.values())


def _split_by_path(table: pa.Table, *, id_column: str) -> dict[str, PersonBoxes]:
    paths = np.asarray(table.column("path").to_numpy())
    frames = table.column("frame").to_numpy().astype(np.int64)
    ids = table.column(id_column).to_numpy().astype(np.int64)
    boxes = np.stack([table.column(name).to_numpy() for name in CORNERS], axis=1)
    return {
        str(path): PersonBoxes(frames[rows], ids[rows], boxes[rows].astype(np.float64))
        for path in np.unique(paths)
        for rows in [paths == path]
    }
