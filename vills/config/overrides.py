"""`key=value` on a command line: changes of what a file says.

    key=value    sets a value; {...} replaces a whole table or entry, as it is written
    +key=value   adds an entry, or sets a field that the file leaves open
    ++key=value  adds or sets
    ~key         removes an entry

The signs are Hydra's. What follows the first `=` is read as the field's type says: for a text
field it is the text, whatever signs are in it; lists and mappings are YAML: [a, b], {key: value}.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from typing import Any

from omegaconf import MISSING

from vills.config.checks import ConfigError
from vills.config.kinds import find_hint, get_scalar, is_table, load_hints
from vills.config.yaml_reader import Reader
from vills.config.yaml_text import Source

_ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")
"""What Hydra's grammar asks to escape; here it may be."""


@dataclass(frozen=True)
class Override:
    """One word."""

    word: str
    sign: str
    """Empty, +, ++ or ~."""
    key: str
    text: str | None
    """None: without =."""

    @property
    def parts(self) -> list[str]:
        """Of the dotted key."""
        return self.key.split(".")


def parse_override(word: str) -> Override:
    """Return the parts of a word.

    Raises:
        ConfigError: if it is no override.
    """
    found = re.fullmatch(r"(\+\+?|~)?([^=]+?)(?:=(.*))?", word, re.DOTALL)
    if found is None or not (found[3] is not None or found[1] == "~"):
        raise _refuse(word, "has no value", "key=value, or ~key", "write key=value")
    if re.search(r"[\x00-\x1f\x7f]", word):
        raise _refuse(word, "has a line break or a control character", "one line", "remove it")
    return Override(word, found[1] or "", found[2], found[3])


def check_repeats(words: Iterable[str]) -> None:
    """Refuse a key that one command line sets twice: nobody would see which one holds."""
    seen: dict[str, str] = {}
    for word in words:
        if word.startswith("~"):
            continue  # an entry may go, and another of its name be added
        key = word.lstrip("+~").partition("=")[0]
        if key in seen:
            both = f"{seen[key]} and {word}"
            raise ConfigError(
                f"{key} is given twice: {both}. Allowed: each key once. What to do: remove one."
            )
        seen[key] = word


def set_override(
    plain: dict[str, Any],
    change: Override,
    kind: Any,
    *,
    explain_unknown: Callable[[str], str],
    origin: str,
) -> None:
    """Change a plain mapping of the dataclass `kind` in place.

    Args:
        plain: Values by key, as files give them.
        change: What to change.
        kind: Type that says what each value is.
        explain_unknown: What is said of a key that there is not.
        origin: What errors call the file.

    Raises:
        ConfigError: if the key or the value is refused.
    """
    *above, last = change.parts
    hint = find_hint(kind, change.parts)
    if hint is None:
        raise ConfigError(f"{origin}: {explain_unknown(change.key)}")
    owner: Any = plain
    for place, part in enumerate(above):
        at = change.parts[: place + 1]
        if part not in owner or owner[part] == MISSING:
            if change.sign in ("", "~") and is_table(find_hint(kind, at[:-1])):
                raise _refuse_missing(change, at, owner)
            owner[part] = {}
        owner = owner[part]
        if not isinstance(owner, dict):
            what = f"{'.'.join(at)} is {owner!r}, which has no fields"
            raise _refuse(change.word, what, "a key of a mapping", "set it as a whole")
    owner_kind = find_hint(kind, above)
    if change.sign == "~":
        _remove(owner, last, change, is_section=is_dataclass(owner_kind))
        return
    value = _parse_value(change, hint, explain_unknown)
    if change.sign:
        _add(owner, last, value, change, key=change.key)
        return
    if is_table(owner_kind) and last not in owner:
        raise _refuse_missing(change, change.parts, owner)
    if is_dataclass(hint) and not is_table(owner_kind) and isinstance(value, dict):
        some = next(iter(value), next(iter(load_hints(hint))))
        allowed = f"its fields, one by one ({', '.join(load_hints(hint))})"
        todo = f"write {change.key}.{some}=..."
        raise _refuse(change.word, f"{change.key} is a section", allowed, todo)
    owner[last] = value


def _parse_value(change: Override, hint: Any, explain_unknown: Callable[[str], str]) -> Any:
    """Value of the text behind the first =: as it is typed, or YAML for what has parts."""
    text = change.text or ""
    reader = Reader(Source(f"override {change.word!r}", is_word=True), explain_unknown)
    scalar = get_scalar(hint)
    if scalar is None or (scalar is Any and text[:1] in ("[", "{", "'", '"')):
        return reader.parse(text, hint, change.key)
    if scalar is str:
        text = text.strip(" ")
        if not text:
            return ""
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            return reader.parse(text, hint, change.key)
        text = _ESCAPED.sub(r"\1", text)
    return reader.convert(text.strip(), hint, change.key)


def _remove(owner: dict[str, Any], last: str, change: Override, *, is_section: bool) -> None:
    if is_section:
        allowed, todo = "entries of a table", f"set {change.key}=... to what it shall be"
        raise _refuse(change.word, f"{change.key} is a field, which cannot go", allowed, todo)
    if last not in owner:
        raise _refuse_missing(change, change.parts, owner)
    if change.text is not None:
        raise _refuse(change.word, "removes, and sets a value", f"~{change.key}", "remove = ...")
    del owner[last]


def _add(owner: dict[str, Any], last: str, value: Any, change: Override, *, key: str) -> None:
    """Add `value` below `owner`; mappings grow together."""
    old = owner.get(last)
    if old is None or old == MISSING:
        owner[last] = value
    elif isinstance(old, dict) and isinstance(value, dict):
        for name, part in value.items():
            _add(old, name, part, change, key=f"{key}.{name}")
    elif change.sign == "++":
        owner[last] = value
    else:
        allowed = f"{key}=... to change it, ++ to add or change"
        raise _refuse(change.word, f"{key} is there already ({old!r})", allowed, "choose one")


def describe_unknown_key(key: str, kind: Any, *, noun: str, tables: str) -> str:
    """Say what a key that `kind` lacks might be."""
    parts = key.split(".")
    place = next(n for n in range(1, len(parts) + 1) if find_hint(kind, parts[:n]) is None)
    at, parent = ".".join(parts[:place]), find_hint(kind, parts[: place - 1])
    known = list(load_hints(parent)) if is_dataclass(parent) else []
    if not known:
        return (
            f"{'.'.join(parts[: place - 1])} has no fields, so {key} is not a {noun}. Allowed: "
            "its value as a whole. What to do: correct the key."
        )
    near = get_close_matches(parts[place - 1].strip(), known, n=1)
    guess = f" Did you mean {'.'.join([*parts[: place - 1], near[0]])}?" if near else ""
    grows = f"; + adds entries only to {tables}" if tables else ""
    return (
        f"{at} is not a {noun}.{guess} Allowed keys beside it: {', '.join(known)}. What to do: "
        f"correct the key{grows}."
    )


def _refuse_missing(change: Override, parts: list[str], table: dict[str, Any]) -> ConfigError:
    name, key = parts[-1], ".".join(parts)
    near = get_close_matches(name, list(table), n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    todo = "correct the name" + (
        "" if change.sign == "~" else f", or add an entry: '+{key}={{field: value, ...}}'"
    )
    what = f"{'.'.join(parts[:-1])} has no entry {name!r}.{guess}".removesuffix(".")
    return _refuse(change.word, what, ", ".join(table) or "none yet", todo)


def _refuse(word: str, what: str, allowed: str, todo: str) -> ConfigError:
    return ConfigError(f"override {word!r}: {what}. Allowed: {allowed}. What to do: {todo}.")
