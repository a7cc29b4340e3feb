"""Checks of fields: each raises a ConfigError with field, value, what is allowed and what to do.

What a field may be stands in its annotation alone: a range (`Limits`), one of several (a tuple), a
form of text (`Words`), a number of entries (`Length`); of a list or a mapping, what its entries
and keys may be. tests/config/test_limits.py refuses a field that says nothing.
"""

import re
from collections.abc import Callable, Collection, Sequence, Sized
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from vills.errors import UserError


@dataclass(frozen=True)
class Limits:
    """Between which values a number may be, both allowed."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Length:
    """How many entries a list or a mapping may have."""

    low: int
    high: int
    words: str = "entries"


@dataclass(frozen=True)
class Words:
    """What a text may be."""

    pattern: str
    allowed: str
    longest: int
    may_be_empty: bool = True


NAME = Words(
    r"[A-Za-z0-9_][A-Za-z0-9_-]*",
    "letters a to z or A to Z, digits, _ and -, not first -: it becomes a folder, a stage, a word "
    "of a shell",
    64,
    may_be_empty=False,
)
"""Whatever becomes a part of a path, of a stage, a job or an address: the one pattern of names."""
_LINE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*"
LINE = Words(_LINE, "text of one line without control characters", 2_000)
"""Free text: it is printed, or handed on as it is; no part of a path or of a command."""
TEXT = Words(_LINE.replace(r"\x00-", r"\x00-\x09\x0b-"), "text without control characters", 10_000)
"""Free text of several lines."""
PATH = Words(
    rf"(?!/|(.*/)?\.\.(/|$)){_LINE}",
    "a path below the folder that it belongs to: no / at its start, no .., one line",
    1_000,
)
"""A file or a folder below another one that the user names elsewhere."""

Name = Annotated[str, NAME]
OptionalName = Annotated[str, replace(NAME, may_be_empty=True)]
Line = Annotated[str, LINE]
Text = Annotated[str, TEXT]
BelowPath = Annotated[str, PATH]
Sha256 = Annotated[str, Words("[0-9a-f]{64}", "64 digits from 0 to 9 and a to f", 64)]

# no number is without an end: what lies beyond one is a slip of the hand, met here and not by a
# library, a full memory or a run without an end
Share = Annotated[float, Limits(0.0, 1.0)]
Weight = Annotated[float, Limits(0, 1e6)]
Epochs = Annotated[float, Limits(0, 100_000)]
Seconds = Annotated[float, Limits(0, 86_400)]
Seed = Annotated[int, Limits(0, 2**31 - 1)]
Threads = Annotated[int, Limits(1, 1024)]
Count = Annotated[int, Limits(0, 10**9)]
PositiveCount = Annotated[int, Limits(1, 10**9)]
Pixels = Annotated[int, Limits(0, 16_384)]
Frames = Annotated[int, Limits(1, 10_000)]
Batch = Annotated[int, Limits(1, 1_000_000)]
Size = Annotated[list[int], Length(2, 2, "numbers, [height, width]"), Limits(1, 2048)]
Range = Annotated[list[float], Length(2, 2, "numbers, [least, largest]")]
SplitIds = Annotated[list[int], Length(1, 1000), Limits(0, 999)]


MAX_PATCHES = 16_384
SHOWN = 400
"""Characters of a value that an error repeats."""


class ConfigError(UserError, ValueError):
    """A parameter is refused; the message is written for the person who set it."""


def check_fields(section: str, config: object, *, remedy: str = "") -> None:
    """Refuse values that the annotations of a dataclass, called `section`, do not allow."""
    for name, hint in _load_hints(type(config), include_extras=True).items():
        _check_value(f"{section}.{name}".strip("."), getattr(config, name), hint, remedy)


def check_name(field: str, value: str, remedy: str = "") -> None:
    """Refuse a name that is no safe part of a path, a stage, a job or a command."""
    check_words(field, value, NAME, remedy)


def _check_value(field: str, value: Any, hint: Any, remedy: str) -> None:
    """Ask every rule of a hint, and those of the hints in it."""
    kind, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    for rule in rules:
        if isinstance(value, list) and not isinstance(rule, Length):
            for entry in value:
                _check_rule(f"{field} entry", entry, rule, remedy)
            if isinstance(rule, tuple):
                check_distinct(field, value)
        else:
            _check_rule(field, value, rule, remedy)
    inner = get_args(kind)
    if isinstance(value, list):
        for entry in value:
            _check_value(f"{field} entry", entry, inner[0], remedy)
    elif isinstance(value, dict):
        for key, entry in value.items():
            _check_value(f"{field} key", key, inner[0], remedy or "give it another name")
            _check_value(f"{field}.{key}", entry, inner[1], remedy)


def _check_rule(field: str, value: Any, rule: Any, remedy: str) -> None:
    if value is None:
        return  # the hint allows it, or the reader would have refused it
    if isinstance(rule, Length):
        _check_length(field, value, rule, remedy)
    elif isinstance(rule, Limits):
        check_range(field, value, low=rule.low, high=rule.high, remedy=remedy)
    elif isinstance(rule, Words):
        check_words(field, value, rule, remedy)
    elif isinstance(rule, tuple):
        check_choice(field, value, rule, remedy)


def check_words(field: str, value: str, words: Words, remedy: str = "") -> None:
    """Refuse a text of another form."""
    if not value and words.may_be_empty:
        return
    if len(value) > words.longest:
        allowed = f"at most {words.longest} characters"
        raise build_error(field, value, allowed, remedy, when=f"with {len(value)} characters")
    if not re.fullmatch(words.pattern, value):
        raise build_error(field, value, words.allowed, remedy)


def _check_length(field: str, value: Sized, length: Length, remedy: str) -> None:
    if not length.low <= len(value) <= length.high:
        same = length.low == length.high
        allowed = f"{length.low}" if same else f"{length.low} to {length.high}"
        when = f"with {len(value)} entries"
        raise build_error(field, value, f"{allowed} {length.words}", remedy, when=when)


def check_range(
    field: str,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    remedy: str = "",
) -> None:
    """Refuse `value` outside [low, high]."""
    # NaN compares as false with everything, so what is allowed is asked for
    if not ((low is None or value >= low) and (high is None or value <= high)):
        allowed = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
        raise build_error(field, value, allowed, remedy)


def check_choice(field: str, value: object, choices: Collection[object], remedy: str = "") -> None:
    """Refuse `value` that is not one of `choices`."""
    if value not in choices:
        raise build_error(field, value, ", ".join(str(c) for c in choices), remedy)


def check_subset(field: str, values: Sequence[Any], choices: Collection[Any]) -> None:
    """Refuse unknown or repeated names in `values`."""
    for value in values:
        check_choice(f"{field} entry", value, choices)
    check_distinct(field, values)


def check_distinct(field: str, values: Sequence[Any]) -> None:
    """Refuse repeated entries."""
    if len(set(values)) != len(values):
        raise build_error(field, list(values), "each entry at most once", "remove repeats")


def check_size(field: str, size: Sequence[int], patch: int) -> None:
    """Refuse [height, width] that is not in whole patches, or in more than a transformer takes."""
    if any(side % patch for side in size) or size[0] * size[1] > MAX_PATCHES * patch**2:
        allowed = (
            f"[height, width], multiples of model.patch_size = {patch} and at most "
            f"{MAX_PATCHES} patches"
        )
        raise build_error(field, list(size), allowed, "change one of the two")


def build_error(
    field: str, value: object, allowed: str, remedy: str = "", *, when: str = ""
) -> ConfigError:
    """Return the error of a field's value; `when` says beside what it is not allowed."""
    todo = remedy or f"set {field} to an allowed value in params.yaml"
    beside = f" {when}" if when else ""
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    return ConfigError(
        f"{field} = {shown} is not allowed{beside}. Allowed: {allowed}. What to do: {todo}."
    )


_load_hints: Callable[..., dict[str, Any]] = cache(get_type_hints)
