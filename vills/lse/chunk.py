"""A chunk of records: the unit that is computed, kept and recognised after a kill.

A finished chunk is a folder with one table of keypoints, one of masks per area, and a summary that
is written last: a chunk without its summary does not count.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from vills.areas import AREAS
from vills.config.lse import LseConfig
from vills.data.files import save_table
from vills.data.mask_store import MaskRow, build_mask_row, build_mask_table, mask_path
from vills.data.records import Manifest
from vills.data.shards import ShardReader
from vills.io import atomic_path
from vills.lse.crop import Crop
from vills.lse.frames import iterate_crops
from vills.lse.keypoints import KeypointDetector, Keypoints
from vills.lse.prompts import build_prompt
from vills.lse.segmenter import Segmenter
from vills.lse.summary import Summary

KEYPOINTS_SCHEMA = pa.schema(
    [("record_id", pa.string()), ("frame", pa.int32()), ("keypoints", pa.list_(pa.float32()))]
)
SUMMARY = "summary.json"
KEYPOINTS = "keypoints.parquet"


@dataclass
class _Rows:
    keypoints: list[tuple[str, int, np.ndarray]] = field(default_factory=list)
    masks: dict[str, list[MaskRow]] = field(default_factory=lambda: {area: [] for area in AREAS})


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
        found, summary = _Rows(), Summary(records=len(rows))
        crops = iterate_crops(
            self.manifest,
            reader=self.reader,
            rows=rows,
            frame_stride=self.config.frame_stride,
            corrupt=summary.corrupt,
        )
        while batch := list(islice(crops, self.config.batch_size)):
            self._process(batch, found=found, summary=summary)
        save_table(folder / KEYPOINTS, _build_keypoints_table(found.keypoints))
        for area, masks in found.masks.items():
            save_table(mask_path(folder, area), build_mask_table(masks))
        with atomic_path(folder / SUMMARY) as temporary:
            temporary.write_text(json.dumps(summary.to_dict(), sort_keys=True))

    def _process(self, crops: list[Crop], *, found: _Rows, summary: Summary) -> None:
        keypoints = self.detector.detect(crops)
        prompts = [
            {
                area: build_prompt(
                    k.points,
                    scores=k.scores,
                    area=area,
                    threshold=self.config.area_threshold[area],
                    low_confidence=self.config.low_confidence,
                    size=(crop.height, crop.width),
                )
                for area in AREAS
            }
            for crop, k in zip(crops, keypoints, strict=True)
        ]
        masks = self.segmenter.segment(crops, points=[k.points for k in keypoints], labels=prompts)
        for crop, k, areas in zip(crops, keypoints, masks, strict=True):
            summary.frames += 1
            summary.no_person += k.is_missing
            found.keypoints.append((crop.record_id, crop.position, _flatten(k)))
            for area in AREAS:
                counts = summary.areas[area]
                if area not in areas:
                    counts.no_mask += 1
                elif areas[area].mask.mean() < self.config.min_area or not areas[area].mask.any():
                    counts.too_small += 1
                else:
                    counts.found += 1
                    counts.total_score += round(1e6 * areas[area].score)
                    found.masks[area].append(
                        build_mask_row(
                            areas[area].mask,
                            record_id=crop.record_id,
                            frame=crop.position,
                            score=areas[area].score,
                        )
                    )


def iterate_chunks(num_records: int, *, size: int) -> Iterator[range]:
    """Cut the rows of a manifest into ranges of `size`."""
    for start in range(0, num_records, size):
        yield range(start, min(start + size, num_records))


def load_summary(folder: Path) -> Summary | None:
    """Read the summary of a finished chunk; None if it is not finished."""
    path = folder / SUMMARY
    return Summary.from_dict(json.loads(path.read_text())) if path.is_file() else None


def _flatten(keypoints: Keypoints) -> np.ndarray:
    """Join to [n x 3] as x, y, score."""
    joined = np.concatenate([keypoints.points, keypoints.scores[:, None]], axis=1)
    return joined.astype(np.float32).reshape(-1)


def _build_keypoints_table(rows: list[tuple[str, int, np.ndarray]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], []]
    return pa.table(
        {name: list(c) for name, c in zip(KEYPOINTS_SCHEMA.names, columns, strict=True)},
        schema=KEYPOINTS_SCHEMA,
    )
