"""The one reader of YAML that people write: params.yaml, profiles, sweeps, slurm/*.yaml, dvc.lock.

What a value is, its field decides, not its spelling: text stays as it was typed (`010`, `off`,
`12:00:00`), a whole number is plain decimal digits, a switch is true or false. So no value is
changed on its way into a field, as YAML 1.1 changes 020222 to 8338. Values of the command line are
read alike (vills.config.overrides).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, is_dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from vills.config.checks import ConfigError
from vills.config.kinds import FORMS, SHELL, Form, describe_kind, find_hint, parse_hint
from vills.config.yaml_text import LIST, MAP, NUMBER_LIKE, TEXT, Source

_NULL = ("", "~", "null", "Null", "NULL")
_EMPTY = {str: "'' for no text", list: "[]", dict: "{}"}
"""What is written in place of null."""


@dataclass
class Reader:
    """Converts YAML into values of a dataclass's fields; errors say where."""

    source: Source
    explain_unknown: Callable[[str], str] = lambda key: f"{key} is not known."
    """What is said of a key that the dataclass lacks."""
    worded: tuple[str, ...] = ()
    """Keys whose names and texts DVC reads too: what it would take for a number needs quotes."""
    _above: list[yaml.Node] = field(default_factory=list)

    def load(self, path: Path, kind: Any) -> Any:
        """Read a file; a `defaults` list at its top is kept as it is.

        Raises:
            ConfigError: if it cannot be read, is no YAML, or a key or a value is refused.
        """
        text = self.source.load_text(path)
        node = self.source.parse_node(text)
        if node is None and text.strip():
            return {}  # comments alone
        if not isinstance(node, yaml.MappingNode):
            found = "has no keys at its top" if node else "is empty"
            raise ConfigError(
                f"{self.source.origin} {found}. Allowed: lines such as `key: value`. What to do: "
                f"correct {path}{self.source.remedy}."
            )
        return self.read(node, kind, "")

    def parse(self, text: str, kind: Any, at: str) -> Any:
        """Read a value from a text in YAML.

        Raises:
            ConfigError: if it is no YAML, or is refused.
        """
        node = self.source.parse_node(text)
        return self.read(node, kind, at) if node else self.convert(text, kind, at)

    def convert(self, text: str, kind: Any, at: str) -> Any:
        """Value of a text that is a scalar as it stands, whatever signs are in it.

        Raises:
            ConfigError: if it is refused.
        """
        return self.read(yaml.ScalarNode(TEXT, text), kind, at)

    def read(self, node: yaml.Node, kind: Any, at: str) -> Any:
        """Value of a node for a field of the type `kind` with the dotted name `at`."""
        if node.tag not in (TEXT, MAP, LIST):
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._refuse(node, at, f"has the tag {tag}", "values without tags")
        if node in self._above:
            raise self._refuse(node, at, "contains itself", "an alias of something else")
        if isinstance(node, yaml.ScalarNode):
            return self._read_scalar(node, kind, at)
        inner = parse_hint(kind)[0]
        self._above.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._read_mapping(node, inner, at)
            if inner is not Any and get_origin(inner) is not list:
                raise self._refuse(node, at, "is a list", describe_kind(kind))
            element = next(iter(get_args(inner)), Any)
            return [self.read(part, element, f"{at}.{n}") for n, part in enumerate(node.value)]
        finally:
            self._above.pop()

    def _read_mapping(self, node: yaml.MappingNode, kind: Any, at: str) -> dict[str, Any]:
        if not (kind is Any or is_dataclass(kind) or get_origin(kind) is dict):
            quoted = ", in quotes if there is `: ` in it" if kind is str else ""
            raise self._refuse(node, at, "is a mapping", describe_kind(kind) + quoted)
        value: dict[str, Any] = {}
        for key, part in self._list_pairs(node, at):
            name = f"{at}.{key.value}" if at else key.value
            self._check_word(key, name)
            hint = Any if kind is Any else find_hint(kind, [key.value])
            if hint is None and name == "defaults":
                hint = list[str]
            if hint is None:
                raise ConfigError(f"{self.source.locate(key)}: {self.explain_unknown(name)}")
            value[key.value] = self.read(part, hint, name)
        return value

    def _list_pairs(
        self, node: yaml.MappingNode, at: str
    ) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """Keys and values, each key once; with what `<<` brings."""
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refuse(key, at, "has a key that is no text", "keys such as `name:`")
            if (first := seen.setdefault(key.value, key)) is not key:
                place = "" if self.source.is_word else f" (first in {self.source.locate(first)})"
                what = f"has the key {key.value!r} twice{place}"
                raise self._refuse(key, at, what, "each key once", "remove one of them")
        for key, part in self.source.list_pairs(node):
            assert isinstance(key, yaml.ScalarNode)
            name, colon, rest = key.value.partition(":")
            is_bare = isinstance(part, yaml.ScalarNode) and not part.value and part.style is None
            if self.source.is_word and colon and is_bare and key.style is None:
                # {a:b}, as Hydra takes it; for YAML it is the key "a:b"
                yield yaml.ScalarNode(TEXT, name), self.source.parse_node(rest) or part
            else:
                yield key, part

    def _read_scalar(self, node: yaml.ScalarNode, kind: Any, at: str) -> Any:
        inner, may_be_null, form = parse_hint(kind)
        text, is_plain = node.value, node.style is None
        if "${" in text and form is not SHELL:
            allowed = "the value itself: what a run is made from stands where DVC sees it"
            remedy = "write the value (&name and *name repeat one within a file)"
            raise self._refuse(node, at, f"= {text!r} refers to a value elsewhere", allowed, remedy)
        if text == "???":
            return text  # found when all is put together
        if is_plain and text in _NULL:
            if may_be_null:
                return None
            raise self._refuse_null(node, inner, at, describe_kind(kind))
        if inner is Any:
            return _guess(text) if is_plain else text
        if inner is str:
            self._check_word(node, at)
            return text
        try:
            if form:
                return form.parse(text)
        except ValueError:
            pass
        raise self._refuse(node, at, f"= {text!r} is not allowed", describe_kind(kind))

    def _refuse_null(self, node: yaml.ScalarNode, inner: Any, at: str, other: str) -> ConfigError:
        empty = "{}" if is_dataclass(inner) else _EMPTY.get(get_origin(inner) or inner, other)
        word = f", or '{node.value}' in quotes for the word" if inner is str and node.value else ""
        return self._refuse(node, at, f"has no value ({node.value or 'nothing'})", f"{empty}{word}")

    def _check_word(self, node: yaml.ScalarNode, at: str) -> None:
        """Refuse an unquoted name that DVC would take for a number: it would name another stage."""
        is_worded = any(fnmatch(at, pattern) for pattern in self.worded)
        if is_worded and node.style is None and NUMBER_LIKE.match(node.value):
            what = f"has {node.value} without quotes, which DVC does not take for text"
            raise self._refuse(node, at, what, f"'{node.value}'", "add the quotes")

    def _refuse(
        self, node: yaml.Node, at: str, what: str, allowed: str, remedy: str = "correct the value"
    ) -> ConfigError:
        name = f"{at} " if at else ""
        return ConfigError(
            f"{self.source.locate(node)}: {name}{what}. Allowed: {allowed}. What to do: {remedy}."
        )


def _guess(text: str) -> Any:
    """Value of an unquoted text whose field may be anything; what is no switch or integer stays."""
    forms: list[Form] = [FORMS[bool], FORMS[int]]
    for form in forms:
        try:
            return form.parse(text)
        except ValueError:
            pass
    return text
