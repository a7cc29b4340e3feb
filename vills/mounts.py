"""What a path lies on: its mount point and file system."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

NETWORK_FILE_SYSTEMS = (
    *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "9p", "ncpfs"),
    *("lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "panfs", "pvfs2", "wekafs", "orangefs"),
    *("glusterfs", "moosefs", "pfs", "quobyte", "vastfs", "daos", "fuse.sshfs"),
    *("fuse.ceph", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.lizardfs", "fuse.mfs", "fuse.dfuse"),
    *("fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs", "fuse.goofys", "fuse.quobyte"),
)
"""As /proc/mounts names them; 9p is how virtual machines see a folder of their host."""
MOUNTS = Path("/proc/mounts")
UNKNOWN_NS = 3600 * 1_000_000_000
"""By how much the clock of a file server that cannot be asked may differ from ours."""
OCTAL = re.compile(r"\\(\d{3})")
"""How /proc/mounts writes blanks."""


def find_network_file_system(path: Path) -> str | None:
    """Type of the network file system that `path` lies on, where SQLite's locks do not hold."""
    _, kind = find_mount(path)
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def find_mount(path: Path) -> tuple[str, str]:
    """Find point and type of what a path lies on; empty on a machine that says nothing of mounts.

    Of several at one point the last covers the others.
    """
    path, best = path.resolve(), ("", "")  # a link in /home often leads to the file server
    mounts = MOUNTS.read_text(errors="replace") if MOUNTS.exists() else ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2:
            point = OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[1])
            if path.is_relative_to(point) and len(point) >= len(best[0]):
                best = (point, fields[2])
    return best


def compute_clock_lead(path: Path, *, near: Path | None) -> int:
    """By how many nanoseconds the clock that dates a file is ahead of this machine's, at the least.

    `near` is a folder where a file can be made, to see when its file server believes that was.
    """
    device = path.stat().st_dev
    with suppress(OSError):
        if near is not None and near.stat().st_dev == device:
            with TemporaryFile(dir=near) as probe:
                return os.fstat(probe.fileno()).st_mtime_ns - time.time_ns()
    return -UNKNOWN_NS if find_network_file_system(path) else 0
