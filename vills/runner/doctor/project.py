"""The project: what its folders lie on, room, DVC, data, weights, tracker."""

import configparser
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import vills
from vills.config.params import Params
from vills.config.tracking import load_tracking_settings
from vills.git import NO_REPOSITORY, describe_commit, describe_git
from vills.io import find_weights, parse_sqlite_uri
from vills.mounts import NETWORK_FILE_SYSTEMS, find_mount
from vills.runner.doctor import Finding, Level, compute_level
from vills.runner.doctor.facts import ClusterFacts, find_existing
from vills.runner.doctor.machine import describe_links
from vills.secrets import render_public

SHARED = (*NETWORK_FILE_SYSTEMS, "virtiofs", "gfs2", "ocfs2")
OBJECT_STORES = ("fuse.s3fs", "fuse.gcsfuse", "fuse.goofys", "fuse.mount-s3", "fuse.rclone")
MEMORY = ("tmpfs", "ramfs")
MIN_GB, LOW_GB = 1.0, 10.0
MIN_TEMPORARY_GB, LOW_TEMPORARY_GB = 0.1, 1.0
MIN_FILES, LOW_FILES = 1_000, 100_000
SECONDS = 2.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
FOLDERS = {"runs": None, "code": Path(vills.__file__).parent, "python": Path(sys.prefix)}
"""What every node must see; runs are where the project says."""


def check_shared(name: str, facts: ClusterFacts) -> Iterator[Finding]:
    """Every node sees the same of FOLDERS, judged by its file system; --probe looks."""
    path = FOLDERS[name] or facts.runs
    point, kind = find_mount(path)
    where = f"{path}: {kind or 'unknown file system'} on {point or '?'}"
    hint = " (VILLS_RUNS=/shared/path)" if name == "runs" else ""
    if facts.num_nodes < 2 or kind in SHARED:
        yield Finding(name, "ok", where)
    elif kind in MEMORY:
        found = f"{where}: this machine's memory, which no other node sees"
        yield Finding(name, "fault", found, f"move it to a shared file system{hint}")
    else:
        found = f"{where}: a local disk by its type, and the cluster has {facts.num_nodes} nodes"
        remedy = f"`vills doctor --probe` checks the nodes; if it fails there, move it{hint}"
        yield Finding(name, "unknown", found, remedy)


def check_links(facts: ClusterFacts) -> Iterator[Finding]:
    """Results are published by hard links, where the file system has them."""
    name, folder = "hard links", find_existing(facts.runs)
    _, kind = find_mount(folder)
    if kind in OBJECT_STORES:
        remedy = "keep runs on a file system (VILLS_RUNS), and the object store as DVC's remote"
        yield Finding(name, "fault", f"{kind} is an object store", remedy)
        return
    yield describe_links(name, folder)


def check_room(facts: ClusterFacts) -> Iterator[Finding]:
    """Room and inodes for runs and for temporary files."""
    limits = (
        ("runs", "VILLS_RUNS", facts.runs, MIN_GB, LOW_GB),
        ("TMPDIR", "TMPDIR", Path(tempfile.gettempdir()), MIN_TEMPORARY_GB, LOW_TEMPORARY_GB),
    )
    for name, variable, path, fault, note in limits:
        folder = find_existing(path)
        free = shutil.disk_usage(folder).free / 1e9
        level = compute_level(free, fault=fault, note=note)
        remedy = f"free space, or set {variable} to another disk"
        yield Finding(f"free space of {name}", level, f"{free:.1f} GB free on {folder}", remedy)
    stats = os.statvfs(find_existing(facts.runs))
    if stats.f_files:  # file systems that make inodes as they need them say 0
        left = stats.f_favail
        level = compute_level(left, fault=MIN_FILES, note=LOW_FILES)
        remedy = "remove files: old runs, jobs' logs, DVC's cache (`dvc gc --workspace`)"
        yield Finding("inodes of runs", level, f"{left:,} more files fit", remedy)


def check_dvc(facts: ClusterFacts) -> Iterator[Finding]:
    """DVC's cache takes results by link, and its locks hold."""
    project, config = facts.folder, configparser.ConfigParser(interpolation=None)
    if not config.read([project / ".dvc" / "config", project / ".dvc" / "config.local"]):
        remedy = "go to the project's folder, or `dvc init`"
        yield Finding("DVC", "note", f"no .dvc/config in {project}", remedy)
        return
    cache = find_existing(project / ".dvc" / config.get("cache", "dir", fallback="cache"))
    _, kind = find_mount(cache)
    if cache.stat().st_dev == find_existing(facts.runs).stat().st_dev:
        yield Finding("DVC cache", "ok", f"{cache}, on the file system of runs")
    else:
        found = f"{cache} is on another file system than runs: every result is copied"
        remedy = "`dvc cache dir --local PATH` on that of runs, or VILLS_RUNS on that of the cache"
        yield Finding("DVC cache", "note", found, remedy)
    types = config.get("cache", "type", fallback="reflink,copy")
    if "link" not in types.replace("reflink", ""):
        found = f"cache.type {types}: without reflinks every result is copied"
        remedy = '`dvc config --local cache.type "reflink,hardlink,copy"`'
        yield Finding("DVC links", "note", found, remedy)
    if kind in SHARED and config.get("core", "hardlink_lock", fallback="") != "true":
        found = f"the repository is on {kind}, where DVC's own lock may not hold"
        remedy = (
            "`dvc config --local core.hardlink_lock true`, and core.site_cache_dir on a local disk"
        )
        yield Finding("DVC lock", "note", found, remedy)


def check_git(facts: ClusterFacts) -> Iterator[Finding]:
    """Receipts name the commit."""
    git = describe_git(facts.folder)
    found, _, remedy = describe_commit(git).partition(". What to do: ")
    level: Level = "fault" if git["problem"] else "ok"
    if git["problem"] == NO_REPOSITORY:
        level, remedy = (
            "note",
            "`git init` and commit, so that receipts name a commit",
        )
    yield Finding("git", level, found, remedy)


def check_folders(facts: ClusterFacts) -> Iterator[Finding]:
    """VILLS_DATA and VILLS_WEIGHTS are there when the parameters need them."""
    if facts.params is None:
        return
    root = ["curate.root"] if facts.params.curate.root == "data" else []
    needs = {"VILLS_DATA": root, "VILLS_WEIGHTS": list_weights(facts.params)}
    for variable, why in needs.items():
        value = os.environ.get(variable, "")
        weights = why if variable == "VILLS_WEIGHTS" else []
        level: Level = "fault" if why else "note"
        remedy = f"export {variable}=/path/that/every/node/sees"
        if not why and not value:
            level, found = "ok", "not needed by params.yaml"
        elif not value:
            found = f"not set, and params.yaml needs it ({', '.join(why)})"
        elif not os.access(value, os.R_OK | os.X_OK) or not Path(value).is_dir():
            found = f"{value} is not a readable folder"
        elif lost := [name for name in weights if not find_weights(name, Path(value))]:
            found, remedy = f"{value} lacks {', '.join(lost)}", "add them: docs/weights.md"
        else:
            level, found = "ok", value
        yield Finding(variable, level, found, remedy)


def list_weights(params: Params) -> list[str]:
    """Weights files that the parameters name, below VILLS_WEIGHTS."""
    names = [
        params.curate.detector_weights,
        params.lse.keypoint_weights,
        params.lse.segmenter_weights,
        params.pretrain.initial.file,
        *(file.file for tuned in params.finetune.values() for file in tuned.published.values()),
        *(scored.onnx_weights for scored in params.evaluate.values()),
    ]
    return list(dict.fromkeys(filter(None, names)))


def check_tracker(facts: ClusterFacts) -> Iterator[Finding]:
    """Check that a server answers; a database, for one machine only, is told with the files."""
    try:
        settings = load_tracking_settings(facts.folder)
    except ValueError as error:
        yield Finding("tracker", "fault", *str(error).rstrip(".").split(". What to do: "))
        return
    uri = settings.uri if settings else ""
    shown = settings.public["uri"] if settings else ""
    if not uri:
        remedy = "unset VILLS_TRACKING; `vills track` sends what is in the journals"
        yield Finding("tracker", "note", "VILLS_TRACKING=off: no curves in MLflow", remedy)
    elif not uri.startswith("http"):
        yield Finding("tracker", "ok", shown)
    elif facts.num_nodes > 1 and urlparse(uri).hostname in LOOPBACK:
        found = f"{shown}: on nodes this address is the node itself; curves stay in journals"
        remedy = "set MLFLOW_TRACKING_URI to a host that nodes reach, or `vills track` here"
        yield Finding("tracker", "note", found, remedy)
    else:
        yield _ask_server(uri)
    if path := parse_sqlite_uri(uri):
        yield _judge_database(path, facts)


def _ask_server(uri: str) -> Finding:
    # without user and password: urllib would take them for a part of the host's name
    shown, parts = render_public(uri), urlparse(uri)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        with urllib.request.urlopen(f"{bare.rstrip('/')}/health", timeout=SECONDS) as reply:
            status = reply.status
    except urllib.error.HTTPError as error:  # it is there; a password is the client's business
        status = error.code
    except (OSError, ValueError) as error:
        found = f"{shown}: {error}; runs go on, and their curves stay in journals"
        remedy = "start the server (docs/cluster.md), then `vills track`"
        return Finding("tracker", "note", found, remedy)
    level: Level = "note" if status in (401, 403) else "ok"
    remedy = "export MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    return Finding("tracker", level, f"{shown} answers {status}", remedy)


def _judge_database(path: Path, facts: ClusterFacts) -> Finding:
    level: Level = "ok"
    _, kind = find_mount(path)
    server = "run MLflow's server (docs/cluster.md) and export MLFLOW_TRACKING_URI=http://HOST:5000"
    found, remedy = f"{path} on {kind}", ""
    if kind in SHARED or kind in OBJECT_STORES:
        level, found = "fault", f"{path} is SQLite on {kind}, where its locks do not hold: refused"
        remedy = f"{server}, or sqlite:////local/disk/mlflow.db and `vills track`"
    elif facts.num_nodes > 1:
        found = f"{path} is SQLite: jobs on other nodes keep their curves in journals"
        level, remedy = "note", f"`vills track` on this machine sends them; for a team, {server}"
    return Finding("MLflow database", level, found, remedy, group="files")
