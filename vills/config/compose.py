"""YAML files -> checked dataclasses: params.yaml, profiles and sweeps alike.

Hydra's compose API puts the files of a `defaults` list together; every value was read before, by
the type of its field (vills.config.yaml_reader), and so were the overrides that come on top.

A table of entries may have defaults beside it, `finetune` has `finetune_defaults`: a file then says
of an entry what is its own, and whoever loads it gets complete entries.
"""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf

from vills.config.checks import ConfigError
from vills.config.kinds import find_hint, get_scalar, is_of_kind, load_hints
from vills.config.overrides import describe_unknown_key, parse_override, set_override
from vills.config.yaml_reader import Reader
from vills.config.yaml_text import Source
from vills.inputs import read_input

Kind = TypeVar("Kind")
DEFAULTS = "_defaults"
"""Ends the name of the section that has the defaults of a table's entries."""
_CHECKED = "_checked_"
"""Key that only the schema's node has: a file without it in its `defaults` is of another kind."""


@dataclass(frozen=True)
class Schema(Generic[Kind]):
    """A dataclass that files are checked against, and how errors speak of it."""

    name: str
    """What the defaults of a file call it."""
    kind: type[Kind]
    noun: str
    """What a key of it is: parameter, field of a sweep."""
    tables: str = ""
    """Its tables of entries, to which + adds."""
    rewrite: str = ""
    """How such a file is written anew; empty: by hand."""
    worded: tuple[str, ...] = ()
    """Keys that DVC reads too, as patterns (vills.config.yaml_reader)."""
    find_new_name: Callable[[str], tuple[str, str]] = lambda key: ("", "")
    """What a key that was moved is called now; empty: it was not."""

    def load(
        self,
        folder: Path,
        *,
        name: str,
        overrides: Sequence[str],
        origin: str,
        search: Sequence[Path] = (),
        is_whole: bool = False,
    ) -> Kind:
        """Read `folder`/`name`.yaml with `overrides` on top; errors call it `origin`.

        Its defaults may name files of `folder` and of the folders of `search`, unless `is_whole`:
        then it says everything itself.

        Raises:
            ConfigError: if a file, a key, a type or a range is refused.
        """
        folders = tuple(path.resolve() for path in (folder, *search))
        content = tuple(_load_bytes(f) for path in folders for f in sorted(path.glob("*.yaml")))
        return copy.deepcopy(
            self._load(folders, name, tuple(overrides), origin, content, is_whole=is_whole)
        )

    @cache  # noqa: B019 -- schemas live as long as the process
    def _load(
        self,
        folders: tuple[Path, ...],
        name: str,
        overrides: tuple[str, ...],
        origin: str,
        content: tuple[bytes, ...],
        *,
        is_whole: bool,
    ) -> Kind:
        """Load once for the same content: a stage asks six times, Hydra takes half a second."""
        del content
        if is_whole:
            plain = self._read_whole(folders[0] / f"{name}.yaml", origin)
        else:
            plain = self._compose(folders, name, origin)
        return self.build(plain, overrides, origin=origin)

    def read(self, path: Path, *, origin: str) -> dict[str, Any]:
        """Read one file, whose values have the types of their fields.

        Raises:
            ConfigError: if the file, a key or a value is refused.
        """
        reader = Reader(Source(origin, self.rewrite), self.explain_unknown, self.worded)
        return dict(reader.load(path, self.kind))

    def build(self, plain: dict[str, Any], overrides: Sequence[str] = (), *, origin: str) -> Kind:
        """Make the dataclass from what files say, with `overrides` on top.

        Raises:
            ConfigError: if a key, a type or a range is refused.
        """
        changes = [parse_override(word) for word in overrides]
        # what reaches into a field of an entry may change what the defaults have put there
        deep = [c for c in changes if c.parts[0] in self._defaulted and len(c.parts) > 3]
        plain = _fill(self.kind, plain)
        for change in (c for c in changes if c not in deep):
            self._apply(plain, change, origin)
        for table in self._defaulted:
            entry_kind = find_hint(self.kind, [table, "*"])
            defaults = _fill(entry_kind, plain[table + DEFAULTS])
            for key, entry in plain[table].items():
                if isinstance(entry, dict):
                    own = {name: value for name, value in entry.items() if value != MISSING}
                    plain[table][key] = copy.deepcopy(defaults) | own
        for change in deep:
            self._apply(plain, change, origin)
        built: Kind = self._build(self.kind, plain, "", origin)
        return built

    def explain_unknown(self, key: str) -> str:
        """Say where a key stands now, or what it might be."""
        new, change = self.find_new_name(key)
        if new:
            return (
                f"{key} is now called {new}, and {change}. Allowed: {new}, one value for all. "
                f"What to do: set {new} and remove {key}{self.rewrite}."
            )
        return describe_unknown_key(key, self.kind, noun=self.noun, tables=self.tables)

    def _apply(self, plain: dict[str, Any], change: Any, origin: str) -> None:
        set_override(plain, change, self.kind, explain_unknown=self.explain_unknown, origin=origin)

    def _read_whole(self, path: Path, origin: str) -> dict[str, Any]:
        """Read a file that names no other: what another one says, DVC does not see."""
        plain = self.read(path, origin=origin)
        given, allowed = plain.pop("defaults", None), [self.name, "_self_"]
        if given == allowed:
            return plain
        found = "no `defaults`" if given is None else f"`defaults: [{', '.join(given)}]`"
        raise ConfigError(
            f"{origin} cannot be checked: it has {found}. Allowed: `defaults: "
            f"[{', '.join(allowed)}]`, since a run is what {origin} itself says, and DVC sees no "
            f"other file. What to do: write that line, and the values of other files into {origin}"
            f"{self.rewrite}."
        )

    def _compose(self, folders: Sequence[Path], name: str, origin: str) -> dict[str, Any]:
        """Put a file and those that its `defaults` name together, the last on top."""
        nodes: dict[str, dict[str, Any]] = {self.name: {_CHECKED: self.name}}
        self._collect(folders, name, nodes, origin=origin)
        try:
            with _open_store(nodes), initialize(config_path=None, version_base="1.3"):
                plain: Any = OmegaConf.to_container(compose(name))
        except (HydraException, RecursionError) as error:
            text = " ".join(str(error).split())
            reason = re.split(r"\.? Available|\.? Config search path", text)[0]
            if isinstance(error, RecursionError):
                reason = "its `defaults` lead back to it"
            raise ConfigError(
                f"{origin}: {reason.rstrip('.')}. Allowed in `defaults`: {self.name}, _self_, and "
                "files beside it without .yaml, none twice. What to do: correct its `defaults`"
                f"{self.rewrite}."
            ) from error
        if plain.pop(_CHECKED, "") != self.name:
            raise ConfigError(
                f"{origin} cannot be checked: its `defaults` lack the schema. What to do: keep its "
                f"first lines, `defaults: [{self.name}, _self_]`{self.rewrite}."
            )
        return dict(plain)

    def _collect(
        self, folders: Sequence[Path], name: str, nodes: dict[str, Any], *, origin: str = ""
    ) -> None:
        """Read a file and those that its `defaults` name, each once."""
        places = [folder / f"{name}.yaml" for folder in folders]
        path = next((place for place in places if place.exists()), None)
        if path and name not in nodes:
            nodes[name] = self.read(path, origin=origin or path.name)
            for other in nodes[name].get("defaults", []):
                self._collect(folders, other, nodes)

    @cached_property
    def _defaulted(self) -> tuple[str, ...]:
        """Tables whose entries have defaults."""
        names = [field.name for field in fields(self.kind)]  # type: ignore[arg-type]
        return tuple(name for name in names if name + DEFAULTS in names)

    def _build(self, kind: Any, plain: Any, at: str, origin: str) -> Any:
        """Make the dataclasses, inner ones first."""
        if is_dataclass(kind) and isinstance(plain, dict):
            hints = load_hints(kind)
            needed = [f.name for f in fields(kind) if NO_DEFAULT is f.default is f.default_factory]
            for name in (name for name in needed if name not in plain):
                raise self._refuse(f"{at}.{name}".strip("."), "has no value", origin)
            names = {key: f"{at}.{key}".strip(".") for key in plain}
            for key in (key for key in plain if key not in hints):
                raise ConfigError(f"{origin}: {self.explain_unknown(names[key])}")
            parts = {key: self._build(hints[key], plain[key], names[key], origin) for key in plain}
            with _name_entry(at):
                made: Any = kind
                return made(**parts)
        if plain == MISSING:
            raise self._refuse(at, "has no value", origin)
        if not is_of_kind(plain, kind):
            raise self._refuse(at, f"= {plain!r} is of another type", origin)
        inner = find_hint(kind, ["0"]) or Any
        if isinstance(plain, list):
            return [self._build(inner, v, f"{at}.{n}", origin) for n, v in enumerate(plain)]
        if isinstance(plain, dict):
            return {k: self._build(inner, v, f"{at}.{k}", origin) for k, v in plain.items()}
        return float(plain) if get_scalar(kind) is float and plain is not None else plain

    def _refuse(self, at: str, what: str, origin: str) -> ConfigError:
        return ConfigError(
            f"{origin}: {at} {what}. Allowed: a value of its type. What to do: set it; every field "
            "is documented in vills/config."
        )


@contextmanager
def _name_entry(at: str) -> Iterator[None]:
    """Say in an error which entry it is about: a dataclass knows itself as finetune.* or as *."""
    try:
        yield
    except ConfigError as error:
        table = at.split(".")[-2] if "." in at else at.removesuffix(DEFAULTS)
        star = rf"(?<![\w.*'])(?:[a-z_.]*\b{re.escape(table)}\.)?\*\."
        named = re.sub(star, f"{at}.", str(error)) if at else str(error)
        raise ConfigError(named) from error


def _fill(kind: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """Add the fields that a section leaves open, with the defaults of its dataclass."""
    filled = dict(plain)
    for field in fields(kind):
        if field.default is not NO_DEFAULT:
            filled.setdefault(field.name, field.default)
        elif field.default_factory is not NO_DEFAULT:
            value = field.default_factory()
            given = filled.setdefault(field.name, {} if is_dataclass(value) else value)
            if isinstance(given, dict):
                kept = _fill(type(value), given) if is_dataclass(value) else value | given
                filled[field.name] = kept
    return filled


@contextmanager
def _open_store(nodes: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Give Hydra's store what was read, for as long as files are put together."""
    store = ConfigStore.instance()
    for name, node in nodes.items():
        store.store(name=name, node=node)
    try:
        yield
    finally:
        for name in nodes:
            del store.repo[f"{name}.yaml"]


def _load_bytes(path: Path) -> bytes:
    """Content that a cached answer depends on; what cannot be read is refused when it is asked."""
    try:
        return read_input(path)
    except OSError:
        return b""
