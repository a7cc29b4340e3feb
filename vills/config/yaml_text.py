"""From the bytes of a YAML file to its nodes, and what is wrong with them, in words.

A scalar is text here, whatever YAML 1.1 or 1.2 would make of it: its field decides
(vills.config.yaml_reader).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from vills.config.checks import ConfigError
from vills.inputs import read_input

TEXT, MAP, LIST = (f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))
NUMBER_LIKE = re.compile(
    r"(?:[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-f_]+|([0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(e[-+]?[0-9]+)?)"
    r"|[-+]?\.(inf|nan)|\d{4}-\d\d-\d\d|null|true|false|~|)\Z",
    re.IGNORECASE,
)
"""What other readers of YAML 1.2, DVC's among them, take for anything but text."""
MAX_BYTES, MAX_NODES, MAX_DEPTH = 2**21, 100_000, 100
"""Of a file, and of what is in it once every alias stands for its whole content. Ours have 30 kB
and 1,500 values; a few lines of aliases of aliases can stand for thousands of millions."""
_CONFLICT = re.compile(rb"^(<{7}|>{7}|={7}|\|{7})( |\r?$)", re.MULTILINE)
_OPEN = re.compile(r"(?<=[:\[{, ])(\$\{[^{}'\"]*\})(?=[\]}, ]|$)")
"""${...} in a word, which YAML wants in quotes and Hydra does not."""


class _Loader(yaml.SafeLoader):
    """Parses without a guess."""

    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("^<<$"))]}


@dataclass(frozen=True)
class Source:
    """Where YAML comes from."""

    origin: str
    """What errors call the file, or the word of the command line."""
    remedy: str = ""
    """What else may be done about a file that cannot be read."""
    is_word: bool = False
    """Whether it is a value of the command line."""

    def load_text(self, path: Path) -> str:
        """Read a file.

        Raises:
            ConfigError: if it cannot be read, is not UTF-8, or has marks of an unfinished merge.
        """
        data = self.load_bytes(path)
        if found := _CONFLICT.search(data):
            place = self._locate(data[: found.start()].count(b"\n"), 0)
            raise ConfigError(
                f"{place}: {found[1].decode()} is a marker of git, whose merge is not finished. "
                "Allowed: one of the two versions. What to do: keep what you want, and remove the "
                f"lines that begin with <<<<<<<, ======= and >>>>>>>{self.remedy}."
            )
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n")
            place = self._locate(line, error.start - data.rfind(b"\n", 0, error.start) - 1)
            raise ConfigError(
                f"{place}: byte 0x{data[error.start]:02x} is not UTF-8. Allowed: text in UTF-8. "
                "What to do: save the file as UTF-8 (Latin-1: `iconv -f latin1 -t utf-8`; UTF-16: "
                f"`iconv -f utf-16 -t utf-8`){self.remedy}."
            ) from error

    def load_bytes(self, path: Path) -> bytes:
        """Read the content of a file.

        Raises:
            ConfigError: if it cannot be read.
        """
        try:
            return read_input(path, limit=MAX_BYTES)
        except OSError as error:
            raise ConfigError(
                f"{self.origin} cannot be read: {error.strerror}. Allowed: a text file. What to "
                f"do: look at {path} (`ls -ld`){self.remedy}."
            ) from error

    def parse_node(self, text: str) -> yaml.Node | None:
        """Return the root of a text; None: it has only comments.

        Raises:
            ConfigError: if it is no YAML.
        """
        with self.explain_errors(text):
            text = _OPEN.sub(r"'\1'", text) if self.is_word else text
            node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
            if node is not None:
                count, depth = self._measure(node, {})
                if count > MAX_NODES or depth > MAX_DEPTH:
                    raise self._refuse_size(node)
            return node

    def _measure(self, node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
        """Count what is in a node, what is shared as often as it stands there; and its depth."""
        if id(node) not in known:
            known[id(node)] = 1, 1  # what contains itself is refused by its name later
            is_mapping = isinstance(node, yaml.MappingNode)
            inner = [] if isinstance(node, yaml.ScalarNode) else node.value
            inner = [part for pair in inner for part in pair] if is_mapping else inner
            found = [self._measure(part, known) for part in inner]
            depth = max((depth for _, depth in found), default=0)
            known[id(node)] = 1 + sum(count for count, _ in found), 1 + depth
        return known[id(node)]

    def _refuse_size(self, node: yaml.Node) -> ConfigError:
        return ConfigError(
            f"{self.locate(node)}: this is too large once every alias stands for what it names. "
            f"Allowed: {MAX_NODES:,} values, {MAX_DEPTH} brackets in brackets. What to do: write "
            f"out what is meant, without aliases of aliases, or in several files{self.remedy}."
        )

    def list_pairs(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        """Keys and values of a mapping, with what `<<` brings, each key once.

        Raises:
            ConfigError: if `<<` names no mapping.
        """
        with self.explain_errors(""):
            _Loader("").flatten_mapping(node)
        # a mapping that aliases share is read again
        node.value = list({key.value: (key, part) for key, part in node.value}.values())
        return list(node.value)

    def locate(self, node: yaml.Node) -> str:
        """Where a node stands, in words."""
        return (
            self._locate(node.start_mark.line, node.start_mark.column)
            if node.start_mark
            else (self.origin)
        )

    def _locate(self, line: int, column: int) -> str:
        return (
            self.origin if self.is_word else f"{self.origin}, line {line + 1}, column {column + 1}"
        )

    @contextmanager
    def explain_errors(self, text: str) -> Iterator[None]:
        """Turn the parser's errors on `text` into words."""
        try:
            yield
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            column = error.position - before.rfind("\n") - 1
            what = "a character that no text has"
            raise self._refuse(before.count("\n"), column, what) from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(part for part in (error.context, error.problem) if part)
            line, column = (mark.line, mark.column) if mark else (0, 0)
            raise self._refuse(line, column, what) from error
        except RecursionError as error:
            raise self._refuse(0, 0, "too many brackets in brackets") from error

    def _refuse(self, line: int, column: int, what: str) -> ConfigError:
        if self.is_word:
            return ConfigError(
                f"{self.origin}: column {column + 1} of the value: {what}. Allowed: [a, b] and "
                "{key: value}. What to do: put text with signs into 'single quotes', and the whole "
                "word into \"double quotes\" for the shell: \"key=['a=1', 'b c']\"."
            )
        todo = (
            "look at this line and the one above for a bracket, quote or colon that is missing or "
            "too much; text with any of : # @ % [ { ' goes into quotes"
        )
        if "'\\t'" in what:
            what, todo = "a tab", "indent with blanks"
        return ConfigError(
            f"{self._locate(line, column)}: this is no YAML: {what}. Allowed: lines such as "
            f"`key: value`. What to do: {todo}{self.remedy}."
        )
