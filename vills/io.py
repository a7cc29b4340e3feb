"""Atomic writes: a reader sees the old file or the new one, never half of it."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vills.errors import UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class DiskFullError(UserError, OSError):
    """There is no space left; nothing that was already written is lost."""


def save_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, durably: temporary file, fsync, rename, fsync of the folder.

    Raises:
        DiskFullError: when the disk (or the quota) is full; the old file is untouched.
    """
    # The name holds no pid: pids repeat between hosts that share a file system.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in NO_SPACE:
            raise explain_full_disk(path) from error
        raise


def save_json(path: Path, value: Mapping[str, Any], *, sort: bool = True) -> None:
    """Write `value` as indented JSON; with sorted keys, unless their order says something."""
    text = json.dumps(value, indent=2, sort_keys=sort, ensure_ascii=False) + "\n"
    save_bytes(path, text.encode())


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: naming the file, when it holds anything else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). What to do: remove it.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object. What to do: remove it.")
    return value


def compute_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hex; the file is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain_full_disk(path: Path) -> DiskFullError:
    """Say which disk is full, how full, and that a rerun goes on from here."""
    parent = next(folder for folder in (path, *path.parents) if folder.is_dir())
    free = shutil.disk_usage(parent).free / 1e6
    return DiskFullError(
        errno.ENOSPC,
        f"No space left for {path}: {free:.1f} MB are free on its disk (or the quota is used up). "
        "What to do: free space and give the same command again; it goes on where it was.",
    )
