"""What data sets keep paths and pixels in: pickles, lists of images, LMDB databases.

Pickles are read without running anything that they name; lists say what of a data set is to be
taken, best first; databases are read only, without a lock file.
"""

import errno
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any, NoReturn

from vills.data.files import is_clutter
from vills.data.layouts.base import LayoutError
from vills.errors import UserError
from vills.inputs import check_input, read_input

_PLAIN = "list, tuple, dict, set, str, bytes, int, float, bool, None"


class PlainPickleError(UserError, ValueError):
    """A pickle that is damaged, or holds more than plain values."""


class _RefusedError(Exception):
    """What a pickle asked for and does not get."""


class _PlainUnpickler(pickle.Unpickler):
    """Whatever is no plain value comes by a name that has to be found; none ever is."""

    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise _RefusedError(f"{module}.{name}")

    def persistent_load(self, pid: object, /) -> NoReturn:
        raise _RefusedError("an object stored outside the file")


def load_plain_pickle(path: Path) -> Any:
    """Return what a pickle holds, if that is made of plain containers, text and numbers alone.

    Unpickling runs any function that the file names. Here none is ever looked up, so that an
    unknown file can do no more harm than fill the memory.

    Raises:
        FileNotFoundError: if there is none.
        PlainPickleError: if it holds anything else (saying what), or breaks off.
    """
    stream = io.BytesIO(read_input(path))
    try:
        return _PlainUnpickler(stream, encoding="utf-8").load()
    except _RefusedError as error:
        raise PlainPickleError(
            f"{path} asks for {error}, which is refused: loading it could run any code. "
            f"Allowed: {_PLAIN}. What to do: write plain lists and strings, or a "
            "text file with one entry per line."
        ) from error
    except Exception as error:  # a damaged stream of opcodes raises nearly anything
        raise PlainPickleError(
            f"{path} is not a complete pickle ({error or type(error).__name__}). What to do: fetch "
            "it again."
        ) from error


SUFFIXES = (".txt", ".json", ".pkl")


def load_image_list(path: Path) -> list[str]:
    """Paths of a list file, in its order: .txt with one per line, .json or .pkl with a list.

    Raises:
        LayoutError: if there is none, it is of another kind, or holds something else.
        PlainPickleError: if a .pkl holds more than plain values.
    """
    if not path.is_file():
        raise LayoutError(f"no list of images at {path}. What to do: put it there.")
    try:
        names = convert_to_names(_load(path))
    except (LayoutError, PlainPickleError):
        raise
    except (ValueError, RecursionError) as error:
        raise LayoutError(
            f"{path} cannot be read as {path.suffix[1:]} in UTF-8 ({error}). What to do: write it "
            "again."
        ) from error
    if not names:
        raise LayoutError(
            f"{path} is not a list of image paths. What to do: give one path per line (.txt), or a "
            "list of strings (.json, .pkl)."
        )
    return names


def convert_to_names(content: Any) -> list[str] | None:
    """Return a list or tuple of strings, or of bytes in UTF-8, as strings; None if it is none."""
    if not isinstance(content, list | tuple):
        return None
    if all(type(name) is str for name in content):
        return list(content)
    if all(type(name) in (str, bytes) for name in content):
        return [name.decode() if isinstance(name, bytes) else name for name in content]
    return None


def _load(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".pkl":
        return load_plain_pickle(path)
    # utf-8-sig: editors of Windows put a mark in front
    if suffix == ".json":
        return json.loads(read_input(path).decode("utf-8-sig"))
    if suffix == ".txt":
        lines = read_input(path).decode("utf-8-sig").splitlines()
        return [line.strip() for line in lines if line.strip()]
    raise LayoutError(
        f"{path} is a list in an unknown format. Allowed: {', '.join(SUFFIXES)}. What to do: write "
        "one path per line into a .txt."
    )


DATA_FILE = "data.mdb"
_FILE = ".lmdb"


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
            check_input(file)
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
                f"{file} is not an LMDB database ({error}). What to do: copy it again completely."
            ) from error
        # The file is mapped into memory: to touch a page behind its end would kill the process.
        needed = (info["last_pgno"] + 1) * status["psize"]
        if file.stat().st_size < needed:
            self._database.close()
            raise LayoutError(
                f"{file} is incomplete: it has {file.stat().st_size:,} bytes of {needed:,}. What "
                "to do: copy it again, complete."
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
    """Return the database that `root` is or holds, a folder with data.mdb or a file *.lmdb, if any.

    Raises:
        LayoutError: if there are several.
    """
    databases = [root] if (root / DATA_FILE).is_file() else []
    with os.scandir(root) as entries:  # of millions of images, none is looked at
        for entry in entries:
            path = root / entry.name
            is_file = entry.name.lower().endswith(_FILE) and path.is_file()
            if not is_clutter(entry.name) and (
                is_file or (entry.is_dir() and (path / DATA_FILE).is_file())
            ):
                databases.append(path)
    databases.sort()
    if len(databases) > 1:
        raise LayoutError(
            f"{root} holds {len(databases)} databases, {databases[0].name} and {databases[1].name} "
            "among them. What to do: make one source per database, with its path."
        )
    return databases[0] if databases else None
