"""The checkout that code comes from: the only place where git is asked."""

import hashlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.programs import Answer, run_command
from vills.secrets import render_public

# dvc.lock changes with every stage of `dvc repro`, and what it says is in the inputs' digests.
GIT_PATHS = ("--", ".", ":(exclude)dvc.lock")
GIT_NAME, DIFF_NAME = "git.json", "code.diff"
"""What a snapshot of the code says about the checkout that it was taken from."""


HARMLESS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
"""A folder that came with its .git, unlike a clone, brings settings that name programs to run."""
NOT_BELOW = "--ignore-submodules=dirty"
"""The settings of submodules are their own."""
SECONDS = 60.0
NO_REPOSITORY = "not in a git repository"


def describe_git(folder: Path) -> dict[str, Any]:
    """Describe the checkout around `folder`: commit, dirty flag, digest of the difference.

    What git does not answer is None, and `problem` says why, with what to do; it is NO_REPOSITORY
    outside a checkout and empty where git says all. A snapshot of the code carries the description
    of the checkout that it was taken from.
    """
    if (folder / GIT_NAME).is_file():
        remedy = "remove this folder and launch again, which makes it anew"
        return load_json(folder / GIT_NAME, "commit", "dirty", "diff_digest", remedy=remedy)
    told: dict[str, Any] = {"commit": None, "dirty": None, "diff_digest": None, "problem": ""}
    head = _run_git(folder, "rev-parse", "--verify", "HEAD^{commit}")
    if not head.ok:
        return told | {"problem": _explain(folder, head)}
    if not _run_git(folder, "ls-tree", "--name-only", "HEAD").text:
        return told | {
            "problem": f"the commit of the repository around {folder.resolve()} has no file of it. "
            "What to do: `git init` there and commit, or add the files to that repository"
        }
    told["commit"] = head.text.strip()
    status = _run_git(folder, "status", "--porcelain", NOT_BELOW, *GIT_PATHS)
    diff = _diff(folder) if status.text else status
    if not (status.ok and diff.ok):
        return told | {"problem": _explain(folder, diff if status.ok else status)}
    digest = hashlib.sha256(diff.text.encode()).hexdigest() if status.text else None
    return told | {"dirty": bool(status.text), "diff_digest": digest}


def describe_commit(git: Mapping[str, Any]) -> str:
    """Say in a line what `describe_git` found; never nothing."""
    problem = git.get("problem") or ("" if git["commit"] else NO_REPOSITORY)
    dirty = "with uncommitted changes" if git["dirty"] else ""
    parts = (git["commit"] or "no commit is known", dirty, problem)
    return ", ".join(filter(None, parts))


def load_git_diff(folder: Path) -> str:
    """Read what tracked files changed since the commit."""
    if (folder / GIT_NAME).is_file():
        diff = folder / DIFF_NAME
        return diff.read_text(errors="replace") if diff.is_file() else ""
    return _diff(folder).text


def _diff(folder: Path) -> Answer:
    options = ("--no-ext-diff", "--no-textconv", "--binary", NOT_BELOW)
    return _run_git(folder, "diff", *options, "HEAD", *GIT_PATHS)


def _run_git(folder: Path, *arguments: str) -> Answer:
    # optional locks off: a status that refreshes the index would collide with the user's own git
    command = ["git", "--no-optional-locks", *HARMLESS, *arguments]
    return run_command(command, cwd=folder, seconds=SECONDS)


def _explain(folder: Path, answer: Answer) -> str:
    """Why git did not answer; only where no repository is, this is nothing to be mended."""
    place = folder.resolve()
    found = [parent for parent in (place, *place.parents) if (parent / ".git").exists()]
    if not found and "GIT_DIR" not in os.environ:
        return NO_REPOSITORY
    if "dubious ownership" in answer.words:
        command = f"git config --global --add safe.directory {shlex.quote(str(found[0]))}"
        return f"git refuses a repository that another user owns. What to do: `{command}`"
    if "Needed a single revision" in answer.words:
        return "the repository has no commit yet. What to do: `git add .` and `git commit`"
    lines = [line for line in answer.words.splitlines() if line.startswith(("fatal", "error"))]
    reason = render_public(lines[-1] if lines else answer.reason)
    return f"git fails ({reason}). What to do: mend it until `git status` in {place} answers"
