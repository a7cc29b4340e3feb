"""The inventory of a raw data set: what DVC depends on instead of millions of files."""

from pathlib import Path

import pyarrow as pa

from vills.data.files import is_clutter, list_files, read_table
from vills.errors import UserError
from vills.io import compute_sha256

SCHEMA = pa.schema([("path", pa.string()), ("size", pa.int64()), ("digest", pa.string())])
_SHOWN = 5


class InventoryError(UserError, ValueError):
    """The files are not those of the inventory."""


def build_inventory(root: Path) -> pa.Table:
    """Path, size and sha256 of every file below `root`, sorted by path.

    Raises:
        FileNotFoundError: if there is no such folder, or it holds no file.
        InventoryError: if a file cannot be read: a link that leads nowhere.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}. What to do: check VILLS_DATA and the path.")
    paths = sorted(list_files(root))
    if not paths:
        raise FileNotFoundError(f"{root} holds no file. What to do: put the data set there.")
    try:
        sizes = [(root / path).stat().st_size for path in paths]
        digests = [compute_sha256(root / path) for path in paths]
    except OSError as error:
        raise InventoryError(_explain_unreadable(error)) from error
    return pa.table({"path": paths, "size": sizes, "digest": digests}, schema=SCHEMA)


def load_inventory(path: Path) -> pa.Table:
    """Read an inventory.

    Raises:
        FileNotFoundError: if there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no inventory at {path}. What to do: `vills data register`.")
    return read_table(path, remedy="`vills data register` writes it again", schema=SCHEMA)


def check_inventory(root: Path, table: pa.Table, *, digests: bool = False) -> None:
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
        wrong = [f"{p} (content)" for p in both if compute_sha256(root / p) != expected[p]]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InventoryError(
            f"{root} differs from its inventory: {', '.join(wrong[:_SHOWN])}{more}. What to do: "
            "restore the files, or register the data again if the change is intended."
        )


def _explain_unreadable(error: OSError) -> str:
    return (
        f"cannot read {error.filename} ({error.strerror}). What to do: restore the file, or remove "
        "it if it is a broken link."
    )
