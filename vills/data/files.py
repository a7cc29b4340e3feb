"""Files: walked by one walker in one order, and complete under their name or not there."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vills.errors import InputError, UserError
from vills.inputs import check_input, check_memory
from vills.io import open_atomic


class UnreadableFolderError(UserError, ValueError):
    """A folder whose content cannot be listed, or a name in it that cannot be written down."""


def save_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file whose bytes depend on the table alone."""
    with open_atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path, *, remedy: str, is_full: bool = False, **settings: Any) -> pa.Table:
    """Read a parquet file; what it says of its pages' checksums is compared.

    Raises:
        InputError: it is none, or damaged, or a value is missing from one that `is_full`; `remedy`
            says what to do.
    """
    try:
        check_input(path)
        check_size(path, settings.get("columns"))
        table = pq.read_table(path, page_checksum_verification=True, **settings)
    except (pa.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as parquet ({reason}). What to do: {remedy}."
        ) from error
    empty = [name for name in table.column_names if is_full and table[name].null_count]
    if empty:
        raise InputError(f"{path} lacks values of {', '.join(empty)}. What to do: {remedy}.")
    return table


def check_size(path: Path, columns: Sequence[str] | None = None) -> None:
    """Refuse a parquet file of which these columns (or all) do not fit into memory.

    What it says of its size is of before it is decoded: a million equal rows take nothing.

    Raises:
        OSError: as `check_memory`.
    """
    metadata = pq.read_metadata(path)
    num_columns = metadata.num_columns if columns is None else len(columns)
    check_memory(metadata.num_rows * num_columns * _SMALLEST_VALUE, path)


# fmt: off
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".qt", ".f4v", ".3gp", ".3g2", ".mkv", ".mk3d", ".webm", ".avi",
    ".divx", ".xvid", ".flv", ".wmv", ".asf", ".ogv", ".ogm", ".mpg", ".mpeg", ".mpe", ".m1v",
    ".m2v", ".vob", ".ts", ".m2ts", ".mts", ".m2t", ".trp", ".mxf", ".dv", ".rm", ".rmvb", ".wtv",
    ".dav", ".insv", ".lrv", ".mjpeg", ".mjpg", ".y4m", ".ivf", ".h264", ".264", ".h265", ".265",
    ".hevc",
)
# fmt: on
"""Of video files, in lower case: containers and bare streams that PyAV opens."""
_SMALLEST_VALUE = 4
"""Bytes: a number or where a text ends."""
_CLUTTER = (
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)
_NUMBER = re.compile(r"\d+")


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden, or is one that archivers and file managers leave.

    Such are .DS_Store, ._0001.jpg (a resource fork), __MACOSX, Thumbs.db, and @eaDir.
    """
    return name.startswith(".") or name.lower() in _CLUTTER


def compute_order(name: str) -> tuple[str, str]:
    """Return by what names are sorted where their order means something: 2 comes before 10.

    Numbers count by their value, whatever their digits (007 is 7) and their script; a dash is no
    sign, and a dot no decimal point. Letters count without their case. Names that are equal so far
    keep the order of their characters. Zero-padded names have the same order as plain text.
    """

    # the number of digits first: of equally many digits, text and numbers have one order
    def write(found: re.Match[str]) -> str:
        digits = str(int(found[0]))
        return f"{len(digits):03d}{digits}"

    return _NUMBER.sub(write, name.casefold()), name


class FolderEntries(NamedTuple):
    """What lies in one folder, in natural order."""

    prefix: str
    """Path of the folder with a slash at its end, or nothing for the root."""
    files: list[str]
    """Names of files."""
    passed: list[str]
    """Names of what is passed over: clutter, and links to what is read already; folders end in a
    slash."""


def list_names(folder: Path) -> list[str]:
    """Names of what lies in a folder, in natural order, without clutter."""
    names = (path.name for path in folder.iterdir())
    return sorted((name for name in names if not is_clutter(name)), key=compute_order)


def list_files(root: Path) -> Iterator[str]:
    """Paths of all files below `root`, posix and relative, without clutter, as list_folders.

    Raises:
        UnreadableFolderError: as list_folders.
    """
    for prefix, files, _ in list_folders(root):
        yield from (prefix + name for name in files)


def list_folders(root: Path) -> Iterator[FolderEntries]:
    """Return what lies in `root` and in each folder below, one at a time, in natural order.

    Every reader of people's folders walks here. Links are followed, since data sets are often
    linked into place, but no folder is read twice, nor one that `root` lies in. Clutter is not
    entered.

    Raises:
        UnreadableFolderError: if a folder cannot be listed, since to pass it over would lose its
            files, or a name is not UTF-8, as tables and reports are.
    """
    seen = {_identify(folder) for folder in root.resolve().parents}
    for folder, folders, names in os.walk(root, onerror=_refuse_folder, followlinks=True):
        base = Path(folder).relative_to(root).as_posix()
        prefix = "" if base == "." else f"{base}/"
        identity = _identify(Path(folder))
        if identity in seen:
            folders.clear()
            yield FolderEntries("", [], [prefix])
            continue
        seen.add(identity)
        _check_names(folder, [*folders, *names])
        passed = [name for name in names if is_clutter(name)]
        passed += [f"{name}/" for name in folders if is_clutter(name)]
        folders[:] = sorted((n for n in folders if not is_clutter(n)), key=compute_order)
        files = sorted((n for n in names if not is_clutter(n)), key=compute_order)
        yield FolderEntries(prefix, files, sorted(passed, key=compute_order))


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
