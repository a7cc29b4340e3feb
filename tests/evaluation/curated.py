"""A small curated folder: people of one colour each, seen by two cameras of different cast."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vills.data.images import encode_jpeg
from vills.data.records import Record, save_manifest
from vills.data.reid import ReidData, load_reid_data
from vills.data.shards import ShardWriter

NUM_PEOPLE = 5


def make_crop(pid: int, camid: int, seed: int) -> np.ndarray:
    """uint8 [32, 16, 3]: the person's colours, the camera's cast, noise."""
    rng = np.random.default_rng((pid + 1, 7))
    colours = rng.integers(30, 220, (4, 1, 3))
    crop = colours.repeat(8, axis=0).repeat(16, axis=1) + 12 * camid
    noise = np.random.default_rng((pid + 1, camid, seed)).normal(0, 6, crop.shape)
    return np.clip(crop + noise, 0, 255).astype(np.uint8)


def write_curated(folder: Path, *, modality: str, frames: Sequence[int] = (5, 3, 1)) -> ReidData:
    """Query: camera 0, one of each person; gallery: both cameras, a distractor, a junk entry."""
    rows = [("train", pid, camid, 0) for pid in (11, 12) for camid in (0, 1)]
    for pid in range(1, NUM_PEOPLE + 1):
        rows += [("query", pid, 0, 0), ("gallery", pid, 0, 1), ("gallery", pid, 1, 2)]
    rows += [("gallery", 0, 1, 3), ("gallery", -1, 1, 4), ("gallery", 99, 1, 5)]
    entries = []
    for number, (split, pid, camid, seed) in enumerate(rows):
        num = 1 if modality == "image" else frames[number % len(frames)]
        crops = [make_crop(pid, camid, 10 * seed + index) for index in range(num)]
        entries.append((split, pid, camid, [encode_jpeg(crop, 95) for crop in crops]))
    return write_entries(folder, entries, modality=modality)


def write_entries(
    folder: Path, entries: Sequence[tuple[str, int, int, Sequence[bytes]]], *, modality: str
) -> ReidData:
    """A curated folder of (split, pid, camid, frames); mixed: one frame is an image."""
    records = []
    with ShardWriter(folder, 1 << 20) as writer:
        for number, (split, pid, camid, frames) in enumerate(entries):
            record_id = f"{split}_{pid % 1000:04d}_c{camid}_{number:03d}"
            is_image = modality == "image" or (modality == "mixed" and len(frames) == 1)
            numbers = None if is_image else range(len(frames))
            shard, offsets, lengths = writer.add(record_id, frames, numbers=numbers)
            records.append(
                Record(
                    record_id=record_id,
                    kind="image" if is_image else "tracklet",
                    source=folder.name,
                    split=split,
                    pid=pid,
                    camid=camid,
                    clothes_id=-1,
                    video_id="",
                    origins=(f"{record_id}.jpg",) * len(frames),
                    width=16,
                    height=32,
                    shard=shard,
                    offsets=offsets,
                    lengths=lengths,
                    frames=tuple(range(len(frames))),
                    boxes=((0.0, 0.0, 16.0, 32.0),) * len(frames),
                )
            )
    save_manifest(folder / "manifest.parquet", records)
    return load_reid_data(folder, modality=modality)
