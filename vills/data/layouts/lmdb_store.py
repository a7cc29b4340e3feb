"""Files in an LMDB database: key -> bytes, read only, without a lock file."""

import errno
from pathlib import Path
from typing import Any

from vills.data.layouts.base import LayoutError

DATA_FILE = "data.mdb"
_FILES = "*.lmdb"


class LmdbStore:
    """Values of a database by key; for one process, from any of its threads."""

    def __init__(self, path: Path) -> None:
        """Open a database: a folder with data.mdb, or a single file.

        Raises:
            LayoutError: if it is none, or breaks off.
        """
        import lmdb

        file = path / DATA_FILE if path.is_dir() else path
        try:
            self._database: Any = lmdb.open(
                str(path),
                readonly=True,
                lock=False,
                create=False,
                subdir=path.is_dir(),
                readahead=False,
            )
            info, status = self._database.info(), self._database.stat()
        except (lmdb.Error, OSError) as error:
            raise LayoutError(
                f"{file} is no LMDB database ({error}). What to do: copy it again, complete."
            ) from error
        # The file is mapped into memory: to touch a page behind its end would kill the process.
        needed = (info["last_pgno"] + 1) * status["psize"]
        if file.stat().st_size < needed:
            self._database.close()
            raise LayoutError(
                f"{file} breaks off: it has {file.stat().st_size:,} bytes of {needed:,}. What to "
                "do: copy it again, complete."
            )
        self.num_entries = int(status["entries"])
        """Keys of the database."""

    def read(self, key: str) -> bytes:
        """Value of a key.

        Raises:
            FileNotFoundError: if there is no such key.
            OSError: if the database is damaged at that place, or cannot have such a key.
        """
        import lmdb

        try:
            with self._database.begin() as transaction:
                value = transaction.get(key.encode())
        except lmdb.Error as error:
            raise OSError(errno.EIO, str(error), key) from error
        if value is None:
            raise FileNotFoundError(errno.ENOENT, "not in the database", key)
        return bytes(value)


def find_database(root: Path) -> Path | None:
    """The database that `root` is or holds, a folder with data.mdb or a file *.lmdb, if any.

    Raises:
        LayoutError: if there are several.
    """
    found = [*root.glob(DATA_FILE), *root.glob(f"*/{DATA_FILE}")]
    databases = sorted({path.parent for path in found} | {*filter(Path.is_file, root.glob(_FILES))})
    if len(databases) > 1:
        raise LayoutError(
            f"{root} holds {len(databases)} databases, {databases[0].name} and "
            f"{databases[1].name} among them. What to do: make a source of each, by its path."
        )
    return databases[0] if databases else None
