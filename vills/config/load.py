"""params.yaml: read into Params, and written from a profile with every field's meaning beside it.

`python -m vills.config.load PROFILE` asks whether the params.yaml of this folder is that profile.
"""

import ast
import hashlib
import inspect
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from vills.config.checks import ConfigError, build_error
from vills.config.compose import DEFAULTS, Schema
from vills.config.overrides import check_repeats
from vills.config.params import Params, find_new_name
from vills.config.place import check_place
from vills.config.yaml_reader import Reader
from vills.config.yaml_text import NUMBER_LIKE, Source
from vills.endings import run_main
from vills.io import save_bytes

PARAMS_FILE = "params.yaml"
PROFILES = Path(__file__).parent / "profiles"
WIDTH = 120
"""Columns of a line of params.yaml, at most."""
COLUMN = 32
"""Where comments beside values begin, if these leave room."""
WRITTEN_OUT = ("source", "model")
"""Fields that stand in every entry: dvc.yaml reads the model."""
_DIGEST = "# content: "
_SCHEMA = Schema(
    name="schema",
    kind=Params,
    noun="parameter",
    tables="curate.sources, finetune and evaluate",
    rewrite=", or write the file again with `vills configure`",
    worded=("finetune.*", "evaluate.*"),
    find_new_name=find_new_name,
)


def load_params(folder: Path, overrides: Sequence[str] = ()) -> Params:
    """Read `folder`/params.yaml with Hydra `overrides` on top.

    Raises:
        ConfigError: if the file is missing or a key, a type or a range is refused.
    """
    check_place(folder)
    path = folder / PARAMS_FILE
    if not path.exists():
        raise ConfigError(
            f"{PARAMS_FILE} is missing in {folder}. What to do: go to the project's folder, or "
            "write one with `vills configure profile=miniature`."
        )
    return _SCHEMA.load(
        folder, name=path.stem, overrides=overrides, origin=path.name, is_whole=True
    )


def load_profile(name: str, overrides: Sequence[str] = ()) -> Params:
    """Parameters of a profile, with Hydra `overrides` on top.

    Raises:
        ConfigError: if the profile is unknown or an override is refused.
    """
    if name not in list_profiles():
        remedy = "choose one of them and change single values with key=value"
        raise build_error("profile", name, ", ".join(list_profiles()), remedy)
    return _SCHEMA.load(PROFILES, name=name, overrides=overrides, origin=f"profile {name}")


def list_profiles() -> list[str]:
    """Names of the profiles, without the parts that they share."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml") if not p.stem.startswith("_"))


def render_params(params: Params, *, profile: str, overrides: Sequence[str] = ()) -> str:
    """Text of params.yaml: a header that states its origin, then every field and its meaning."""
    body = "\n".join(_render_dataclass(params, indent=0))
    command = shlex.join(["vills", "configure", f"profile={profile}", *overrides])
    head = f"""\
# Written by `{command}`.
{_DIGEST}{_digest(body)}
# Every value that changes a result, for DVC to track; and `operation`, which changes none. Where a
# run is computed is not set here.
defaults: [schema, _self_]
"""
    return f"{head}{body}\n"


def save_params(
    folder: Path, *, profile: str, overrides: Sequence[str] = (), force: bool = False
) -> Path:
    """Write `folder`/params.yaml from a profile.

    Raises:
        ConfigError: if the profile is refused, or the file has hand edits and not `force`.
    """
    check_place(folder)
    check_repeats(overrides)
    params = load_profile(profile, overrides)
    path = folder / PARAMS_FILE
    if path.exists() and not (force and path.is_file()):
        _check_unedited(path)
    written = render_params(params, profile=profile, overrides=overrides).encode()
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / PARAMS_FILE).write_bytes(written)
        if load_params(Path(scratch)) != params:
            raise RuntimeError(f"{PARAMS_FILE} as written holds other values than were asked for")
    save_bytes(path, written)
    return path


def has_hand_edits(text: str) -> bool:
    """Whether the values of a params.yaml differ from what was written into it."""
    lines = text.splitlines()
    digests = [line.removeprefix(_DIGEST) for line in lines if line.startswith(_DIGEST)]
    return len(digests) != 1 or digests[0] != _digest(text)


def _check_unedited(path: Path) -> None:
    try:
        _SCHEMA.read(path, origin=PARAMS_FILE)
        is_edited = has_hand_edits(path.read_text(encoding="utf-8-sig"))
    except ConfigError as error:
        raise ConfigError(f"{error} Or add --force to replace the file.") from error
    if is_edited:
        raise ConfigError(
            f"{PARAMS_FILE} was edited by hand since `vills configure` wrote it. What to do: keep "
            "the file, or add --force to replace it (only git may then have your edits)."
        )


def _digest(text: str) -> str:
    values = Reader(Source(PARAMS_FILE), _SCHEMA.explain_unknown).parse(text, Params, "")
    values.pop("defaults", None)
    return hashlib.sha256(yaml.safe_dump(values, sort_keys=True).encode()).hexdigest()[:16]


def _render_dataclass(value: Any, *, indent: int) -> Iterator[str]:
    pad = "  " * indent
    docs = _field_docs(type(value))
    for field in fields(value):
        entry, doc = getattr(value, field.name), docs.get(field.name, "")
        if not indent:
            yield ""
        if is_dataclass(entry):
            yield from _explain(f"{pad}{field.name}:", doc)
            yield from _render_dataclass(entry, indent=indent + 1)
        elif isinstance(entry, dict) and any(map(is_dataclass, entry.values())):
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
    return [
        *textwrap.wrap(doc, WIDTH, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# "),
        line,
    ]


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
    """Fields of an entry that are unlike the defaults; without any, unlike an empty field."""
    values = {field.name: (getattr(entry, field.name), field.default) for field in fields(entry)}
    if defaults is None:
        return {name: value for name, (value, empty) in values.items() if value or value != empty}
    return {
        name: value
        for name, (value, _) in values.items()
        if name in WRITTEN_OUT or value != getattr(defaults, name)
    }


class _Dumper(yaml.SafeDumper):
    """Puts text into quotes that any reader of YAML, 1.1 or 1.2, would take for something else."""


_Dumper.add_implicit_resolver("!quoted", NUMBER_LIKE, None)


def _render_leaf(value: Any) -> str:
    text: str = yaml.dump(
        _to_plain(value),
        Dumper=_Dumper,
        default_flow_style=True,
        width=1e9,
        sort_keys=False,
        allow_unicode=True,
    )
    return text.removesuffix("\n").removesuffix("\n...").removesuffix("...").strip()


def _to_plain(value: Any) -> Any:
    if is_dataclass(value):
        value = _list_own(value, None)
    return {k: _to_plain(v) for k, v in value.items()} if isinstance(value, dict) else value


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


def main() -> int:
    """Compare params.yaml of this folder with what `vills configure` would write."""
    profile = "".join(sys.argv[1:])
    text = render_params(load_profile(profile), profile=profile)
    if Path(PARAMS_FILE).read_text(encoding="utf-8") == text:
        return 0
    print(
        f"{PARAMS_FILE} differs from profile {profile} of this version. What to do: "
        f"vills configure profile={profile} --force",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(run_main("vills", main))
