"""A chunk of records: the unit that is computed, counted, kept and recognised after a kill.

A finished chunk is a folder with one table of keypoints, one of masks per area, and a summary that
seals them (`vills.parts`): a chunk without its summary does not count.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vills.areas import AREAS
from vills.config.lse import LseConfig
from vills.data.files import save_table
from vills.data.mask_store import MaskRow, build_mask_row, build_mask_table, get_mask_path
from vills.data.records import Manifest
from vills.data.shards import ShardReader
from vills.lse.crop import Crop, Labels, load_crops
from vills.lse.keypoints import KeypointDetector, Keypoints, build_prompt
from vills.lse.quality import CROP_FAULTS, MASK_FAULTS, check_crops, find_mask_fault
from vills.lse.segmenter import AreaMask, Segmenter
from vills.parts import SUFFIX, Seal, load_intact, load_seal, save_seal

KEYPOINTS_SCHEMA = pa.schema(
    [("record_id", pa.string()), ("frame", pa.int32()), ("keypoints", pa.list_(pa.float32()))]
)
SUMMARY = f"summary{SUFFIX}"
KEYPOINTS = "keypoints.parquet"
_MAX_NAMES = 1000
MISSING = ("refused", "no_mask", "too_small", *MASK_FAULTS)
"""Why a frame has no mask of an area."""

Chunks = Sequence[tuple[Path, range]]
"""Folder and rows of each."""


@dataclass
class Summary:
    """Counts over some records."""

    records: int = 0
    """Images and tracklets."""
    frames: int = 0
    """Decoded images and frames."""
    no_person: int = 0
    """Frames in which K found nobody."""
    areas: dict[str, Counter[str]] = field(default_factory=lambda: {a: Counter() for a in AREAS})
    """What became of each area: frames `found` with a mask; with `no_mask`, as their keypoints gave
    no positive point or the segmenter found nothing; in a crop that is `refused`; with a mask below
    min_area, `too_small`, or of one of MASK_FAULTS. And `score`: the sum of the segmenter's over
    found masks, in millionths, exact in any order."""
    refused: Counter[str] = field(default_factory=Counter)
    """Frames that get no mask, by their fault, one of CROP_FAULTS."""
    corrupt: list[str] = field(default_factory=list)
    """Records with a frame that cannot be decoded."""

    def to_report(self) -> dict[str, Any]:
        """Return what report.json of the source says."""
        return {
            "records": self.records,
            "frames": self.frames,
            "frames_without_person": self.no_person,
            "frames_refused": {fault: self.refused[fault] for fault in CROP_FAULTS},
            "areas": {
                area: {
                    "found": counts["found"],
                    "missing": sum(counts[reason] for reason in MISSING),
                    **{f"missing_{reason}": counts[reason] for reason in MISSING},
                    "mean_score": round(counts["score"] / max(counts["found"], 1) / 1e6, 6),
                }
                for area, counts in self.areas.items()
            },
            "corrupt_records": len(self.corrupt),
            "corrupt": sorted(self.corrupt)[:_MAX_NAMES],
        }


@dataclass(frozen=True)
class ChunkWorker:
    """Applies K and M to chunks of one source."""

    manifest: Manifest
    """Records of the source."""
    reader: ShardReader
    """Its shards."""
    detector: KeypointDetector
    """K."""
    segmenter: Segmenter
    """M."""
    config: LseConfig
    """Parameters of the stage."""

    def compute(self, folder: Path, *, rows: range) -> None:
        """Compute the keypoints and the masks of all areas of some rows of the manifest."""
        summary, keypoints = Summary(records=len(rows)), list[dict[str, Any]]()
        masks: dict[str, list[MaskRow]] = {area: [] for area in AREAS}
        crops = load_crops(
            self.manifest,
            reader=self.reader,
            rows=rows,
            frame_stride=self.config.frame_stride,
            corrupt=summary.corrupt,
        )
        while batch := list(islice(crops, self.config.batch_size)):
            self._process(batch, keypoints=keypoints, masks=masks, summary=summary)
        save_table(folder / KEYPOINTS, pa.Table.from_pylist(keypoints, schema=KEYPOINTS_SCHEMA))
        for area, found in masks.items():
            save_table(get_mask_path(folder, area), build_mask_table(found))
        names = [KEYPOINTS, *(get_mask_path(folder, area).name for area in AREAS)]
        save_seal(folder / SUMMARY, names, locate=folder.joinpath, value=vars(summary))

    def _process(
        self,
        crops: list[Crop],
        *,
        keypoints: list[dict[str, Any]],
        masks: dict[str, list[MaskRow]],
        summary: Summary,
    ) -> None:
        """Add the rows of a batch to the two tables, and count them."""
        config, found = self.config, self.detector.detect(crops)
        faults = check_crops(crops, found=found, detector=self.detector, config=config)
        prompts: list[dict[str, Labels]] = [
            {}
            if fault
            else {
                area: build_prompt(
                    k.points,
                    scores=k.scores,
                    area=area,
                    threshold=config.area_threshold[area],
                    low_confidence=config.low_confidence,
                    size=(crop.height, crop.width),
                )
                for area in AREAS
            }
            for crop, k, fault in zip(crops, found, faults, strict=True)
        ]
        segmented = self.segmenter.segment(crops, points=[k.points for k in found], labels=prompts)
        rows = zip(crops, found, faults, prompts, segmented, strict=True)
        for crop, k, fault, labels, areas in rows:
            summary.frames += 1
            summary.no_person += k.is_missing
            summary.refused[fault] += bool(fault)
            place: dict[str, Any] = {"record_id": crop.record_id, "frame": crop.position}
            flat = np.column_stack([k.points, k.scores]).ravel()  # x, y, score of each
            keypoints.append(place | {"keypoints": flat})
            for area, counts in summary.areas.items():
                cut = areas.get(area)
                missing = self._find_missing(cut, k=k, labels=labels.get(area), fault=fault)
                counts[missing or "found"] += 1
                if cut is not None and not missing:
                    counts["score"] += round(1e6 * cut.score)
                    masks[area].append(build_mask_row(cut.mask, score=cut.score, **place))

    def _find_missing(
        self, cut: AreaMask | None, *, k: Keypoints, labels: Labels | None, fault: str
    ) -> str:
        """Name why an area has no mask, one of MISSING, or nothing."""
        if fault:
            return "refused"
        if cut is None or labels is None:
            return "no_mask"
        if cut.mask.mean() < self.config.min_area or not cut.mask.any():
            return "too_small"
        if self.config.segmenter == "parsing":
            return ""
        return find_mask_fault(cut.mask, points=k.points, labels=labels)


def list_chunks(folder: Path, *, num_records: int, size: int) -> Chunks:
    """List folder and rows of every chunk of a source."""
    return [
        (folder / f"chunk-{number:06d}", range(start, min(start + size, num_records)))
        for number, start in enumerate(range(0, num_records, size))
    ]


def load_summary(folder: Path) -> Summary | None:
    """Read the summary of a finished chunk; None if it is not finished."""
    seal = load_seal(folder / SUMMARY)
    return _build_summary(seal) if seal else None


def find_damaged(chunks: Chunks) -> Chunks:
    """Find damaged chunks, which count as unfinished then; every file of every chunk is read."""
    damaged = [
        (folder, rows)
        for folder, rows in chunks
        if not load_intact(folder / SUMMARY, locate=folder.joinpath)
    ]
    for folder, _ in damaged:
        (folder / SUMMARY).unlink(missing_ok=True)
    return damaged


def _build_summary(seal: Seal) -> Summary:
    values = dict(seal.value)
    areas = {area: Counter(counts) for area, counts in values["areas"].items()}
    return Summary(**values | {"areas": areas, "refused": Counter(values["refused"])})


def build_summary(chunks: Chunks) -> Summary:
    """Add up the counts of finished chunks."""
    total = Summary()
    for folder, _ in chunks:
        part = load_summary(folder)
        assert part is not None, f"{folder} was computed and has no summary"
        total.records += part.records
        total.frames += part.frames
        total.no_person += part.no_person
        total.corrupt += part.corrupt
        total.refused.update(part.refused)
        for area, counts in total.areas.items():
            counts.update(part.areas[area])
    return total
