"""Content digests of files and folders, with a cache so that unchanged big files are quick.

The cache knows a file by device, inode, size, mtime and ctime: ctime cannot be set by hand, so a
file changed in place is hashed again even when its mtime was put back. It is one JSON file,
replaced atomically (a database would ask for locks that network file systems do not keep), and
may be removed at any time.

A file that was changed within a tick of its clock may be changed again without another time, so
that a young one is not remembered. How old it is, its own server's clock says, which may differ
from ours: the clock of the cache's file system is asked, and of any other an hour is allowed for.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vills.errors import RunError
from vills.io import compute_sha256, find_json, save_own_json
from vills.mounts import compute_clock_lead

CACHE_NAME = ".digests.json"
MAX_ENTRIES = 200_000
RACY_NS = 2_000_000_000
"""A file this young may change again within one tick of its clock, so it is not remembered."""


class DigestCache:
    """Digests of files, remembered in one JSON file, or in this process only without a path."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known = self._load()
        self._leads: dict[int, int] = {}
        self._has_news = False

    def compute_file_digest(self, path: Path) -> str:
        """Compute the sha256 of a file's bytes, or recall it."""
        stat = path.stat()
        key = f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"
        if key in self._known:
            return self._known[key]
        if stat.st_dev not in self._leads:
            near = self.path.parent if self.path else None
            self._leads[stat.st_dev] = compute_clock_lead(path, near=near)
        now = time.time_ns() + self._leads[stat.st_dev]
        digest = compute_sha256(path)
        if now - max(stat.st_mtime_ns, stat.st_ctime_ns) > RACY_NS:
            self._known[key], self._has_news = digest, True
        return digest

    def save(self) -> None:
        """Write what was learnt; a full or read-only disk costs the cache and nothing else."""
        if self.path is None or not self._has_news:
            return
        # Read again: another process may have added its own in the meantime.
        self._known = dict([*{**self._load(), **self._known}.items()][-MAX_ENTRIES:])
        with suppress(OSError):
            save_own_json(self.path, self._known, sort=False)
            self._has_news = False

    def _load(self) -> dict[str, str]:
        return find_json(self.path) if self.path else {}


def compute_digest(path: Path, cache: DigestCache | None = None) -> str:
    """Compute the content digest of a file or a folder, as 64 hex digits.

    A file has the sha256 of its bytes. A folder has the sha256 over `digest  relative/path` lines
    sorted by path. Links are followed (DVC may link outs), empty folders and modes do not count.

    Raises:
        RunError: when there is nothing at `path`.
    """
    if path.is_dir():
        return compute_joint_digest(compute_listing(path, cache))
    if not path.exists():
        raise RunError(f"{path} is missing. What to do: first run the stage that makes it.")
    cache = cache or DigestCache()
    digest = cache.compute_file_digest(path)
    cache.save()
    return digest


def compute_listing(folder: Path, cache: DigestCache | None = None) -> dict[str, str]:
    """Compute the digest of every file under `folder`, by its posix path relative to it."""

    def refuse(error: OSError) -> None:
        # os.walk would pass over the folder, and the digest would be that of less.
        raise RunError(
            f"{error.filename} cannot be listed ({error.strerror}). What to do: make the folder "
            "readable."
        ) from error

    cache = cache or DigestCache()
    walk = os.walk(folder, followlinks=True, onerror=refuse)
    files = [Path(root, name) for root, _, names in walk for name in names]
    named = sorted((file.relative_to(folder).as_posix(), file) for file in files)
    listing = {name: cache.compute_file_digest(file) for name, file in named}
    cache.save()
    return listing


def compute_joint_digest(listing: Mapping[str, str]) -> str:
    """Compute one digest over the digests of files by name."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(listing.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def compute_part_digest(listing: Mapping[str, str], part: str) -> str:
    """Digest of a part of a listing, as `compute_digest` of its file or folder gives it."""
    if part in listing:
        return listing[part]
    top = f"{part}/"
    inside = {name.removeprefix(top): d for name, d in listing.items() if name.startswith(top)}
    return compute_joint_digest(inside)


def find_changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names that are new, gone, or have another digest."""
    return sorted(n for n in {*before, *now} if before.get(n) != now.get(n))
