"""Overrides of the command line that add: an entry of a table, or a key that nobody knows."""

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf


def nest_additions(overrides: Sequence[str], *, kind: type) -> list[str]:
    """`+curate.sources.new.path=x` as `+curate.sources={new: {path: x}}`; others as they are.

    Hydra merges a dict into a table of typed entries, and so makes a typed entry of it; a new key
    of such a table it would give the bare dict, which the table refuses.
    """
    return [_nest(override, kind) for override in overrides]


def find_hint(kind: Any, parts: Sequence[str]) -> Any:
    """Type of what a dotted key of `kind`, in parts, names; None: there is no such key."""
    for part in parts:
        if is_dataclass(kind):
            kind = get_type_hints(kind).get(part)
        else:
            kind = get_args(kind)[1] if get_origin(kind) is dict else None
    return kind


def find_table(key: str, *, kind: Any) -> str:
    """Table of typed entries that a dotted key of `kind` is below: curate.sources; or empty."""
    parts = key.split(".")
    for place in range(1, len(parts)):
        hint = find_hint(kind, parts[:place])
        if get_origin(hint) is dict and is_dataclass(get_args(hint)[1]):
            return ".".join(parts[:place])
    return ""


def find_strangers(node: Any, at: str = "") -> list[str]:
    """Dotted keys that no field of the dataclasses has; a leading + lets them in."""
    if not isinstance(node, DictConfig):
        return []
    kind = OmegaConf.get_type(node)
    known = {field.name for field in fields(kind)} if is_dataclass(kind) else None
    strangers = []
    for key in node:
        name = f"{at}.{key!s}" if at else str(key)
        found = (
            [name] if known is not None and key not in known else find_strangers(node[key], name)
        )
        strangers.extend(found)
    return strangers


def _nest(override: str, kind: type) -> str:
    found = re.fullmatch(r"(\++)([^=]+)=(.*)", override, re.DOTALL)
    table = find_table(found[2], kind=kind) if found else ""
    if found is None or not table:
        return override
    plus, key, value = found.groups()
    for part in reversed(key.removeprefix(f"{table}.").split(".")):
        value = f"{{{part}: {value}}}"
    return f"{plus}{table}={value}"
