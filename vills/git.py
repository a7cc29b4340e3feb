"""The checkout that code comes from: the only place where git is asked."""

import hashlib
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.programs import run_command

# dvc.lock changes with every stage of `dvc repro`, and what it says is in the inputs' digests.
GIT_PATHS = ("--", ".", ":(exclude)dvc.lock")
GIT_NAME, DIFF_NAME = "git.json", "code.diff"
"""What a snapshot of the code says about the checkout that it was taken from."""


def describe_git(folder: Path) -> dict[str, Any]:
    """Describe the checkout around `folder`: commit, dirty flag, digest of the difference.

    Without git, or outside a checkout, the commit is None. A snapshot of the code carries the
    description of the checkout that it was taken from.
    """
    if (folder / GIT_NAME).is_file():
        return load_json(folder / GIT_NAME)
    commit = _run_git(folder, "rev-parse", "HEAD")
    if not commit:
        return {"commit": None, "dirty": None, "diff_digest": None}
    status = _run_git(folder, "status", "--porcelain", *GIT_PATHS)
    digest = hashlib.sha256(load_git_diff(folder).encode()).hexdigest() if status else None
    return {"commit": commit.strip(), "dirty": bool(status), "diff_digest": digest}


def load_git_diff(folder: Path) -> str:
    """Read what tracked files changed since the commit."""
    if (folder / GIT_NAME).is_file():
        diff = folder / DIFF_NAME
        return diff.read_text() if diff.is_file() else ""
    return _run_git(folder, "diff", "--no-ext-diff", "--binary", "HEAD", *GIT_PATHS)


def _run_git(folder: Path, *arguments: str) -> str:
    """Return what git says; empty without git, or outside a checkout."""
    # optional locks off: a status that refreshes the index would collide with the user's own git
    return run_command(["git", "--no-optional-locks", *arguments], cwd=folder).text
