"""Uncompressed tar shards in WebDataset naming: streamed by other tools, read here by one pread."""

import os
import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

from vills.errors import InputError
from vills.inputs import open_input

_BLOCK = 512
_MAX_OPEN = 128
_SHARD = re.compile(r"shard-\d{6,}\.tar")


def get_shard_name(number: int) -> str:
    """Name of shard `number`."""
    return f"shard-{number:06d}.tar"


class ShardWriter:
    """Writes records to shard-000000.tar, shard-000001.tar, ... of `folder`.

    Members are `<record_id>.jpg` for an image and `<record_id>.<frame>.jpg` for a tracklet; a
    record never straddles shards. The bytes depend on what is added alone. A shard gets its name
    when it is complete, so that whatever `shard-*.tar` exists can be trusted after a kill; go on
    with `start` = number of finished shards.
    """

    def __init__(self, folder: Path, max_bytes: int, start: int = 0) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._number = start
        self._file: BinaryIO | None = None
        self._position = 0
        self.finished: list[str] = []
        """Shards that have their name, in order."""
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        record_id: str,
        frames: Sequence[bytes],
        suffixes: Sequence[str] = (),
        *,
        numbers: Sequence[int] | None = None,
    ) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
        """Append a record: (shard, offset of each frame, length of each frame).

        Without the `numbers` of its frames, it is an image. Without `suffixes` they are jpg.
        """
        places = [""] if numbers is None else [f".{number:06d}" for number in numbers]
        parts = [
            (_header(f"{record_id}{place}.{end}", len(data)), data + b"\0" * (-len(data) % _BLOCK))
            for place, end, data in zip(
                places, suffixes or ["jpg"] * len(frames), frames, strict=True
            )
        ]
        size = sum(len(header) + len(body) for header, body in parts)
        if self._position and self._position + size + 2 * _BLOCK > self._max_bytes:
            self.finish_shard()
        if self._file is None:
            self._file = self._temporary.open("wb")
        offsets = []
        for header, body in parts:
            self._file.write(header + body)
            offsets.append(self._position + len(header))
            self._position += len(header) + len(body)
        return get_shard_name(self._number), tuple(offsets), tuple(len(data) for data in frames)

    def finish_shard(self) -> None:
        """Give the shard in progress its name; the next record starts another."""
        if self._file is None:
            return
        self._file.write(b"\0" * (2 * _BLOCK))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._folder / get_shard_name(self._number))
        self.finished.append(get_shard_name(self._number))
        self._file, self._position = None, 0
        self._number += 1

    def abort(self) -> None:
        """Drop the shard in progress."""
        if self._file is not None:
            # on a full disk closing fails too, as it flushes; what it held is dropped anyway
            with suppress(OSError):
                self._file.close()
            self._file, self._position = None, 0
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the last shard, or drop it after an error."""
        try:
            if kind is None:
                self.finish_shard()
        finally:
            self.abort()

    @property
    def _temporary(self) -> Path:
        return self._folder / (get_shard_name(self._number) + ".tmp")


def _header(name: str, size: int) -> bytes:
    """Tar header of a member; owner, time and mode are constants."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(format=tarfile.GNU_FORMAT)


class ShardReader:
    """Reads byte ranges of the shards of a folder; safe across fork, spawn and threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, shard: str, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length) of `shard`.

        Raises:
            FileNotFoundError: if the shard is missing.
            InputError: if the shard ends before.
        """
        with self._lock:
            data = os.pread(self._descriptor(shard), length, offset)
        if len(data) != length:
            raise InputError(
                f"{self.folder / shard} ends before byte {offset + length}. What to do: its "
                "manifest belongs to other shards, or the file is incomplete; run curate again."
            )
        return data

    def _descriptor(self, shard: str) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        if not _SHARD.fullmatch(shard):
            raise InputError(
                f"a manifest names the shard {shard!r}. Allowed: {get_shard_name(0)} and so on, in "
                f"{self.folder}. What to do: run curate again, or do not use this copy."
            )
        if len(self._open) >= _MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        with open_input(self.folder / shard) as file:
            self._open[shard] = os.dup(file.fileno())
        return self._open[shard]

    def close(self) -> None:
        """Close all files; reading opens them again."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Pickle the folder alone: descriptors mean nothing in another process."""
        return type(self), (self.folder,)

    def __del__(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])
