"""Files: walked in one order, and complete under their name or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a neighbour of `path` to write; it takes the name only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file whose bytes depend on the table alone."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def walk_files(root: Path) -> Iterator[str]:
    """Paths of all files below `root`, posix and relative, folder by folder, sorted in each.

    One folder is in memory at a time. Links are followed, since data sets are often linked into
    place, but no folder is read twice. Hidden files and folders are left out.
    """
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = Path(folder).relative_to(root).as_posix()
        prefix = "" if base == "." else f"{base}/"
        for name in sorted(names):
            if not name.startswith("."):
                yield prefix + name
