"""Params -> params.yaml, with every field's documentation beside it."""

import ast
import hashlib
import inspect
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from vills.config.checks import ConfigError
from vills.config.compose import DEFAULTS
from vills.config.load import PARAMS_FILE, load_profile
from vills.config.params import Params

_DIGEST = "# content: "
_DEFAULTS = "defaults: [schema, _self_]"
WIDTH = 120
"""Of a line of params.yaml, columns."""
COLUMN = 32
"""Where comments beside values begin, if these leave room."""


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


def _render_dataclass(value: Any, *, indent: int) -> Iterator[str]:
    pad = "  " * indent
    docs = _field_docs(type(value))
    for field in fields(value):
        entry, doc = getattr(value, field.name), docs.get(field.name, "")
        if is_dataclass(entry):
            yield from _explain(f"{pad}{field.name}:", doc)
            yield from _render_dataclass(entry, indent=indent + 1)
        elif _is_table(entry):
            yield from _explain(f"{pad}{field.name}:", doc)
            yield from _render_table(entry, getattr(value, field.name + DEFAULTS, None), indent + 1)
        else:
            yield from _explain(f"{pad}{field.name}: {_render_leaf(entry)}", doc)


def _explain(line: str, doc: str) -> list[str]:
    """Return a line with its comment: beside it where that fits, else above it."""
    pad = line[: len(line) - len(line.lstrip())]
    beside = f"{line:<{COLUMN}}  # {doc}"
    if doc and len(beside) <= WIDTH:
        return [beside]
    return [*textwrap.wrap(doc, WIDTH, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# "), line]


def _render_table(table: Mapping[str, Any], defaults: Any, indent: int) -> Iterator[str]:
    """Entries with what is their own: a line each, if it fits."""
    pad = "  " * indent
    if defaults is None:
        for name, doc in _field_docs(type(next(iter(table.values())))).items():
            yield from _explain(f"{pad}# {name}: {doc}", "")
    for key, entry in table.items():
        own = _list_own(entry, defaults)
        line = f"{pad}{_render_leaf({key: own})[1:-1]}"
        if len(line) <= WIDTH:
            yield line
        else:
            yield f"{pad}{_render_leaf(key)}:"
            yield from (f"{pad}  {name}: {_render_leaf(part)}" for name, part in own.items())


def _list_own(entry: Any, defaults: Any) -> dict[str, Any]:
    """Fields of an entry unlike the defaults; without any, all but those that are empty."""
    own = {}
    for field in fields(entry):
        value = getattr(entry, field.name)
        shared = field.default if defaults is None else getattr(defaults, field.name)
        is_shared = value == shared and (defaults is not None or not value)
        # dvc.yaml reads the model of an entry from params.yaml
        if not is_shared or (defaults is not None and field.name in ("source", "model")):
            own[field.name] = value
    return own


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and any(is_dataclass(entry) for entry in value.values())


def _render_leaf(value: Any) -> str:
    if _is_table(value):
        value = {key: _list_own(entry, None) for key, entry in value.items()}
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1e9, sort_keys=False)
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
