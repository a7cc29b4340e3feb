"""Entries: the images or tracklets that stand in a query or a gallery, in record order."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vills.data.records import SCHEMA, Manifest
from vills.data.rng import sample_rng
from vills.data.shards import ShardReader
from vills.evaluation.ranking import IntArray, Labels

_STREAM = 71
"""Keeps query frames apart from other uses of the same seed."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Rows of a manifest and where their pixels are."""

    manifest: Manifest
    reader: ShardReader
    positions: IntArray | None = None
    """Which frame of its tracklet each entry is; None for whole records."""

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.manifest)

    @property
    def kind(self) -> str:
        """Kind of record: image or tracklet.

        Raises:
            ValueError: no entries, or both kinds at once.
        """
        kinds = sorted(set(self.manifest.column("kind")))
        if len(kinds) != 1:
            raise ValueError(
                f"a query or gallery of {len(self)} entries of kinds {kinds} cannot be scored. "
                "What to do: look at the counts in the report of the curate stage."
            )
        return str(kinds[0])

    @property
    def ids(self) -> list[str]:
        """Record ids."""
        return [str(name) for name in self.manifest.column("record_id")]

    @property
    def keys(self) -> list[tuple[str, int]]:
        """(record id, frame or -1 for all) of each entry: what has one feature."""
        positions = np.full(len(self), -1) if self.positions is None else self.positions
        return list(zip(self.ids, positions.tolist(), strict=True))

    @property
    def labels(self) -> Labels:
        """Person and camera of each entry."""
        pids, camids = (self.manifest.column(name) for name in ("pid", "camid"))
        return Labels(pids.astype(np.int64), camids.astype(np.int64))

    def take(self, rows: IntArray) -> "Entries":
        """Some entries."""
        positions = None if self.positions is None else self.positions[rows]
        return Entries(self.manifest.take(rows), self.reader, positions)

    def join(self, other: "Entries") -> "Entries":
        """These and others of the same folder, in record order again."""
        assert self.reader.folder == other.reader.folder, "one reader serves one folder"
        assert self.positions is other.positions is None, "whole records only"
        table = pa.concat_tables([self.manifest.table, other.manifest.table])
        return Entries(Manifest(table.sort_by("record_id")), self.reader)

    def take_frames(self, *, mode: str, seed: int) -> "Entries":
        """Each tracklet's first, middle or seeded random frame as an image of the same id."""
        nums = self.manifest.column("num_frames").astype(np.int64)
        if mode == "first":
            positions = np.zeros_like(nums)
        elif mode == "middle":
            positions = nums // 2
        else:
            # Keyed by the record, so that other tracklets do not change this one's frame.
            draws = zip(self.ids, nums.tolist(), strict=True)
            positions = np.array([_draw_frame(name, num, seed) for name, num in draws], np.int64)
        return Entries(_keep_frames(self.manifest, positions), self.reader, positions)


def _draw_frame(record_id: str, num_frames: int, seed: int) -> int:
    key = int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:8], "little")
    return int(sample_rng(seed, _STREAM, key).integers(num_frames))


def _keep_frames(manifest: Manifest, positions: IntArray) -> Manifest:
    """The manifest with frame positions[i] alone of row i."""
    table = manifest.table
    num = len(manifest)
    starts = np.concatenate([[0], np.cumsum(manifest.column("num_frames"), dtype=np.int64)])
    chosen = starts[:-1] + positions
    ends = pa.array(np.arange(num + 1), pa.int32())
    for name in ("offsets", "lengths", "frames"):
        column = table.column(name).combine_chunks().flatten().take(pa.array(chosen))
        table = _replace(table, name, pa.ListArray.from_arrays(ends, column))
    flat = (4 * chosen[:, None] + np.arange(4)).ravel()
    boxes = table.column("boxes").combine_chunks().flatten().take(pa.array(flat))
    quads = pa.array(4 * np.arange(num + 1), pa.int32())
    table = _replace(table, "boxes", pa.ListArray.from_arrays(quads, boxes))
    return Manifest(_replace(table, "kind", pa.array(["image"] * num, pa.string())))


def _replace(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), column)
