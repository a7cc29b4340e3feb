"""Disks that refuse, for real: full ones, read-only ones, folders of somebody else."""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


class SmallDisk:
    """A disk that can be filled to the last byte, and emptied again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, *, leave: int = 0) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue
            file.truncate(max(0, file.tell() - leave))

    def use_up_names(self) -> None:
        """Take every inode, and no byte."""
        try:
            for number in range(10_000):
                (self.folder / f"ballast-{number}").touch()
        except OSError:
            return

    def free(self) -> None:
        for path in self.folder.glob("ballast*"):
            path.unlink()


@contextmanager
def open_disk(*options: str) -> Iterator[SmallDisk]:
    """Mount a tmpfs with options, where users other than root get to; or skip, with the reason."""
    if os.geteuid() != 0:
        pytest.skip("a small tmpfs can be mounted by root only")
    folder = Path(tempfile.mkdtemp(prefix="vills-disk-", dir="/tmp"))  # pytest's are for its owner
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(("mode=755", *options)), "none", str(folder)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        folder.chmod(0o755)
        try:
            yield SmallDisk(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_read_only(folder: Path) -> Iterator[None]:
    """Let nobody write to a folder, root neither."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def become_nobody() -> Iterator[None]:
    """Be a user who owns nothing: permissions count, as they do not for root.

    What is imported from a folder of root's has to be imported before.
    """
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def limit_file_size(num_bytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as `ulimit -f` does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
