"""What a job starts from, frozen when it was asked for: the package's code and its params.yaml.

A pending job would import whatever lies in the checkout when it starts. Snapshots are named by
their content, so that a hundred jobs share one, and are never written to again.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from vills.config.load import PARAMS_FILE, render_params
from vills.config.params import Params
from vills.io import save_bytes, save_json
from vills.runner.plan.registry import CODE, PARAMS
from vills.runner.store.code_digest import DEFAULT_ROOT
from vills.runner.store.machine import DIFF_NAME, GIT_NAME, collect_git, load_git_diff

IGNORED = ("__pycache__", "*.pyc", "*.pyo")


def save_code(runs: Path, checkout: Path, *, package: Path = DEFAULT_ROOT) -> str:
    """Copy the running package below `runs`, once; its path relative to `runs`.

    The commit and the uncommitted difference of `checkout` go with it, so that a run's receipt can
    say where its code came from.
    """
    git = collect_git(checkout)
    diff = load_git_diff(checkout)
    name = f"{CODE}/{_compute_name(package, json.dumps(git, sort_keys=True))}"

    def fill(folder: Path) -> None:
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns(*IGNORED))
        save_json(folder / GIT_NAME, git)
        if diff:
            save_bytes(folder / DIFF_NAME, diff.encode())

    _create_once(runs / name, fill)
    return name


def save_point(runs: Path, params: Params, *, origin: str) -> str:
    """Write a params.yaml below `runs`, once; its folder relative to `runs`."""
    text = render_params(params, profile=origin)
    name = f"{PARAMS}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    _create_once(runs / name, lambda folder: save_bytes(folder / PARAMS_FILE, text.encode()))
    return name


def _create_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder as a whole or not at all; whoever comes first wins."""
    if folder.exists():
        return
    beside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    beside.mkdir(parents=True)
    try:
        fill(beside)
        beside.rename(folder)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _compute_name(package: Path, git: str) -> str:
    digest = hashlib.sha256(git.encode())
    for root, folders, names in os.walk(package):
        folders[:] = sorted(folder for folder in folders if folder != "__pycache__")
        for name in sorted(names):
            if not name.endswith((".pyc", ".pyo")):
                path = Path(root, name)
                digest.update(f"{path.relative_to(package)}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:32]
