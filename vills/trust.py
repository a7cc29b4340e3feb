"""Who may have written what is about to be run: a snapshot of the code, a pickle, a job's file.

Others may write into a shared folder of runs, and what is run there is run with one's own rights.
So it is from oneself, root or a member of VILLS_TRUSTED_GROUP, and nobody else can change it: not
itself, and not the folders above it, since whoever can write to a folder can replace what it has.
"""

import grp
import os
import pwd
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vills.errors import UserError

VARIABLE = "VILLS_TRUSTED_GROUP"
ROOT = 0
_GUARD = """trap "" USR2 TERM; "$1" -I -S -c "$2" "${@:3:4}" || exit; exec "$1" "${@:7}\""""
_ASK = "import sys; sys.path.insert(0, sys.argv[1]); import vills.trust as t; t.main(sys.argv[2:])"


class TrustError(UserError, PermissionError):
    """Somebody else may have written what would be run."""


@dataclass
class _Trusted:
    """Whom this process trusts."""

    user: int = field(default_factory=os.geteuid)
    group: int | None = field(default_factory=lambda: _find_group())

    def has_user(self, user: int) -> bool:
        """Whether it trusts the owner of a file."""
        if user in (self.user, ROOT):
            return True
        try:
            entry = pwd.getpwuid(user)
            return self.group in os.getgrouplist(entry.pw_name, entry.pw_gid)
        except (KeyError, OSError):  # a number without a name is a member of no group
            return False

    def has_group(self, group: int) -> bool:
        """Whether it trusts all who may write what a group may: those of its private one, say."""
        if group in (self.group, ROOT):
            return True
        try:
            name, _, _, members = grp.getgrgid(group)
            own = pwd.getpwuid(self.user).pw_name
        except KeyError:
            return False
        return name == own and set(members) <= {own}


def check_trusted(root: Path, *paths: Path) -> None:
    """Refuse to run `paths`, which lie below `root`, if others may have written any part of them.

    Raises:
        TrustError: naming the first such file or folder, whose it is, and what to do.
    """
    trusted, root = _Trusted(), root.resolve()
    for path in dict.fromkeys(part for asked in paths for part in _list_parts(root, asked)):
        if reason := _find_reason(path, root, trusted):
            raise TrustError(
                f"{path} {reason}, and it would run with your rights. Allowed: files and folders "
                f"of yourself, of root, or of members of {VARIABLE}, that nobody else can change. "
                f"What to do: if you trust a group of people, export {VARIABLE}=GROUP; else "
                "`chmod go-w` what is yours, or set VILLS_RUNS to a folder of your own."
            )


def render_guarded(python: str, *, runs: Path, paths: Sequence[Path]) -> str:
    """Return shell text that starts Python, once `paths` are found to be nobody else's.

    It is deaf to SLURM's signals until Python has a handler: a process that a signal ended while
    it was still importing would count as failed; one that stays until SLURM ends it is requeued.
    """
    code, logs = paths
    checkout = Path(__file__).resolve().parents[1]
    words = [python, _ASK, str(checkout), *map(str, (runs, code, logs))]
    return shlex.join(["bash", "-c", _GUARD, "python", *words])


def _list_parts(root: Path, path: Path) -> Iterator[Path]:
    """List the path, what is above it up to `root`, and what is below it."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 -- a link on the way is looked at, not followed
    for part in (path, *path.parents):
        yield part
        if part == root:
            break
    for folder, folders, files in os.walk(path):
        yield from (Path(folder) / name for name in (*folders, *files))


def _find_reason(path: Path, root: Path, trusted: _Trusted) -> str:
    """Say why a path may be of somebody else; empty: it is not."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ""
    if not trusted.has_user(found.st_uid):
        return f"belongs to {_get_user(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode):
        inside = path.resolve().parent == path.parent and path != root
        return "" if inside else f"is a link to {path.resolve()}"
    is_kept = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & stat.S_IWOTH and not is_kept:
        return "can be changed by everybody"
    if found.st_mode & stat.S_IWGRP and not is_kept and not trusted.has_group(found.st_gid):
        return f"can be changed by the group {_get_group(found.st_gid)}"
    return ""


def _find_group() -> int | None:
    """Read VILLS_TRUSTED_GROUP: a group's name or number; None: there is none."""
    value = os.environ.get(VARIABLE, "").strip()
    try:
        return None if not value else int(value) if value.isdigit() else grp.getgrnam(value).gr_gid
    except KeyError as error:
        raise UserError(
            f"{VARIABLE} = {value!r} is no group here. Allowed: a group's name or number (`id` "
            f"lists yours). What to do: correct it, or unset {VARIABLE}."
        ) from error


def _get_user(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _get_group(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def main(words: Sequence[str]) -> None:
    """Be the guard of a job: end it with a sentence and status 2 if it is not to be trusted."""
    root, *paths = map(Path, words)
    try:
        check_trusted(root, *paths)
    except UserError as error:
        print(f"vills: {error}", file=sys.stderr, flush=True)
        sys.exit(UserError.exit_status)
