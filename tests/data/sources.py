"""Small curated sources for tests of the loaders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vills.areas import AREAS
from vills.data.images import encode_jpeg
from vills.data.mask_store import build_mask_row, build_mask_table, get_mask_path, save_mask_table
from vills.data.records import Record, save_manifest
from vills.data.shards import ShardWriter

WriteSource = Callable[..., Path]


def make_crop(seed: int, height: int = 64, width: int = 32) -> np.ndarray:
    """A smooth picture that JPEG keeps, different for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / height
    waves = [
        np.sin(rng.uniform(1, 9) * y + rng.uniform(1, 9) * x + c) for c in rng.uniform(0, 6, 3)
    ]
    return (127 + 120 * np.stack(waves, axis=2)).astype(np.uint8)


def make_area_mask(area: str, height: int = 64, width: int = 32) -> np.ndarray:
    top = {"head": 0.0, "upper_body": 0.2, "lower_body": 0.6}[area]
    mask = np.zeros((height, width), dtype=bool)
    mask[int(top * height) : int((top + 0.2) * height), width // 4 : 3 * width // 4] = True
    return mask


def build_source_writer(root: Path) -> WriteSource:
    """Writes root/curated/<name> and root/lse/<name> of (kind, frames, split, pid, cam, video)."""

    def write(
        name: str,
        items: Sequence[tuple[str, int, str, int, int, str]],
        *,
        stride: int = 4,
        skip: Callable[[int, str], bool] = lambda index, area: False,
    ) -> Path:
        folder = root / "curated" / name
        rows: dict[str, list[Any]] = {area: [] for area in AREAS}
        records = []
        with ShardWriter(folder, 40_000) as writer:
            for i, (kind, num_frames, split, pid, camid, video) in enumerate(items):
                record_id = f"{name}-{i:04d}"
                frames = [make_crop(1000 * i + t) for t in range(num_frames)]
                shard, offsets, lengths = writer.add(
                    record_id,
                    [encode_jpeg(frame, 95) for frame in frames],
                    numbers=range(num_frames) if kind == "tracklet" else None,
                )
                records.append(
                    Record(
                        record_id,
                        kind,
                        name,
                        split,
                        pid,
                        camid,
                        -1,
                        video,
                        (f"{i}.jpg",) * (1 if video else num_frames),
                        32,
                        64,
                        shard,
                        offsets,
                        lengths,
                        tuple(range(num_frames)),
                        ((0.0, 0.0, 32.0, 64.0),) * num_frames,
                    )  # fmt: skip
                )
                for area in AREAS:
                    rows[area] += [
                        build_mask_row(make_area_mask(area), record_id=record_id, frame=t, score=1)
                        for t in range(0, num_frames, stride)
                        if not skip(i, area)
                    ]
        save_manifest(folder / "manifest.parquet", records)
        for area in AREAS:
            save_mask_table(get_mask_path(root / "lse" / name, area), build_mask_table(rows[area]))
        return folder

    return write
