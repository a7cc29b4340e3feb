"""The inventory of a raw data set: what DVC depends on instead of millions of files."""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from vills.data.files import VIDEO_SUFFIXES, is_clutter, list_files, read_table
from vills.data.images import SUFFIXES
from vills.errors import UserError
from vills.inputs import MAX_BYTES
from vills.io import compute_sha256
from vills.progress import Progress

SCHEMA = pa.schema([("path", pa.string()), ("size", pa.int64()), ("digest", pa.string())])
_SHOWN = 5


class InventoryError(UserError, ValueError):
    """The files are not those of the inventory."""


def build_inventory(root: Path, progress: Progress = lambda *_: None) -> pa.Table:
    """Path, size and sha256 of every file below `root`, sorted by path.

    Raises:
        FileNotFoundError: if there is no such folder, or it holds no file.
        InventoryError: if a file cannot be read: a link that leads nowhere, or a picture that no
            reader would open for its size.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}. What to do: check VILLS_DATA and the path.")
    paths = sorted(list_files(root))
    if not paths:
        raise FileNotFoundError(f"{root} holds no file. What to do: put the data set there.")
    try:
        sizes = [(root / path).stat().st_size for path in paths]
        _refuse_large(root, zip(paths, sizes, strict=True))
        digests = _compute_digests(root, paths, progress)
    except OSError as error:
        raise InventoryError(_explain_unreadable(error)) from error
    return pa.table({"path": paths, "size": sizes, "digest": digests}, schema=SCHEMA)


def load_inventory(path: Path) -> pa.Table:
    """Read an inventory.

    Raises:
        FileNotFoundError: if there is none.
        InputError: if it is damaged, or a value is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no inventory at {path}. What to do: `vills data register`.")
    remedy = "`vills data register` writes it again"
    return read_table(path, remedy=remedy, is_full=True, schema=SCHEMA)


def check_inventory(
    root: Path, table: pa.Table, *, digests: bool = False, progress: Progress = lambda *_: None
) -> None:
    """Compare the files below `root` with an inventory: names and sizes, and contents if asked.

    Raises:
        InventoryError: naming the first paths that differ.
    """
    sizes = zip(table["path"].to_pylist(), table["size"].to_pylist(), strict=True)
    # inventories of before clutter was passed over list some
    listed = {path: size for path, size in sizes if not any(map(is_clutter, path.split("/")))}
    try:
        found = {path: (root / path).stat().st_size for path in list_files(root)}
    except OSError as error:
        raise InventoryError(_explain_unreadable(error)) from error
    wrong = [f"{path} (missing)" for path in sorted(listed.keys() - found.keys())]
    wrong += [f"{path} (not listed)" for path in sorted(found.keys() - listed.keys())]
    both = sorted(listed.keys() & found.keys())
    wrong += [
        f"{path} ({found[path]} bytes, listed {listed[path]})"
        for path in both
        if found[path] != listed[path]
    ]
    if digests and not wrong:
        expected = dict(zip(table["path"].to_pylist(), table["digest"].to_pylist(), strict=True))
        now = _compute_digests(root, both, progress)
        wrong = [f"{p} (content)" for p, d in zip(both, now, strict=True) if d != expected[p]]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InventoryError(
            f"{root} differs from its inventory: {', '.join(wrong[:_SHOWN])}{more}. What to do: "
            "restore the files, or register the data again if the change is intended."
        )


class Registered:
    """What the files of a data set held when it was registered, for whoever reads them anyway."""

    def __init__(self, root: Path, table: pa.Table) -> None:
        table = table.sort_by("path").combine_chunks()
        self._root, self._paths, self._digests = root, table["path"], table["digest"]
        self._checked: set[tuple[str, int, int]] = set()

    def check_bytes(self, path: str, data: bytes) -> None:
        """Refuse the content of a file that was another one; a path that is not listed passes.

        Raises:
            InventoryError: naming the file.
        """
        self._compare(path, lambda: hashlib.sha256(data).hexdigest())

    def check_file(self, path: str) -> None:
        """Refuse a file with another content, by reading it; once, however many segments it has.

        What cannot be read, its own reader tells of.

        Raises:
            InventoryError: naming the file.
        """
        with suppress(OSError):
            status = (self._root / path).stat()
            state = path, status.st_size, status.st_mtime_ns
            if state not in self._checked:
                self._compare(path, lambda: compute_sha256(self._root / path))
                self._checked.add(state)

    def check_supplied(self, path: str) -> None:
        """Refuse a table of predictions that changed, or that came after the inventory was taken.

        Raises:
            InventoryError: naming the file.
        """
        if (self._root / path).exists() and self._find(path) is None:
            raise InventoryError(
                f"{self._root / path} is not in the inventory of its data set, so no run would "
                "know which one it had read. What to do: `vills data register SOURCE` again."
            )
        self.check_file(path)

    def check_others(self) -> None:
        """Refuse labels, lists, predictions and databases that changed: all but pictures and films.

        Raises:
            InventoryError: naming the first of them.
        """
        for name in self._paths:
            path = name.as_py()
            if not path.lower().endswith((*SUFFIXES, *VIDEO_SUFFIXES)):
                self.check_file(path)

    def _find(self, path: str) -> str | None:
        """Return the digest of a file; nothing of one that is not listed."""
        # sorted, since as a dictionary millions of files would take a gigabyte
        place = bisect_left(range(len(self._paths)), path, key=lambda n: self._paths[n].as_py())
        is_listed = place < len(self._paths) and self._paths[place].as_py() == path
        return str(self._digests[place].as_py()) if is_listed else None

    def _compare(self, path: str, compute: Callable[[], str]) -> None:
        if (digest := self._find(path)) is not None and compute() != digest:
            raise InventoryError(
                f"{self._root / path} has another content than its inventory says: it changed "
                "since `vills data register`, or is damaged. What to do: `vills data verify SOURCE "
                "--full` lists all such files; restore them, or register the data again if the "
                "change is intended."
            )


def _compute_digests(root: Path, paths: Sequence[str], progress: Progress) -> list[str]:
    digests: list[str] = []
    for path in paths:
        progress(path, len(digests), len(paths))
        digests.append(compute_sha256(root / path))
    return digests


def _refuse_large(root: Path, sizes: Iterable[tuple[str, int]]) -> None:
    large = [path for path, size in sizes if size > MAX_BYTES and path.lower().endswith(SUFFIXES)]
    if large:
        raise InventoryError(
            f"{root} has {len(large)} pictures of more than {MAX_BYTES:,} bytes, such as "
            f"{large[0]}: no picture of a person is that large, and to read it takes long. What to "
            "do: remove or rename it."
        )


def _explain_unreadable(error: OSError) -> str:
    return (
        f"cannot read {error.filename} ({error.strerror}). What to do: restore the file, or remove "
        "it if it is a broken link."
    )
