"""Records: one row per image or tracklet, in a table that holds millions of them."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vills.data.files import read_table, save_table
from vills.errors import InputError

KINDS = ("image", "tracklet")
SPLITS = ("pretrain", "train", "query", "gallery")
SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("kind", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("pid", pa.int32()),
        ("camid", pa.int32()),
        ("clothes_id", pa.int32()),
        ("video_id", pa.string()),
        ("origins", pa.list_(pa.string())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("shard", pa.string()),
        ("offsets", pa.list_(pa.int64())),
        ("lengths", pa.list_(pa.int64())),
        ("frames", pa.list_(pa.int32())),
        ("boxes", pa.list_(pa.float32())),
    ]
)
SPLITS_FILE = "splits.json"
TEMPLATES_FILE = "entries.parquet"
TEMPLATES_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("name", pa.string()),
        ("pid", pa.int32()),
        ("record_ids", pa.list_(pa.string())),
    ]
)
"""A probe, or a subject of a gallery, and its records: none, if all its media were lost."""
JUNK_PID = -1
"""A bad detection, or somebody unknown: as if absent from a search, neither right nor wrong."""
DISTRACTOR_PID = 0
"""People of no identity: nobody searches for them, and whoever finds one is wrong."""
_REPEATING = ["kind", "source", "split", "shard", "video_id"]
_RECORD_ID = re.compile(r"[A-Za-z0-9_-]+")
_CHUNK = 65_536

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Record:
    """A person crop, or the crops of one person in consecutive frames.

    Raises:
        ValueError: if the id has other characters than A-Z a-z 0-9 _ -, or the lists' lengths
            differ.
    """

    record_id: str
    """Unique within the source; no dots, since WebDataset readers cut a key at the first one."""
    kind: str
    """image or tracklet."""
    source: str
    """Name of the source."""
    split: str
    """pretrain, train, query or gallery."""
    pid: int
    """Person; -1 unknown or junk, 0 distractor."""
    camid: int
    """Camera from 0; -1 unknown."""
    clothes_id: int
    """Outfit; -1 unknown."""
    video_id: str
    """Source video; empty for images."""
    origins: tuple[str, ...]
    """Raw files below the source's root: one of each frame, or the video that all are from."""
    width: int
    """Of the first frame, px."""
    height: int
    """Of the first frame, px."""
    shard: str
    """Tar file that holds all frames."""
    offsets: tuple[int, ...]
    """First byte of each frame in the shard."""
    lengths: tuple[int, ...]
    """Bytes of each frame."""
    frames: tuple[int, ...]
    """Frame number in the source video; (0,) for images."""
    boxes: tuple[Box, ...]
    """(x1, y1, x2, y2) of each frame in the source frame, px."""

    def __post_init__(self) -> None:
        if not _RECORD_ID.fullmatch(self.record_id):
            raise ValueError(
                f"record_id = {self.record_id!r} is not allowed. Allowed: letters, digits, _ and "
                "-. What to do: make it with vills.data.records.build_record_id."
            )
        if self.kind not in KINDS or self.split not in SPLITS:
            raise ValueError(
                f"record {self.record_id}: kind {self.kind!r}, split {self.split!r} is not "
                f"allowed. Allowed: {KINDS}, {SPLITS}."
            )
        lengths = {len(self.offsets), len(self.lengths), len(self.frames), len(self.boxes)}
        if lengths != {len(self.offsets)} or not self.offsets:
            raise ValueError(f"record {self.record_id}: offsets, lengths, frames, boxes differ")
        if len(self.origins) != (1 if self.video_id else self.num_frames):
            raise ValueError(
                f"record {self.record_id} of {self.num_frames} frames has {len(self.origins)} "
                "origins. Allowed: one if it has a video_id, else one of each frame."
            )

    @property
    def num_frames(self) -> int:
        """Frames of the tracklet, 1 for an image."""
        return len(self.offsets)

    def get_raw_frame(self, position: int) -> tuple[str, int]:
        """Return the raw file, and the frame of it, that a frame was cut from; 0 of an image."""
        if self.video_id:
            return self.origins[0], self.frames[position]
        return self.origins[position], 0


def find_people(pids: np.ndarray) -> np.ndarray:
    """Return where pids are of one known person, who can be learned or searched for."""
    return np.asarray(pids > DISTRACTOR_PID)


def find_counted(pids: np.ndarray) -> np.ndarray:
    """Return where pids are of people or distractors, who are searched; all but junk."""
    return np.asarray(pids > JUNK_PID)


def build_record_id(path: str) -> str:
    """Return a record id for a raw path: readable, unique, without dots.

    `a/b_1.jpg` becomes `a-b_1`. Where that could be the id of another path as well (other
    characters, another suffix), eight digits of the path's hash are added.
    """
    stem = str(PurePosixPath(path).with_suffix(""))
    name = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")
    if re.fullmatch(r"[A-Za-z0-9_/]+", stem) and PurePosixPath(path).suffix == ".jpg":
        return name
    return f"{name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


class Manifest:
    """Records in columns; rows become Record objects one at a time."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()
        """The columns."""

    def __len__(self) -> int:
        """Return the number of records."""
        return int(self.table.num_rows)

    def __getitem__(self, index: int) -> Record:
        """Return the record of row `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a manifest of {len(self)} rows")
        row: dict[str, Any] = {
            name: self.table.column(name)[index].as_py() for name in SCHEMA.names
        }
        flat = row.pop("boxes")
        boxes = tuple(tuple(flat[i : i + 4]) for i in range(0, len(flat), 4))
        for name in ("origins", "offsets", "lengths", "frames"):
            row[name] = tuple(row[name])
        return Record(**row, boxes=boxes)

    def column(self, name: str) -> np.ndarray:
        """Return a scalar column, or `num_frames`, as an array of len(self)."""
        if name == "num_frames":
            return np.asarray(pc.list_value_length(self.table.column("offsets")).to_numpy())
        column = self.table.column(name)
        if pa.types.is_list(column.type):
            raise ValueError(f"column {name} holds lists; read rows, or num_frames")
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        return np.asarray(column.to_numpy())

    def encode(self, name: str) -> tuple[list[str], np.ndarray]:
        """(distinct values, int code of every row) of a string column."""
        column = self.table.column(name).combine_chunks()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        return column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64)

    def frame_spans(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (starts [len + 1], offsets [frames], lengths [frames]) of all frames in a row.

        Frame t of row i is entry starts[i] + t. This is what loaders read a frame by, since it
        makes no Python object per frame.
        """
        offsets = self.table.column("offsets")
        starts = np.concatenate([[0], np.cumsum(self.column("num_frames"), dtype=np.int64)])
        flat = pc.list_flatten(offsets).to_numpy()
        return starts, flat, pc.list_flatten(self.table.column("lengths")).to_numpy()

    def where(self, **equals: Any) -> "Manifest":
        """Rows whose columns equal the given scalars, or one of the given list or tuple."""
        keep = pa.array(np.ones(len(self), dtype=bool))
        for name, wanted in equals.items():
            values = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
            kind = SCHEMA.field(name).type
            # within arrow: an array of Python strings would take seconds for millions of rows
            column = self.table.column(name).cast(kind).combine_chunks()
            keep = pc.and_(keep, pc.is_in(column, value_set=pa.array(values, type=kind)))
        return Manifest(self.table.filter(keep))

    def take(self, rows: Sequence[int] | np.ndarray) -> "Manifest":
        """Return the given rows, in the given order."""
        return Manifest(self.table.take(pa.array(np.asarray(rows, dtype=np.int64))))


def load_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        FileNotFoundError: if there is none.
        InputError: if the file has other columns.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no manifest at {path}. What to do: run the curate stage.")
    table = read_table(path, remedy="run the curate stage again", read_dictionary=_REPEATING)
    if table.schema.names != SCHEMA.names:
        raise InputError(
            f"{path} is not a manifest: it has columns {table.schema.names}, expected "
            f"{SCHEMA.names}. What to do: run the curate stage again."
        )
    return Manifest(table)


def save_manifest(path: Path, records: Iterable[Record]) -> None:
    """Write records sorted by record_id.

    Raises:
        ValueError: if two records share an id.
    """
    stream = iter(records)
    chunks = []
    while chunk := list(islice(stream, _CHUNK)):
        columns = {name: [getattr(record, name) for record in chunk] for name in SCHEMA.names}
        columns["boxes"] = [[x for box in boxes for x in box] for boxes in columns["boxes"]]
        chunks.append(pa.table(columns, schema=SCHEMA))
    save_manifest_table(path, pa.concat_tables([SCHEMA.empty_table(), *chunks]))


def save_manifest_table(path: Path, table: pa.Table) -> pa.Table:
    """Write rows of the columns of SCHEMA sorted by record_id, and return them so.

    Raises:
        ValueError: if two records share an id.
    """
    table = table.sort_by("record_id").combine_chunks()
    ids = table.column("record_id").to_numpy()
    twice = ids[1:][ids[1:] == ids[:-1]]
    if len(twice):
        raise ValueError(f"{len(twice)} record ids occur twice, e.g. {twice[0]}")
    save_table(path, table)
    return table
