"""Weights files of K and M: where they lie, and whether they are the right ones."""

from pathlib import Path

from vills.config.checks import ConfigError
from vills.io import compute_sha256, find_weights


def resolve_weights(field: str, *, name: str, folder: Path | None, sha256: str = "") -> Path:
    """Find a weights file below VILLS_WEIGHTS and compare its hash when one is given.

    Raises:
        ConfigError: no name, no folder, no such file, or another file than the expected one.
    """
    if not name:
        raise ConfigError(
            f"{field} = '' is not allowed. Allowed: a file below VILLS_WEIGHTS. What to do: set "
            f"{field}, or choose a part that needs no weights."
        )
    if folder is None:
        raise ConfigError(
            f"{field} = {name!r} needs the folder of weights. Allowed: VILLS_WEIGHTS naming a "
            "folder. What to do: export VILLS_WEIGHTS=/path/to/weights."
        )
    path = find_weights(name, folder)
    if path is None:
        raise ConfigError(
            f"{field} = {name!r} is not a file in {folder}. Allowed: an existing weights file. "
            "What to do: put the file there, or correct the name."
        )
    found = compute_sha256(path) if sha256 else ""
    if found != sha256:
        raise ConfigError(
            f"{field} = {name!r} has SHA-256 {found}. Allowed: {sha256}. What to do: fetch the "
            "file again (a broken or another file), or correct the expected hash."
        )
    return path
