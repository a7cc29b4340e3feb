"""Overrides of the command line that add: an entry of a table, or a key that nobody knows.

YAML files -> checked dataclasses, through Hydra's compose API: params.yaml and sweeps alike.

A table of entries may have defaults beside it, `finetune` has `finetune_defaults`: a file then says
of an entry what is its own, and whoever loads it gets complete entries.
"""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vills.config.checks import ConfigError


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


Kind = TypeVar("Kind")
DEFAULTS = "_defaults"
"""Ends the name of the section that has the defaults of a table's entries."""


@dataclass(frozen=True)
class Schema(Generic[Kind]):
    """A dataclass that files are checked against, and how errors speak of it."""

    name: str
    """What the defaults of a file call it."""
    kind: type[Kind]
    noun: str
    """What a key of it is: parameter, field of a sweep."""
    tables: str
    """Its tables of entries, to which + adds."""
    rewrite: str = ""
    """How such a file is written anew; empty: by hand."""
    find_new_name: Callable[[str], str] = lambda key: ""
    """What a key that was moved is called now; empty: it was not."""

    def load(
        self,
        folder: Path,
        *,
        name: str,
        overrides: Sequence[str],
        origin: str,
        search: Sequence[Path] = (),
    ) -> Kind:
        """Read `folder`/`name`.yaml with Hydra `overrides` on top.

        Args:
            folder: where the file lies.
            name: its name without .yaml.
            overrides: in Hydra's grammar.
            origin: what errors call the file.
            search: further folders whose files its defaults may name.

        Raises:
            ConfigError: if a key, a type or a range is refused.
        """
        folders = tuple(path.resolve() for path in (folder, *search))
        files = [f for path in folders for f in sorted(path.glob("*.yaml")) if f.is_file()]
        content = tuple(file.read_bytes() for file in files)
        return copy.deepcopy(self._load(folders, name, tuple(overrides), origin, content))

    @cache  # noqa: B019 -- schemas live as long as the process
    def _load(
        self,
        folders: tuple[Path, ...],
        name: str,
        overrides: tuple[str, ...],
        origin: str,
        content: tuple[bytes, ...],
    ) -> Kind:
        """Load once for the same content: a stage asks six times, Hydra takes half a second."""
        del content
        folder, *search = folders
        return self._build(self._compose(folder, name, overrides, search), origin)

    @cached_property
    def _layout(self) -> type:
        """`kind` as a file writes it: of entries with defaults, no field needs to be set."""
        hints = get_type_hints(self.kind)
        parts: list[Any] = []
        for field in fields(self.kind):  # type: ignore[arg-type]
            hint = hints[field.name]
            if field.name in self._defaulted:
                entry = get_args(hint)[1]
                unset = [(part.name, part.type, MISSING) for part in fields(entry)]
                hint = dict[str, make_dataclass(entry.__name__, unset)]  # type: ignore[misc]
            parts.append((field.name, hint, copy.copy(field)))
        return make_dataclass(self.kind.__name__, parts)

    @cached_property
    def _defaulted(self) -> tuple[str, ...]:
        """Tables whose entries have defaults."""
        names = [field.name for field in fields(self.kind)]  # type: ignore[arg-type]
        return tuple(name for name in names if name + DEFAULTS in names)

    def _compose(
        self, folder: Path, name: str, overrides: Sequence[str], search: Sequence[Path]
    ) -> DictConfig:
        ConfigStore.instance().store(name=self.name, node=self._layout)
        # what reaches into a field of an entry changes what the defaults have put there
        deep = [override for override in overrides if self._is_deep(override)]
        asked = nest_additions([o for o in overrides if o not in deep], kind=self.kind)
        if search:
            folders = ", ".join(f"'file://{path}'" for path in search)
            asked.append(f"hydra.searchpath=[{folders}]")
        try:
            with initialize_config_dir(str(folder), version_base="1.3"):
                config = self._complete(compose(name, overrides=asked))
                if deep:
                    ConfigStore.instance().store(name=f"{self.name}_complete", node=config)
                    asked = nest_additions(deep, kind=self.kind)
                    config = compose(f"{self.name}_complete", overrides=asked)
            return config
        except HydraException as error:
            raise ConfigError(self._explain(error, f"{folder.name}/{name}.yaml")) from error

    def _is_deep(self, override: str) -> bool:
        parts = override.partition("=")[0].lstrip("+~").split(".")
        return parts[0] in self._defaulted and len(parts) > 3

    def _complete(self, config: DictConfig) -> DictConfig:
        """Fill what entries leave open with the defaults of their table."""
        for table in self._defaulted if OmegaConf.get_type(config) is self._layout else ():
            for entry in config[table].values():
                for key in entry:
                    if OmegaConf.is_missing(entry, key):
                        entry[key] = config[table + DEFAULTS][key]
        return config

    def _build(self, config: DictConfig, origin: str) -> Kind:
        if OmegaConf.get_type(config) is not self._layout:
            raise ConfigError(
                f"{origin} is not checked: its defaults lack the schema. What to do: keep its "
                f"first lines, `defaults: [{self.name}, _self_]`{self.rewrite}."
            )
        strangers = find_strangers(config)
        if strangers:
            if moved := self._explain_moved(strangers[0], origin):
                raise ConfigError(moved)
            choices = ", ".join(self._list_choices(strangers[0]))
            raise ConfigError(
                f"{origin}: {strangers[0]} is no {self.noun}. Allowed keys beside it: {choices}. "
                f"What to do: mend the key; + adds entries to {self.tables} alone."
            )
        try:
            plain = OmegaConf.to_container(config, resolve=True)
            built: Any = OmegaConf.to_object(OmegaConf.merge(self.kind, plain))
        except OmegaConfBaseException as error:
            raise ConfigError(self._explain(error, origin)) from error
        return built

    def _explain(self, error: BaseException, origin: str) -> str:
        """Field, value, allowed, remedy from the chain of Hydra's and OmegaConf's errors."""
        cause: BaseException = error
        while cause.__cause__ is not None:
            if isinstance(cause, ConfigError):
                return str(cause)
            cause = cause.__cause__
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        full_key = next((line[10:].strip() for line in lines if line.startswith("full_key:")), "")
        if moved := self._explain_moved(full_key, origin):
            return moved
        # Hydra's own first line only says which file; OmegaConf's reason stands on the next.
        reason = lines[1] if len(lines) > 1 and lines[0].startswith("In ") else "".join(lines[:1])
        message = f"{origin}: {full_key + ': ' if full_key else ''}{reason.rstrip('.')}."
        choices = self._list_choices(full_key) if "not in" in reason else []
        if choices:
            message += f" Allowed keys beside it: {', '.join(choices)}."
        if find_table(full_key, kind=self.kind) and "not in struct" in reason:
            return (
                f"{message} What to do: name an entry that is there, or add one with "
                f"'+{full_key}={{field: value, ...}}'; vills/config documents the fields."
            )
        return (
            message
            + " What to do: mend the key or its value; every field is documented in vills/config."
        )

    def _explain_moved(self, key: str, origin: str) -> str:
        """Where a key stands now; empty if it was never moved."""
        new = self.find_new_name(key)
        return new and (
            f"{origin}: {key} is called {new} now, and names no run. Allowed: {new}, one value for "
            f"all. What to do: set {new} and remove {key}{self.rewrite}."
        )

    def _list_choices(self, full_key: str) -> list[str]:
        """Keys that may stand where the last part of `full_key` stands."""
        hint = find_hint(self.kind, full_key.split(".")[:-1])
        return [field.name for field in fields(hint)] if is_dataclass(hint) else []
