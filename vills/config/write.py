"""Params -> params.yaml, with every field's documentation beside it."""

import ast
import hashlib
import inspect
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from vills.config.checks import ConfigError
from vills.config.load import PARAMS_FILE, load_profile
from vills.config.params import Params

_DIGEST = "# content: "
_DEFAULTS = "defaults: [schema, _self_]"


def render_params(params: Params, *, profile: str, overrides: Sequence[str] = ()) -> str:
    """Text of params.yaml: a header that states its origin, then every field and its meaning."""
    body = "\n".join(_render_dataclass(params, indent=0))
    command = shlex.join(["vills", "configure", f"profile={profile}", *overrides])
    head = [
        f"# Written by `{command}`.",
        f"{_DIGEST}{_digest(body)}",
        "# Every number that changes a result, for DVC to track; and `operation`, which changes",
        "# none. Where a run goes is never here.",
        _DEFAULTS,
    ]
    return "\n".join([*head, "", body, ""])


def save_params(
    folder: Path, *, profile: str, overrides: Sequence[str] = (), force: bool = False
) -> Path:
    """Write `folder`/params.yaml from a profile.

    Raises:
        ConfigError: if the profile is refused, or the file has hand edits and not `force`.
    """
    params = load_profile(profile, overrides)
    path = folder / PARAMS_FILE
    if path.exists() and not force and has_hand_edits(path.read_text()):
        raise ConfigError(
            f"{PARAMS_FILE} was edited by hand since `vills configure` wrote it. What to do: keep "
            "it, or add --force to replace it (your edits are then in git's history only)."
        )
    path.write_text(render_params(params, profile=profile, overrides=overrides))
    return path


def has_hand_edits(text: str) -> bool:
    """Whether the values of a params.yaml differ from what was written into it."""
    lines = text.splitlines()
    digests = [line.removeprefix(_DIGEST) for line in lines if line.startswith(_DIGEST)]
    return len(digests) != 1 or digests[0] != _digest(text)


def _digest(text: str) -> str:
    values = yaml.safe_load(text)
    values.pop("defaults", None)
    return hashlib.sha256(yaml.safe_dump(values, sort_keys=True).encode()).hexdigest()[:16]


def _render_dataclass(value: Any, *, indent: int, explain: bool = True) -> Iterator[str]:
    pad = "  " * indent
    docs = _field_docs(type(value)) if explain else {}
    for field in fields(value):
        entry = getattr(value, field.name)
        if docs.get(field.name):
            yield f"{pad}# {docs[field.name]}"
        if is_dataclass(entry):
            yield f"{pad}{field.name}:"
            yield from _render_dataclass(entry, indent=indent + 1, explain=explain)
        elif isinstance(entry, dict) and any(is_dataclass(v) for v in entry.values()):
            yield f"{pad}{field.name}:"
            # Every entry has the same fields: the first one explains them.
            for number, (key, item) in enumerate(entry.items()):
                yield f"{pad}  {key}:"
                first = explain and number == 0
                yield from _render_dataclass(item, indent=indent + 2, explain=first)
        else:
            yield f"{pad}{field.name}: {_render_leaf(entry)}"


def _render_leaf(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").removesuffix("...").strip()


def _field_docs(cls: type) -> dict[str, str]:
    """Return the string under each field, as one line."""
    tree = ast.parse(inspect.getsource(cls)).body[0]
    docs: dict[str, str] = {}
    previous = ""
    for node in tree.body if isinstance(tree, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            previous = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and previous:
            docs[previous] = " ".join(str(node.value.value).split())
            previous = ""
    return docs
