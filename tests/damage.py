"""Damage as disks, people and kills leave it, the same at every call."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path


def flip(path: Path) -> None:
    """Turn one bit of a file, in a place of its own; an empty file is removed."""
    data = bytearray(path.read_bytes())
    path.unlink()  # it may be read-only, and another name of a file elsewhere
    if data:
        place = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:6], "big")
        data[place // 8 % len(data)] ^= 1 << place % 8
        path.write_bytes(data)


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


DAMAGES: Mapping[str, Callable[[Path], None]] = {"flip": flip, "cut": cut, "remove": Path.unlink}


def list_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
