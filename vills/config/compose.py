"""YAML files -> checked dataclasses, through Hydra's compose API: params.yaml and sweeps alike.

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
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vills.config.checks import ConfigError

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
    ) -> Kind:
        """Read `folder`/`name`.yaml with Hydra `overrides` on top; errors call it `origin`.

        Its defaults may name files of `folder` and of the folders of `search`.

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
        # what reaches into a field of an entry may change what the defaults have put there
        deep = [override for override in overrides if self._is_deep(override)]
        asked = [override for override in overrides if override not in deep]
        if search:
            places = ", ".join(f"'file://{path}'" for path in search)
            asked.append(f"hydra.searchpath=[{places}]")
        try:
            plain = self._compose(folder, name, asked, origin, self._layout)
            if deep:
                node = OmegaConf.merge(OmegaConf.structured(self.kind), plain)
                plain = self._compose(folder, f"{self.name}_complete", deep, origin, node)
        except OmegaConfBaseException as error:
            raise ConfigError(self._explain(error, origin)) from error
        except HydraException as error:
            raise ConfigError(self._explain(error, f"{folder.name}/{name}.yaml")) from error
        built: Kind = self._build(self.kind, plain, "", origin)
        return built

    def _is_deep(self, override: str) -> bool:
        parts = override.partition("=")[0].lstrip("+~").split(".")
        return parts[0] in self._defaulted and len(parts) > 3

    def _compose(
        self, folder: Path, name: str, overrides: Sequence[str], origin: str, node: Any
    ) -> Any:
        """Compose a file over `node`, or `node` alone if it has the name; entries are completed."""
        is_file = node is self._layout
        ConfigStore.instance().store(name=self.name if is_file else name, node=node)
        with initialize_config_dir(str(folder), version_base="1.3"):
            config = compose(name, overrides=[_nest(o, self.kind) for o in overrides])
        if is_file and OmegaConf.get_type(config) is not node:
            raise ConfigError(
                f"{origin} cannot be checked: its `defaults` lack the schema. What to do: keep its "
                f"first lines, `defaults: [{self.name}, _self_]`{self.rewrite}."
            )
        plain: Any = OmegaConf.to_container(config, resolve=True)
        for table in self._defaulted:
            for entry in plain[table].values():
                left_open = [key for key, value in entry.items() if value == MISSING]
                entry |= {key: copy.deepcopy(plain[table + DEFAULTS][key]) for key in left_open}
        return plain

    @cached_property
    def _layout(self) -> type:
        """`kind` as a file writes it: of entries with defaults, no field needs to be set."""
        parts: list[Any] = []
        for field in fields(self.kind):  # type: ignore[arg-type]
            hint: Any = field.type
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

    def _build(self, kind: Any, plain: Any, at: str, origin: str) -> Any:
        """Make the dataclasses, whose fields OmegaConf has checked; a leading + adds strangers."""
        if plain == MISSING:
            raise ConfigError(
                f"{origin}: {at} has no value. Allowed: a value of its type. What to "
                "do: add one; every field is documented in vills/config."
            )
        if isinstance(plain, list):
            element = next(iter(get_args(kind)), None)
            return [self._build(element, value, at, origin) for value in plain]
        if not isinstance(plain, dict):
            return plain
        is_known = is_dataclass(kind)
        built = {}
        for key, value in plain.items():
            name = f"{at}.{key}" if at else str(key)
            hint = find_hint(kind, [key])
            if is_known and hint is None:
                raise ConfigError(
                    self._explain_moved(name, origin)
                    or f"{origin}: {name} is not a {self.noun}. Allowed keys beside it: "
                    f"{', '.join(self._list_choices(name))}. What to do: correct the key; + adds "
                    f"entries only to {self.tables}."
                )
            built[key] = self._build(hint, value, name, origin)
        return kind(**built) if is_known else built

    def _explain(self, error: BaseException, origin: str) -> str:
        """Field, value, allowed, remedy from the chain of Hydra's and OmegaConf's errors."""
        chain = [error]
        while (cause := chain[-1].__cause__) is not None and cause not in chain:
            chain.append(cause)
        # Under a debugger OmegaConf keeps the bare error behind the one that names the key, or
        # makes an error its own cause.
        cause = next((e for e in reversed(chain) if "full_key:" in str(e)), chain[-1])
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
                f"{message} What to do: name an existing entry, or add one with "
                f"'+{full_key}={{field: value, ...}}'; vills/config documents the fields."
            )
        remedy = "correct the key or its value; every field is documented in vills/config"
        return f"{message} What to do: {remedy}."

    def _explain_moved(self, key: str, origin: str) -> str:
        """Where a key stands now; empty if it was never moved."""
        new, change = self.find_new_name(key)
        return new and (
            f"{origin}: {key} is now called {new}, and {change}. Allowed: {new}, one value "
            f"for all. What to do: set {new} and remove {key}{self.rewrite}."
        )

    def _list_choices(self, full_key: str) -> list[str]:
        """Keys that may stand where the last part of `full_key` stands."""
        hint = find_hint(self.kind, full_key.split(".")[:-1])
        return [field.name for field in fields(hint)] if is_dataclass(hint) else []


def find_hint(kind: Any, parts: Sequence[str]) -> Any:
    """Type of what a dotted key of `kind`, in parts, names; None: there is no such key."""
    for part in parts:
        if is_dataclass(kind):
            kind = _load_hints(kind).get(part)
        else:
            kind = get_args(kind)[1] if get_origin(kind) is dict else None
    return kind


_load_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def find_table(key: str, *, kind: Any) -> str:
    """Table of typed entries that a dotted key of `kind` is below: curate.sources; or empty."""
    parts = key.split(".")
    for place in range(1, len(parts)):
        hint = find_hint(kind, parts[:place])
        if get_origin(hint) is dict and is_dataclass(get_args(hint)[1]):
            return ".".join(parts[:place])
    return ""


def _nest(override: str, kind: type) -> str:
    """`+curate.sources.new.path=x` as `+curate.sources={new: {path: x}}`; others as they are.

    Hydra merges a dict into a table of typed entries, and so makes a typed entry of it; a new key
    of such a table it would give the bare dict, which the table refuses.
    """
    found = re.fullmatch(r"(\++)([^=]+)=(.*)", override, re.DOTALL)
    table = find_table(found[2], kind=kind) if found else ""
    if found is None or not table:
        return override
    plus, key, value = found.groups()
    for part in reversed(key.removeprefix(f"{table}.").split(".")):
        value = f"{{{part}: {value}}}"
    return f"{plus}{table}={value}"
