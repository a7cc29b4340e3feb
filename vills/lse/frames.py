"""The frames of a source that get masks, read from its shards and decoded."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from vills.data.images import SUFFIXES, CorruptImageError, decode_image
from vills.data.records import Manifest, Record
from vills.data.shards import ShardReader
from vills.lse.crop import Crop

_FRAME_NUMBER = re.compile(r"F(\d+)$")


def iterate_crops(
    manifest: Manifest,
    *,
    reader: ShardReader,
    rows: Sequence[int],
    frame_stride: int,
    corrupt: list[str],
) -> Iterator[Crop]:
    """Decode images, and every `frame_stride`-th frame of tracklets, of the given rows.

    Args:
        manifest: records of the source.
        reader: its shards.
        rows: rows of the manifest.
        frame_stride: step through a tracklet, from its first frame.
        corrupt: receives the name of each record with a frame that cannot be decoded; such a frame
            is left out.
    """
    for row in rows:
        record = manifest[row]
        damaged = False
        for position in range(0, record.num_frames, frame_stride):
            data = reader.read(record.shard, record.offsets[position], record.lengths[position])
            try:
                image = decode_image(data, name=record.record_id)
            except CorruptImageError:
                damaged = True
                continue
            path, frame = get_raw_frame(record, position)
            yield Crop(
                image=image,
                record_id=record.record_id,
                position=position,
                path=path,
                frame=frame,
                box=record.boxes[position],
            )
        if damaged:
            corrupt.append(record.record_id)


def count_frames(manifest: Manifest, *, frame_stride: int) -> int:
    """Count the frames that get masks."""
    return int((-(-manifest.column("num_frames") // frame_stride)).sum())


def get_raw_frame(record: Record, position: int) -> tuple[str, int]:
    """Name the raw file, and its frame, that a position of a record was cut from.

    A tracklet comes from one video, or (MARS) from one image file per frame, of which the record
    names the first: `...F001.jpg`, `...F002.jpg`. Image files have frame 0 in predictions.
    """
    origin = PurePosixPath(record.origin)
    if origin.suffix.lower() not in SUFFIXES:
        return record.origin, record.frames[position]
    number = _FRAME_NUMBER.search(origin.stem)
    if record.kind == "image" or number is None:
        return record.origin, 0
    digits = number.group(1)
    shifted = int(digits) + record.frames[position] - record.frames[0]
    name = f"{origin.stem[: number.start()]}F{shifted:0{len(digits)}d}{origin.suffix}"
    return (origin.parent / name).as_posix(), 0
