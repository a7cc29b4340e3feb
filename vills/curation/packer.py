"""Candidates into shards and manifest rows, unreadable files counted.

A kill costs at most the shard in progress.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vills.data.records import SCHEMA, Record, save_manifest, save_manifest_table
from vills.data.shards import ShardWriter, get_shard_name
from vills.errors import InputError, UserError
from vills.parts import SUFFIX, load_intact, load_seal, save_seal


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


@dataclass(frozen=True, slots=True)
class _Shard:
    """What is known of a finished shard besides its bytes."""

    items: int
    """Candidates that it and the shards before it hold."""
    damaged: list[tuple[str, str]]
    """As of `DamageLog.named`: unreadable files among its own candidates."""
    changes: dict[str, int]
    """As of `DamageLog.changes`, of its own candidates."""


class Packer:
    """Writes the shards of one source into `out`, and remembers finished ones in `work`.

    A shard counts as finished once its name, its manifest rows and then a seal of both are on disk
    (`vills.parts`), in this order; what an earlier kill left behind a finished shard is written
    again, to the same bytes.
    """

    def __init__(self, *, out: Path, work: Path, shard_mb: int) -> None:
        self._out = out
        self._work = work
        self._max_bytes = shard_mb * MEGABYTE
        self._shards: list[_Shard] = []
        while seal := load_seal(self._get_seal(len(self._shards))):
            shard = _Shard(**seal.value)
            shard.damaged[:] = [(path, reason) for path, reason in shard.damaged]
            self._shards.append(shard)
        # someone emptied the output folder: from there on it is packed as for the first time
        while self._shards and not (out / get_shard_name(self.num_shards - 1)).is_file():
            self._shards.pop()
        self._num_old = len(self._shards)
        out.mkdir(parents=True, exist_ok=True)
        for stale in sorted(out.glob("shard-*")):
            if stale.name >= get_shard_name(self.num_shards):
                stale.unlink()

    @property
    def num_shards(self) -> int:
        """Finished shards."""
        return len(self._shards)

    @property
    def num_items(self) -> int:
        """Candidates that they hold."""
        return self._shards[-1].items if self._shards else 0

    def list_damaged(self) -> list[int]:
        """Read the shards that were finished before, and list those that are to be made again."""
        found = range(self._num_old)
        return [i for i in found if not load_intact(self._get_seal(i), locate=self._locate)]

    def pack(
        self,
        read: Callable[[int], Iterator[Candidate]],
        *,
        damage: DamageLog,
        progress: Callable[[int], None],
    ) -> None:
        """Write all candidates that are in no finished shard, and name the unreadable files.

        `read` gives the candidates from a number on, in the order of the source. `damage` takes
        those of finished shards too; `progress` is called with the number of items done.

        Raises:
            TooManyDamagedError: more files are unreadable than allowed.
        """
        for shard in self._shards:
            for path, reason in shard.damaged:
                damage.add(path, reason=reason)
            damage.changes.update(shard.changes)
        self._write(read(self.num_items), damage=damage, progress=progress)
        for number in self.list_damaged():
            start = self._shards[number - 1].items if number else 0
            own = islice(read(start), self._shards[number].items - start)
            log = replace(damage, max_share=1.0, named=[], changes=Counter())
            self._write(own, damage=log, progress=lambda _: None, number=number)

    def save_manifest(self) -> pa.Table:
        """Join the rows of all shards into `manifest.parquet` of `out`, and give them back.

        Raises:
            ValueError: two records share an id.
        """
        parts = [pq.read_table(self._get_rows(number)) for number in range(self.num_shards)]
        table = pa.concat_tables([SCHEMA.empty_table(), *parts])
        return save_manifest_table(self._out / "manifest.parquet", table)

    def _write(
        self,
        candidates: Iterator[Candidate],
        *,
        damage: DamageLog,
        progress: Callable[[int], None],
        number: int | None = None,
    ) -> None:
        """Write new shards, or with a `number` that shard alone, of which all candidates come."""
        records: list[Record] = []
        known, changes = len(damage.named), Counter[str]()
        num_items = self.num_items

        def commit() -> None:
            nonlocal known
            shard = _Shard(num_items, damage.named[known:], dict(changes))
            self._commit(records, shard, number=self.num_shards if number is None else number)
            known = len(damage.named)
            changes.clear()
            records.clear()

        if number is not None:
            num_items = self._shards[number - 1].items if number else 0
        start = self.num_shards if number is None else number
        limit = self._max_bytes if number is None else sys.maxsize
        with ShardWriter(self._out, limit, start) as writer:
            for candidate in candidates:
                record = candidate.record
                if record is not None:
                    numbers = record.frames if record.kind == "tracklet" else None
                    shard, offsets, lengths = writer.add(
                        record.record_id, candidate.images, candidate.suffixes, numbers=numbers
                    )
                if writer.finished:
                    commit()
                    writer.finished.clear()
                if record is not None:
                    records.append(replace(record, shard=shard, offsets=offsets, lengths=lengths))
                for path, reason in candidate.damaged:
                    damage.add(path, reason=reason)
                changes.update(candidate.changes)
                damage.changes.update(candidate.changes)
                num_items += 1
                progress(num_items)
        if records:
            commit()
        elif number is not None:
            raise InputError(
                f"curate.sources.{damage.source}: {get_shard_name(number)} is damaged, and the raw "
                "files that it was made of are not readable any more. What to do: restore them."
            )

    def _commit(self, records: list[Record], shard: _Shard, *, number: int) -> None:
        rows = self._get_rows(number)
        save_manifest(rows, records)
        names = [get_shard_name(number), rows.name]
        save_seal(self._get_seal(number), names, locate=self._locate, value=asdict(shard))
        self._shards[number:] = [shard, *self._shards[number + 1 :]]

    def _locate(self, name: str) -> Path:
        return (self._work if name.startswith("rows-") else self._out) / name

    def _get_rows(self, number: int) -> Path:
        return self._work / f"rows-{number:06d}.parquet"

    def _get_seal(self, number: int) -> Path:
        return self._work / f"{get_shard_name(number)}{SUFFIX}"
