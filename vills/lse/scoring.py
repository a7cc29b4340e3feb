"""How well the masks of a source fit a truth that only scoring reads (the miniature world's).

Shapes: H, W of a crop; P persons of a frame.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from vills.areas import AREAS
from vills.data.images import decode_rle
from vills.data.mask_store import MaskStore
from vills.data.predictions import FrameRows
from vills.data.records import Record, load_manifest
from vills.lse.crop import compute_iou, compute_mask_iou, extract_mask

# Below this overlap the record shows nobody of the truth: a false positive of the detector.
MIN_IOU = 0.3
# An area that shows in fewer pixels (occluded, turned away) is not asked for.
MIN_PIXELS = 12


@dataclass(frozen=True)
class AreaScore:
    """Fit of one area's masks."""

    iou: float
    """Mean intersection over union where the area shows; a missing mask counts 0."""
    found: float
    """Share of showing areas that have a mask."""
    count: int
    """Frames where the area shows."""


class Truth(FrameRows):
    """Persons of a data set by raw file and frame."""

    def __init__(self, path: Path) -> None:
        super().__init__(pq.read_table(path))
        self._boxes = self.stack_boxes()

    def find_person(self, record: Record, position: int) -> dict[str, Any] | None:
        """Find the person that a record shows: the one of best overlap with its box."""
        rows = self.find(*record.get_raw_frame(position))
        iou = compute_iou(self._boxes[rows], record.boxes[position])
        if not len(iou) or iou.max() < MIN_IOU:
            return None
        row: dict[str, Any] = self.table.slice(rows.start + int(iou.argmax()), 1).to_pylist()[0]
        return row


def compute_area_scores(
    lse: Path, *, curated: Path, truth: Path, frame_stride: int
) -> dict[str, AreaScore]:
    """Compare the LSE cache of a source with its truth.

    Args:
        lse: the cache (masks_<area>.parquet).
        curated: curated folder of the source.
        truth: truth parquet of its raw data set.
        frame_stride: that of the extraction; these frames are expected to have masks.

    Returns:
        Scores by area.
    """
    manifest = load_manifest(curated / "manifest.parquet")
    store, known = MaskStore(lse), Truth(truth)
    overlaps: dict[str, list[float]] = {area: [] for area in AREAS}
    records = (manifest[row] for row in range(len(manifest)))
    frames = ((r, i) for r in records for i in range(0, r.num_frames, frame_stride))
    for record, position in frames:
        person = known.find_person(record, position)
        if person is None:
            continue
        for area in AREAS:
            overlap = _compare(store, record, position, area=area, person=person)
            if overlap is not None:
                overlaps[area].append(overlap)
    return {area: _summarise(np.asarray(values)) for area, values in overlaps.items()}


def _compare(
    store: MaskStore, record: Record, position: int, *, area: str, person: dict[str, Any]
) -> float | None:
    """Return the IoU, -1 for a missing mask, None where the area does not show."""
    loaded = store.load(record.record_id, position, area)
    height, width = (record.height, record.width) if loaded is None else loaded[0].shape
    whole = decode_rle(person[f"mask_{area}"], person["height"], person["width"])
    real = extract_mask(whole, box=record.boxes[position], size=(height, width))
    if np.count_nonzero(real) < MIN_PIXELS:
        return None
    return -1.0 if loaded is None else compute_mask_iou(loaded[0], real)


def _summarise(overlaps: np.ndarray) -> AreaScore:
    if not len(overlaps):
        return AreaScore(iou=0.0, found=0.0, count=0)
    return AreaScore(
        iou=float(np.clip(overlaps, 0.0, None).mean()),
        found=float((overlaps >= 0).mean()),
        count=len(overlaps),
    )
