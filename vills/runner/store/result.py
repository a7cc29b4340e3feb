"""The result: digests of a complete run's outputs, and how they appear at DVC's out path.

DVC deletes an out before it calls a stage, and its cache may hold the very inode that stands in
the workspace (`cache.type hardlink`). So a published file is a clone of the run's file (reflink)
or another name of it (hard link) or a copy; it is put beside its place and renamed, and nothing
that exists is ever opened for writing. A hard-linked file is read-only, because an edit in place
would reach the run behind it.
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vills.digests import (
    DigestCache,
    compute_digest,
    compute_listing,
    compute_part_digest,
    find_changed,
)
from vills.errors import InputError
from vills.io import sync
from vills.refusals import NO_SPACE, open_writing
from vills.runner.store.journal import load_journal
from vills.runner.store.receipt import load_run_file

RESULT_NAME = "result.json"
CROSSED = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY)
"""What a publication meets when another one of the same place crosses it."""
TRIES = 3
FICLONE = 0x40049409
"""Linux's ioctl that clones a file's blocks."""


def load_result(folder: Path) -> dict[str, Any]:
    """Load what the complete run in a folder recorded; nothing of one that is not complete.

    Raises:
        InputError: if it is damaged, or of another run.
    """
    path = folder / RESULT_NAME
    return load_run_file(path, "outputs", "finished_ms") if path.exists() else {}


def find_result(folder: Path) -> dict[str, Any]:
    """Load it, and take a run whose result is damaged for incomplete: its command builds it."""
    try:
        return load_result(folder)
    except InputError:
        return {}


def find_damage(folder: Path, cache: DigestCache) -> list[str]:
    """List what is not as recorded: outputs, and the journal if a checkpoint can restore it."""
    result = find_result(folder)
    now = compute_listing(folder / "out", cache) if result else {}
    damaged = find_changed(result["outputs"], now) if result else [RESULT_NAME]
    if any((folder / "work").rglob("*.pt")) and find_journal_problem(folder):
        damaged.append("journal.jsonl")
    return damaged


def find_journal_problem(folder: Path) -> str:
    """Say what is wrong with the journal of a complete run; empty: nothing, or it needs none."""
    if end := find_result(folder).get("journal"):
        try:
            load_journal(folder / "journal.jsonl", end=end)
        except InputError as error:
            return str(error)
    return ""


def find_recorded(path: Path) -> str | None:
    """Find the digest of a part of a run's outputs, runs/../out/PART, as the run recorded it."""
    result = find_result(path.parents[1])
    return compute_part_digest(result["outputs"], path.name) if result else None


def set_incomplete(folder: Path, damaged: Sequence[str]) -> None:
    """Make a complete run incomplete, so that what is `damaged` of it is built again.

    Nothing else is removed: `work/` and what is whole of `out/` is what it is built from. A stage
    trusts neither without a digest (`vills.parts`), and replaces all else that it publishes.
    """
    # The result last: killed half-way, the run has lost more of its outputs, and is still damaged.
    for name in damaged:
        _remove(folder / "out" / name)
    (folder / RESULT_NAME).unlink(missing_ok=True)


def publish(source: Path, to: Path, *, cache: DigestCache | None = None) -> bool:
    """Make `to` hold what `source` (a file or a folder) holds; True when it had to be written.

    Safe to be killed at any moment, and to be called again or by two processes at once.

    Raises:
        DiskFullError: when copies were needed and the disk is full; `to` is as it was.
    """
    for _ in range(TRIES - 1):
        try:
            return _publish(source, to, cache=cache)
        except OSError as error:
            if error.errno not in CROSSED:
                raise
    return _publish(source, to, cache=cache)


def _publish(source: Path, to: Path, *, cache: DigestCache | None) -> bool:
    # The orphan of a killed parent may be writing its own at this moment: one of the two loses its
    # files to the other and tries again. What cannot be removed now is a leftover for the next.
    for path in to.parent.glob(f".{to.name}.publish-*"):
        _remove(path, ignore_errors=True)
    alike = to.exists() and to.is_dir() == source.is_dir()
    if alike and compute_digest(source, cache) == compute_digest(to, cache):
        return False
    beside = to.with_name(f".{to.name}.publish-{uuid.uuid4().hex}")
    with open_writing(to, temporary=beside):
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            _place_tree(source, beside)
        except OSError:
            _remove(beside)
            raise
    if to.is_symlink() or to.is_dir() or (to.exists() and beside.is_dir()):
        # rename(2) replaces a file by a file, but no folder that holds anything
        aside = to.with_name(f".{to.name}.publish-{uuid.uuid4().hex}")
        to.rename(aside)
        beside.rename(to)
        _remove(aside)
    else:
        beside.replace(to)
    sync(to.parent)
    return True


def _place_tree(source: Path, to: Path) -> None:
    """Give `to`, which must not exist, the bytes of `source` as cheaply as the disk can."""
    if source.is_dir():
        to.mkdir()
        for entry in sorted(source.iterdir()):
            _place_tree(entry, to / entry.name)
        return
    if _clone(source, to):
        return
    try:
        os.link(source, to)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        # another file system, or one without hard links
        shutil.copyfile(source, to)


def set_read_only(folder: Path) -> None:
    """Make every file under `folder` read-only and durable."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            path.chmod(0o444)
            sync(path)
        sync(Path(root))


def _clone(source: Path, to: Path) -> bool:
    try:
        with source.open("rb") as read, to.open("xb") as write:
            fcntl.ioctl(write.fileno(), FICLONE, read.fileno())
    except FileExistsError:
        raise
    except OSError:
        # Most file systems cannot clone; a full disk shows itself in what is tried next.
        to.unlink(missing_ok=True)
        return False
    return True


def _remove(path: Path, *, ignore_errors: bool = False) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=ignore_errors)
    else:
        path.unlink(missing_ok=True)
