"""Query and gallery: the images and tracklets that stand in them, in record order."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vills.data.records import SCHEMA, SPLITS_FILE, Manifest, find_counted, find_people
from vills.data.reid import ReidData, load_reid_data
from vills.data.samplers import sample_rng
from vills.data.shards import ShardReader
from vills.errors import UserError
from vills.evaluation.ranking import IntArray, Labels

MODALITY_OF = {"image": "image", "tracklet": "video"}
"""What a record of a kind is to a model."""
_STREAM = 71
"""Keeps query frames apart from other uses of the same seed."""
_NEEDED = ("record_id", "kind", "pid", "camid")


class EntriesError(UserError, ValueError):
    """A table of entries is refused; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Rows of a manifest and, where a model must see them, their pixels."""

    manifest: Manifest
    reader: ShardReader | None = None
    """None if features come from elsewhere: names and labels are all that protocols look at."""
    positions: IntArray | None = None
    """Which frame of its tracklet each entry is (-1: the whole record); None if all are whole."""

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.manifest)

    @property
    def kinds(self) -> np.ndarray:
        """Kind of each entry, image or tracklet."""
        return np.asarray(self.manifest.column("kind").astype(str))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that occur, sorted: image, video."""
        return tuple(sorted({MODALITY_OF[kind] for kind in set(self.kinds.tolist())}))

    @property
    def ids(self) -> list[str]:
        """Record ids."""
        return [str(name) for name in self.manifest.column("record_id")]

    @property
    def frames(self) -> IntArray:
        """Frame of its record that each entry is, int64 [n]; -1 for the whole record."""
        return np.full(len(self), -1) if self.positions is None else self.positions

    @property
    def keys(self) -> list[tuple[str, int]]:
        """(record id, frame or -1 for all) of each entry: what has one feature."""
        return list(zip(self.ids, self.frames.tolist(), strict=True))

    @property
    def labels(self) -> Labels:
        """Person, camera and outfit of each entry."""
        pids, camids, clothes_ids = (
            self.manifest.column(name).astype(np.int64) for name in ("pid", "camid", "clothes_id")
        )
        return Labels(pids, camids, clothes_ids)

    def take(self, rows: IntArray) -> "Entries":
        """Return some entries."""
        positions = None if self.positions is None else self.positions[rows]
        return Entries(self.manifest.take(rows), self.reader, positions)

    def keep_people(self) -> "Entries":
        """Keep those that can be searched for: neither distractors nor junk."""
        return self.take(np.flatnonzero(find_people(self.labels.pids)))

    def drop_junk(self) -> "Entries":
        """Keep those that can be found: people and distractors."""
        return self.take(np.flatnonzero(find_counted(self.labels.pids)))

    def join(self, other: "Entries") -> "Entries":
        """Join these and others of the same folder, in record order again."""
        folders = {entries.reader.folder for entries in (self, other) if entries.reader}
        assert len(folders) <= 1, "one reader serves one folder"
        assert self.positions is other.positions is None, "whole records only"
        # without dictionaries, which differ between tables
        table = pa.concat_tables([part.manifest.table.cast(SCHEMA) for part in (self, other)])
        return Entries(Manifest(table.sort_by("record_id")), self.reader or other.reader)

    def take_frames(self, *, mode: str, seed: int) -> "Entries":
        """Take each tracklet's first, middle or seeded random frame as an image of the same id.

        Images stay as they are.
        """
        nums = self.manifest.column("num_frames").astype(np.int64)
        if mode == "first":
            positions = np.zeros_like(nums)
        elif mode == "middle":
            positions = nums // 2
        else:
            # Keyed by the record, so that other tracklets do not change this one's frame.
            draws = zip(self.ids, nums.tolist(), strict=True)
            positions = np.array([_draw_frame(name, num, seed) for name, num in draws], np.int64)
        whole = self.kinds == "image"
        table = self.manifest.table
        if self.reader is not None:
            table = _keep_frames(self.manifest, np.where(whole, 0, positions))
        table = set_column(table, "kind", pa.array(["image"] * len(self), pa.string()))
        return Entries(Manifest(table), self.reader, np.where(whole, -1, positions))


@dataclass(frozen=True, slots=True)
class TestData:
    """Query and gallery of a data set, or of one of its splits."""

    __test__: ClassVar[bool] = False  # no test case, whatever pytest thinks of the name

    query: Entries
    """Split query."""
    gallery: Entries
    """Split gallery, with distractors (pid 0) and junk (pid -1)."""
    templates: pa.Table | None = None
    """Templates of a sigset: group, name, pid, record_ids (entries.parquet)."""
    split: int | None = None
    """Which split it is, for data sets that have several."""
    notes: tuple[str, ...] = ()
    """Rows that loading left out of both: how many, and why."""


def build_entries(table: pa.Table) -> Entries:
    """Build entries without pixels, for features that someone else has computed.

    Args:
        table: columns record_id (any unique text, such as a path), kind (image or tracklet), pid,
            camid, and if known clothes_id (default -1) and num_frames (default 1). Others are
            passed over. Rows keep their order, which breaks ties of the ranking.

    Raises:
        EntriesError: a column is missing, an id occurs twice, a kind is unknown, or a tracklet has
            no frames.
    """
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise EntriesError(
            f"the table of entries has no column {', '.join(missing)}; it has "
            f"{', '.join(table.column_names)}. What to do: name the columns "
            f"{', '.join(_NEEDED)}, and clothes_id and num_frames if they are known."
        )
    ids = [str(name) for name in table.column("record_id").to_pylist()]
    kinds = [str(kind) for kind in table.column("kind").to_pylist()]
    nums = _read_numbers(table, "num_frames", default=1)
    _check_rows(ids, kinds, nums)
    ends = pa.array(np.concatenate([[0], np.cumsum(nums)]), pa.int32())
    columns: dict[str, object] = {
        # what only readers of pixels look at is left empty
        **{field.name: pa.nulls(len(ids), field.type) for field in SCHEMA},
        "record_id": ids,
        "kind": kinds,
        **{name: _read_numbers(table, name) for name in ("pid", "camid", "clothes_id")},
        "offsets": pa.ListArray.from_arrays(ends, pa.nulls(int(nums.sum()), pa.int64())),
    }
    return Entries(Manifest(pa.table(columns, schema=SCHEMA)))


def build_test_data(data: ReidData, *, split: int | None = None) -> TestData:
    """Build what protocols see of a loaded data set."""
    query, gallery = (Entries(manifest, data.reader) for manifest in (data.query, data.gallery))
    return TestData(query, gallery, data.templates, split, data.left_out)


def load_test_sets(folder: Path, *, split_ids: Sequence[int]) -> dict[int, TestData]:
    """Load query and gallery of all kinds by split id; a data set of one split has 0 alone.

    Raises:
        ConfigError: a split does not exist.
    """
    several = (folder / SPLITS_FILE).is_file()
    return {
        split_id: build_test_data(
            load_reid_data(folder, split_id=split_id), split=split_id if several else None
        )
        for split_id in split_ids
    }


def _check_rows(ids: Sequence[str], kinds: Sequence[str], nums: IntArray) -> None:
    if len(set(ids)) != len(ids):
        counts = Counter(ids)
        twice = next(name for name in ids if counts[name] > 1)
        raise EntriesError(
            f"{len(ids) - len(set(ids))} entries repeat an id, first {twice!r}. What to do: give "
            "each image or tracklet one row."
        )
    wrong = sorted(set(kinds) - set(MODALITY_OF))
    if wrong:
        raise EntriesError(
            f"kind = {wrong[0]!r} is not allowed. Allowed: {', '.join(MODALITY_OF)}. What to do: "
            "correct the column kind."
        )
    if len(nums) and nums.min() < 1:
        raise EntriesError(
            f"entry {ids[int(nums.argmin())]!r} has {nums.min()} frames. Allowed: 1 and more. "
            "What to do: correct the column num_frames, or remove the entry."
        )


def _read_numbers(table: pa.Table, name: str, default: int = -1) -> IntArray:
    if name not in table.column_names:
        return np.full(table.num_rows, default, dtype=np.int64)
    column = table.column(name)
    if column.null_count or not pa.types.is_integer(column.type):
        raise EntriesError(
            f"column {name} holds {column.type} with {column.null_count} empty cells. Allowed: "
            "whole numbers. What to do: correct it; -1 means unknown."
        )
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _draw_frame(record_id: str, num_frames: int, seed: int) -> int:
    key = int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:8], "little")
    return int(sample_rng(seed, _STREAM, key).integers(num_frames))


def _keep_frames(manifest: Manifest, positions: IntArray) -> pa.Table:
    """Keep frame positions[i] alone of row i."""
    table = manifest.table
    starts = np.concatenate([[0], np.cumsum(manifest.column("num_frames"), dtype=np.int64)])
    chosen = pa.array(starts[:-1] + positions)
    for name, width in (("offsets", 1), ("lengths", 1), ("frames", 1), ("boxes", 4)):
        flat = table.column(name).combine_chunks().flatten()
        frames = pa.FixedSizeListArray.from_arrays(flat, width).take(chosen)
        table = set_column(table, name, frames.cast(SCHEMA.field(name).type))
    held = table.column("origins").combine_chunks()
    # the frames of a video have one origin together
    lengths = pc.list_value_length(held).to_numpy()
    at = np.cumsum(lengths) - lengths + np.minimum(positions, lengths - 1)
    ends = pa.array(np.arange(len(at) + 1), pa.int32())
    return set_column(
        table, "origins", pa.ListArray.from_arrays(ends, held.flatten().take(pa.array(at)))
    )


def set_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    """Replace a column of a manifest's table."""
    return table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), column)
