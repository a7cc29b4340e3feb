"""Candidates into shards and manifest rows, unreadable files counted.

A kill costs at most the shard in progress.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vills.data.records import SCHEMA, Record, save_manifest, save_manifest_table
from vills.data.shards import ShardWriter, get_shard_name
from vills.errors import UserError
from vills.io import load_json, open_atomic


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that has no place in a shard yet, with the bytes of its frames.

    Attributes:
        record: Its shard is empty, its offsets and lengths are zeros. None if none of its files
            could be read, or if a video gave no tracklet.
        images: Encoded bytes of each frame.
        suffixes: What the name of each frame ends in, without the dot; jpg if there are none.
        damaged: (raw relative path, reason) of the files that could not be read.
        changes: What was done to image files, or left out, once for each file.
    """

    record: Record | None
    images: tuple[bytes, ...] = ()
    suffixes: tuple[str, ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()
    changes: tuple[str, ...] = ()


class TooManyDamagedError(UserError, ValueError):
    """More of a source is unreadable than operation.max_corrupt_share allows."""


@dataclass
class DamageLog:
    """Inputs of one source that are unreadable, or were changed.

    Attributes:
        source: Name of the source.
        total: Files of the source.
        max_share: Share of them that may be unreadable.
        named: (raw relative path, reason) of the unreadable ones, in the order of the source.
        changes: What was done to how many image files.
    """

    source: str
    total: int
    max_share: float
    named: list[tuple[str, str]] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, *, reason: str) -> None:
        """Count an unreadable file, and `check`."""
        self.named.append((path, reason))
        self.check()

    def check(self) -> None:
        """Refuse a source of whose files too many are unreadable.

        Raises:
            TooManyDamagedError: naming the last of them.
        """
        if len(self.named) > self.max_share * self.total:
            last = "; ".join(f"{name} ({why})" for name, why in self.named[-5:])
            raise TooManyDamagedError(
                f"curate.sources.{self.source}: {len(self.named)} of {self.total} files are "
                f"unreadable, among them {last}. Allowed: a share of operation.max_corrupt_share = "
                f"{self.max_share}. What to do: replace or remove these files, or raise the share."
            )


MEGABYTE = 1_000_000


class Packer:
    """Writes the shards of one source into `out`, and remembers finished ones in `work`.

    A shard counts as finished once its name, its manifest rows and then the state are on disk, in
    this order; what an earlier kill left behind a finished shard is written again, to the same
    bytes.
    """

    def __init__(self, *, out: Path, work: Path, shard_mb: int) -> None:
        self._out = out
        self._work = work
        self._max_bytes = shard_mb * MEGABYTE
        self.num_items, self.num_shards, self._damaged, self._changes = self._load_state()
        out.mkdir(parents=True, exist_ok=True)
        for stale in sorted(out.glob("shard-*")):
            if stale.name >= get_shard_name(self.num_shards):
                stale.unlink()

    def pack(
        self,
        candidates: Iterator[Candidate],
        *,
        damage: DamageLog,
        progress: Callable[[int], None],
    ) -> None:
        """Write the candidates from number `num_items` on, and name the unreadable files.

        They come in the order of the source. `damage` takes those before `num_items` too;
        `progress` is called with the number of items done.

        Raises:
            TooManyDamagedError: more files are unreadable than allowed.
        """
        for path, reason in self._damaged:
            damage.add(path, reason=reason)
        damage.changes.update(self._changes)
        records: list[Record] = []
        num_items = self.num_items
        with ShardWriter(self._out, self._max_bytes, self.num_shards) as writer:
            for candidate in candidates:
                record = candidate.record
                if record is not None:
                    numbers = record.frames if record.kind == "tracklet" else None
                    shard, offsets, lengths = writer.add(
                        record.record_id, candidate.images, candidate.suffixes, numbers=numbers
                    )
                if writer.finished:
                    self._commit(records, num_items=num_items, damage=damage)
                    writer.finished.clear()
                    records = []
                if record is not None:
                    records.append(replace(record, shard=shard, offsets=offsets, lengths=lengths))
                for path, reason in candidate.damaged:
                    damage.add(path, reason=reason)
                damage.changes.update(candidate.changes)
                num_items += 1
                progress(num_items)
        if records:
            self._commit(records, num_items=num_items, damage=damage)

    def save_manifest(self) -> pa.Table:
        """Join the rows of all shards into `manifest.parquet` of `out`, and give them back.

        Raises:
            ValueError: two records share an id.
        """
        parts = [pq.read_table(self._rows(number)) for number in range(self.num_shards)]
        table = pa.concat_tables([SCHEMA.empty_table(), *parts])
        return save_manifest_table(self._out / "manifest.parquet", table)

    def _commit(self, records: list[Record], *, num_items: int, damage: DamageLog) -> None:
        save_manifest(self._rows(self.num_shards), records)
        self.num_shards += 1
        self.num_items = num_items
        state = {
            "items": num_items,
            "shards": self.num_shards,
            "damaged": damage.named,
            "changes": damage.changes,
        }
        with open_atomic(self._work / "pack.json") as temporary:
            temporary.write_text(json.dumps(state))

    def _load_state(self) -> tuple[int, int, list[tuple[str, str]], Counter[str]]:
        path = self._work / "pack.json"
        if not path.is_file():
            return 0, 0, [], Counter()
        state = load_json(path)
        # Without its shards the state is worth nothing: someone emptied the output folder.
        if not all((self._out / get_shard_name(i)).is_file() for i in range(state["shards"])):
            return 0, 0, [], Counter()
        damaged = [tuple(named) for named in state["damaged"]]
        return state["items"], state["shards"], damaged, Counter(state["changes"])

    def _rows(self, number: int) -> Path:
        return self._work / f"rows-{number:06d}.parquet"
