"""sweeps/NAME.yaml, or a file of one's own -> SweepConfig, through Hydra's compose API."""

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from vills.config.checks import ConfigError
from vills.config.compose import Schema
from vills.config.params import Params
from vills.config.sweep import SweepConfig, check_name

_SCHEMA = Schema(
    name="sweep_schema",
    kind=SweepConfig,
    noun="field of a sweep",
    tables="tables and points",
)
SWEEP_KEYS = tuple(field.name for field in fields(SweepConfig))
"""First parts of overrides that are the sweep's."""
PARAMS_KEYS = ("profile", *(field.name for field in fields(Params)))
"""First parts of overrides that are the parameters'."""


def load_sweep(name: str, *, folder: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep with Hydra `overrides` of its own fields on top.

    Args:
        name: one of `list_sweeps(folder)`, or the path of a file, ending in .yaml; the defaults of
            such a file may name a sweep of `folder`, which it then changes.
        folder: the project's sweeps/.
        overrides: the sweep's, as `split_overrides` finds them.

    Raises:
        ConfigError: if there is no such sweep, or a key, a type or a range is refused.
    """
    path = find_sweep(name, folder=folder)
    check_name("name of the sweep", path.stem)
    search = [folder] if folder.is_dir() and folder.resolve() != path.parent.resolve() else []
    return _SCHEMA.load(
        path.parent, name=path.stem, overrides=overrides, origin=path.name, search=search
    )


def find_sweep(name: str, *, folder: Path) -> Path:
    """File of a sweep; its stem is the sweep's name in addresses of cells.

    Raises:
        ConfigError: listing the sweeps that there are.
    """
    is_path = name.endswith(".yaml")
    path = Path(name) if is_path else folder / f"{name}.yaml"
    if path.is_file() and (is_path or name in list_sweeps(folder)):
        return path
    raise ConfigError(
        f"sweep = {name!r} is not allowed. Allowed: {', '.join(list_sweeps(folder)) or 'none'} "
        f"(in {folder}), or the path of a file of your own, ending in .yaml. "
        "What to do: choose one of them; sweeps/README.md shows how to write your own."
    )


def list_sweeps(folder: Path) -> list[str]:
    """Names of the sweeps in a folder, without parts that they share."""
    return sorted(p.stem for p in folder.glob("*.yaml") if not p.stem.startswith("_"))


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of the sweep, and those of the parameters (profile=... among them).

    Raises:
        ConfigError: if the first part of a key is neither's.
    """
    split: tuple[list[str], list[str]] = ([], [])
    for override in overrides:
        key = re.match(r"[~+]*([^.=@]*)", override)
        first = key[1] if key else ""
        if first not in (*SWEEP_KEYS, *PARAMS_KEYS):
            raise ConfigError(
                f"override {override!r} is not allowed. Allowed: keys of the sweep "
                f"({', '.join(SWEEP_KEYS)}) and of the parameters ({', '.join(PARAMS_KEYS)}). "
                "What to do: write seeds=[0,1] or pretrain.epochs=10, for example."
            )
        split[first in PARAMS_KEYS].append(override)
    return split
