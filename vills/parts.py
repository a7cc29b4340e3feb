"""Parts of unfinished work: what a killed stage need not make again, trusted by its digest alone.

A part is one or several files. Its seal, a small file beside them, is written last: it holds the
SHA-256 of each, a value of the part's own (counts, rows), and its own SHA-256. No seal, no part.

Whoever goes on from a part, or takes it into what is published, hashes it once, then. A resume that
only passes over what is finished reads seals alone: to read hundreds of gigabytes at each start
would cost more than the rare damage, and nothing is published unseen either way. A part that fails
is made again, and said; nothing of that enters an out, whose bytes must not depend on accidents.
"""

import errno
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.io import compute_sha256, save_bytes

SUFFIX = ".seal"
GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)
"""How a part that is lost, or on a bad block, answers."""
Locate = Callable[[str], Path]
"""Where a file of a part lies, by its name in the seal: `folder.joinpath`."""
REDONE: Counter[str] = Counter()
"""Files of parts that this attempt found damaged, by folder; how many, its end file says."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seal:
    """What a part is made of."""

    files: dict[str, str]
    """SHA-256 by name."""
    value: Any
    """What JSON can hold, or None."""

    def find_damaged(self, locate: Locate) -> list[str]:
        """List files that are missing or are not the bytes that were sealed; it reads them all."""
        return [name for name, digest in self.files.items() if _hash(locate(name)) != digest]


def save_seal(path: Path, names: Iterable[str], *, locate: Locate, value: Any = None) -> None:
    """Seal files that are in their place: from here on they are a part.

    Raises:
        ValueError: for NaN in the value.
    """
    files = {name: compute_sha256(locate(name)) for name in names}
    body = json.dumps({"files": files, "value": value}, indent=1, allow_nan=False).encode()
    save_bytes(path, f"{hashlib.sha256(body).hexdigest()}\n".encode() + body)


def load_seal(path: Path) -> Seal | None:
    """Load a seal; None if there is none, or it is damaged itself. It reads no file of the part."""
    seal = _read(path)
    if seal is None and path.exists():
        _warn_redone(path.parent, [path.name])
    return seal


def is_sealed(path: Path) -> bool:
    """Whether a seal is there, and whole; for those who wait for it."""
    return _read(path) is not None


def load_intact(path: Path, *, locate: Locate) -> Seal | None:
    """Load the seal of a part that is whole to the last byte; None if it is to be made again."""
    seal = load_seal(path)
    damaged = seal.find_damaged(locate) if seal else []
    if damaged:
        _warn_redone(path.parent, damaged)
    return None if damaged else seal


def _warn_redone(folder: Path, names: Sequence[str]) -> None:
    """Count and say that finished work is damaged, so that it is done again."""
    REDONE[str(folder)] += len(names)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    _log.warning("%s: finished work is damaged or gone (%s); it is done again", folder, shown)


def _read(path: Path) -> Seal | None:
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        if error.errno not in GONE:
            raise
        return None
    whole = digest == hashlib.sha256(body).hexdigest().encode()
    return Seal(**json.loads(body)) if whole else None


def _hash(path: Path) -> str | None:
    try:
        return compute_sha256(path)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return None
