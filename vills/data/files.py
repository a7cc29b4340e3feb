"""Files: walked in one order, and complete under their name or not there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vills.errors import UserError
from vills.io import open_atomic


class UnreadableFolderError(UserError, ValueError):
    """A folder whose content cannot be listed, or a name in it that cannot be written down."""


def save_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file whose bytes depend on the table alone."""
    with open_atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def list_files(root: Path) -> Iterator[str]:
    """Paths of all files below `root`, posix and relative, but for hidden ones, as walk_folders.

    Raises:
        UnreadableFolderError: as walk_folders.
    """
    for prefix, _, names in list_folders(root):
        yield from (prefix + name for name in names if not name.startswith("."))


def list_folders(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Return what lies in `root` and in each folder below, one at a time, sorted.

    Links are followed, since data sets are often linked into place, but no folder is read twice,
    nor one that `root` lies in. Hidden folders are not entered.

    Yields:
        (path of the folder with a slash at its end, or nothing for `root`; names of the hidden
        folders in it; names of the files in it).

    Raises:
        UnreadableFolderError: if a folder cannot be listed, since to pass it over would lose its
            files, or a name is not UTF-8, as tables and reports are.
    """
    seen = {_identify(folder) for folder in root.resolve().parents}
    for folder, folders, names in os.walk(root, onerror=_refuse_folder, followlinks=True):
        identity = _identify(Path(folder))
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        hidden = sorted(name for name in folders if name.startswith("."))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        _check_names(folder, [*folders, *names])
        base = Path(folder).relative_to(root).as_posix()
        yield "" if base == "." else f"{base}/", hidden, sorted(names)


def _identify(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _refuse_folder(error: OSError) -> None:
    raise UnreadableFolderError(
        f"cannot list {error.filename} ({error.strerror}). What to do: make it a readable folder."
    ) from error


def _check_names(folder: str, names: list[str]) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UnreadableFolderError(
                f"{folder} holds {os.fsencode(name)!r}, a name that is not UTF-8. What to do: "
                "rename it; archives made on Windows often have names in Latin-1."
            ) from error
