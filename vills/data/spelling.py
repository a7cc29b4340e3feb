"""Paths that mean a file of a data set but are written otherwise: on Windows, elsewhere, by hand.

Legend: name: a path as the data set has it, below its root, posix. written: what a list says.
"""

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

_SUFFIX = re.compile(r"\.[A-Za-z]\w{1,3}$")
_CHANGES: dict[str, Callable[[str], str]] = {
    "%-codes decoded": unquote,
    "slashes for backslashes": lambda path: path.replace("\\", "/"),
    "spaces around it removed": str.strip,
    "another Unicode form": lambda path: unicodedata.normalize("NFC", path),
    "other upper and lower case": str.casefold,
    "another suffix": lambda path: _SUFFIX.sub("", path),
}
"""What to do with a path -> how; a match may need several."""
_FOLDERS = "the folders in front removed"


class Spelling(NamedTuple):
    """How a written path means a name."""

    written: str
    changes: tuple[str, ...]
    """What has to be done so that it matches."""

    @property
    def is_longer(self) -> bool:
        """Whether it has more folders in front than the name."""
        return _FOLDERS in self.changes


class Spellings:
    """Written paths by what they may mean; one that could be two things means nothing."""

    def __init__(self, written: Iterable[str]) -> None:
        """Fold every path once, with and without each of the folders in front."""
        self._written: dict[str, str | None] = {}
        for path in written:
            parts = _fold(path).split("/")
            for first in range(len(parts)):
                key = "/".join(parts[first:])
                self._written[key] = None if key in self._written else path

    def find(self, name: str) -> Spelling | None:
        """Find the one written path that means `name`, written otherwise; none if there is none."""
        written = self._written.get(_fold(name))
        if written is None:
            return None
        changes = list(_CHANGES)
        for change in reversed(_CHANGES):  # what is not needed goes
            fewer = [other for other in changes if other != change]
            if f"/{_fold(written, fewer)}".endswith(f"/{_fold(name, fewer)}"):
                changes = fewer
        longer = len(_fold(written)) > len(_fold(name))
        return Spelling(written, (*changes, *([_FOLDERS] if longer else [])))


def describe_spelling(written: Sequence[str], names: Iterable[str]) -> str:
    """Say how the first written path that means one of the names would have to be changed.

    Returns:
        A sentence that begins with a space; empty if none means a name.
    """
    spellings = Spellings(written)
    for name in names:
        found = spellings.find(name)
        if found is not None and found.changes:
            return f" {found.written!r} would match {name!r} with {' and '.join(found.changes)}."
    return ""


def _fold(path: str, changes: Iterable[str] = _CHANGES) -> str:
    for change in changes:
        path = _CHANGES[change](path)
    return posixpath.normpath(path)
