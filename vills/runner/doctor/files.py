"""File systems: what runs, code, database and DVC's cache lie on."""

import configparser
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vills.runner.doctor.finding import Finding, Level
from vills.runner.mlflow.settings import NETWORK_FILE_SYSTEMS, get_database_path

SHARED = (
    *NETWORK_FILE_SYSTEMS,
    *("ceph", "fuse.ceph", "wekafs", "panfs", "pvfs2", "orangefs", "afs", "9p", "virtiofs"),
    *("fuse.glusterfs", "fuse.juicefs", "gfs2", "ocfs2", "smbfs"),
)
OBJECT_STORES = ("fuse.s3fs", "fuse.gcsfuse", "fuse.goofys", "fuse.mount-s3", "fuse.rclone")
MEMORY = ("tmpfs", "ramfs")
MIN_GB, LOW_GB = 1.0, 10.0
MIN_FILES, LOW_FILES = 1_000, 100_000
_GROUP = "files"


@dataclass(frozen=True, slots=True)
class Mount:
    """What a path lies on."""

    point: str
    kind: str


def find_mount(path: Path, mounts: str) -> Mount:
    """The mount of a path, from the text of /proc/mounts; the last of a point covers the others."""
    best = Mount("", "")
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(best.point):
            best = Mount(point, fields[2])
    return best


def find_existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path.resolve()


def check_shared(name: str, path: Path, *, mounts: str, num_nodes: int) -> Iterator[Finding]:
    """Every node sees the same folder, judged by its file system; --probe looks."""
    mount = find_mount(find_existing(path), mounts)
    where = f"{path}: {mount.kind or 'unknown file system'} on {mount.point or '?'}"
    if num_nodes < 2 or mount.kind in SHARED:
        yield Finding(_GROUP, name, "ok", where)
    elif mount.kind in MEMORY:
        remedy = "move it to a shared file system" + _hint(name)
        found = f"{where}: this machine's memory, which no node sees"
        yield Finding(_GROUP, name, "fault", found, remedy)
    else:
        found = f"{where}: a local disk by its type, and the cluster has {num_nodes} nodes"
        remedy = "`vills doctor --probe` looks from the nodes; if they miss it, move it" + _hint(
            name
        )
        yield Finding(_GROUP, name, "unknown", found, remedy)


def _hint(name: str) -> str:
    return " (VILLS_RUNS=/shared/path)" if name == "runs" else ""


def check_links(runs: Path, *, mounts: str) -> Iterator[Finding]:
    """Hard links: the lock of a run is one, and so is what it publishes."""
    folder = find_existing(runs)
    kind = find_mount(folder, mounts).kind
    if kind in OBJECT_STORES:
        remedy = "keep runs on a file system (VILLS_RUNS), and the object store as DVC's remote"
        yield Finding(_GROUP, "hard links", "fault", f"{kind} is an object store", remedy)
        return
    first = folder / f".doctor-{uuid.uuid4().hex}"
    second = first.with_suffix(".link")
    try:
        first.write_text("")
        os.link(first, second)
    except PermissionError as error:
        remedy = f"get the right to write {folder}, or set VILLS_RUNS to a folder of yours"
        level: Level = "note" if os.access(folder, os.W_OK) else "fault"
        yield Finding(_GROUP, "hard links", level, str(error), remedy)
    except OSError as error:
        remedy = "results are copied instead, at twice the room; another file system has links"
        yield Finding(_GROUP, "hard links", "note", f"{kind}: {error.strerror}", remedy)
    else:
        yield Finding(_GROUP, "hard links", "ok", f"work on {folder} ({kind})")
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)


def check_room(runs: Path) -> Iterator[Finding]:
    """Room and inodes for runs and for temporary files."""
    temporary = Path(tempfile.gettempdir())
    for name, path, low in (("room of runs", runs, LOW_GB), ("room of TMPDIR", temporary, MIN_GB)):
        folder = find_existing(path)
        free = shutil.disk_usage(folder).free / 1e9
        found = f"{free:.1f} GB free on {folder}"
        remedy = "make room, or set " + ("VILLS_RUNS" if path is runs else "TMPDIR") + " elsewhere"
        if free < (MIN_GB if path is runs else 0.1):
            yield Finding(_GROUP, name, "fault", found, remedy)
        elif free < low:
            yield Finding(_GROUP, name, "note", found, remedy)
        else:
            yield Finding(_GROUP, name, "ok", found)
    stats = os.statvfs(find_existing(runs))
    if stats.f_files:  # file systems that make inodes as they need them say 0
        left = stats.f_favail
        found = f"{left:,} more files fit"
        remedy = "remove files: old runs, jobs' logs, DVC's cache (`dvc gc --workspace`)"
        if left >= LOW_FILES:
            yield Finding(_GROUP, "inodes of runs", "ok", found)
        else:
            level: Level = "fault" if left < MIN_FILES else "note"
            yield Finding(_GROUP, "inodes of runs", level, found, remedy)


def check_database(uri: str, *, mounts: str, num_nodes: int) -> Iterator[Finding]:
    """SQLite is for one machine."""
    path = get_database_path(uri)
    if path is None:
        return
    kind = find_mount(find_existing(path), mounts).kind
    server = "run MLflow's server (docs/cluster.md) and export MLFLOW_TRACKING_URI=http://HOST:5000"
    if kind in SHARED or kind in OBJECT_STORES:
        found = f"{path} is SQLite on {kind}, where its locks do not hold: refused"
        remedy = f"{server}, or sqlite:////local/disk/mlflow.db and `vills track`"
        yield Finding(_GROUP, "MLflow database", "fault", found, remedy)
    elif num_nodes > 1:
        found = f"{path} is SQLite: jobs on other nodes keep their curves in journals meanwhile"
        remedy = f"`vills track` on this machine brings them in; for a team {server}"
        yield Finding(_GROUP, "MLflow database", "note", found, remedy)
    else:
        yield Finding(_GROUP, "MLflow database", "ok", f"{path} on {kind}")


def check_dvc(project: Path, runs: Path, *, mounts: str) -> Iterator[Finding]:
    """DVC's cache takes results by link, and its locks hold."""
    config = configparser.ConfigParser(interpolation=None)
    read = config.read([project / ".dvc" / "config", project / ".dvc" / "config.local"])
    if not read:
        remedy = "go to the project's folder, or `dvc init`"
        yield Finding(_GROUP, "DVC", "note", f"no .dvc/config in {project}", remedy)
        return
    folder = config.get("cache", "dir", fallback="cache")
    cache = find_existing(project / ".dvc" / folder)
    kind = find_mount(cache, mounts).kind
    if cache.stat().st_dev == find_existing(runs).stat().st_dev:
        yield Finding(_GROUP, "DVC cache", "ok", f"{cache}, on the file system of runs")
    else:
        found = f"{cache} is on another file system than runs: every result is copied"
        remedy = "`dvc cache dir --local PATH` on that of runs, or VILLS_RUNS on that of the cache"
        yield Finding(_GROUP, "DVC cache", "note", found, remedy)
    types = config.get("cache", "type", fallback="reflink,copy")
    if "link" not in types.replace("reflink", ""):
        found = f"cache.type {types}: without reflinks every result is copied"
        remedy = '`dvc config --local cache.type "reflink,hardlink,copy"`'
        yield Finding(_GROUP, "DVC links", "note", found, remedy)
    if kind in SHARED and config.get("core", "hardlink_lock", fallback="") != "true":
        found = f"the repository is on {kind}, where DVC's own lock may not hold"
        remedy = (
            "`dvc config --local core.hardlink_lock true`, and core.site_cache_dir on a local disk"
        )
        yield Finding(_GROUP, "DVC lock", "note", found, remedy)
