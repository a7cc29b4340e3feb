"""Pickles of plain values, read without running anything that they name."""

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from vills.errors import UserError

_PLAIN = "list, tuple, dict, set, str, bytes, int, float, bool, None"
# what a damaged stream of opcodes makes the unpickler raise, beside its own error
_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


class PlainPickleError(UserError, ValueError):
    """A pickle that is damaged, or holds more than plain values."""


class _RefusedError(Exception):
    """What a pickle asked for and does not get."""


class _PlainUnpickler(pickle.Unpickler):
    """Whatever is no plain value comes by a name that has to be found; none ever is."""

    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise _RefusedError(f"{module}.{name}")

    def persistent_load(self, pid: object, /) -> NoReturn:
        raise _RefusedError("an object kept outside of it")


def load_plain_pickle(path: Path) -> Any:
    """What a pickle holds, if that is made of plain containers, text and numbers alone.

    Unpickling runs any function that the file names. Here none is ever looked up, so that an
    unknown file can do no more harm than fill the memory.

    Raises:
        FileNotFoundError: if there is none.
        PlainPickleError: if it holds anything else (saying what), or breaks off.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="utf-8").load()
    except _RefusedError as error:
        raise PlainPickleError(
            f"{path} asks for {error}, which is refused: loading it would run code of its choice. "
            f"Allowed: {_PLAIN}. What to do: have its maker write plain lists and strings, or a "
            "text file with one entry per line."
        ) from error
    except _DAMAGE as error:
        raise PlainPickleError(
            f"{path} is no complete pickle ({error or type(error).__name__}). What to do: fetch it "
            "again."
        ) from error
