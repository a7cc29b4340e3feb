"""What a field may be: its type hint, taken apart; and the forms in which scalars are written."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Form:
    """How a scalar is written."""

    parse: Callable[[str], Any]
    """Makes the value; a ValueError says that it cannot."""
    allowed: str
    """What may be written, in words."""


def _parse_by(pattern: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return convert(text)

    return parse


_NUMBER = r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.?inf|\.?nan"
FORMS: dict[Any, Form] = {
    bool: Form(
        _parse_by("true|True|TRUE|false|False|FALSE", lambda text: text[0] in "tT"), "true or false"
    ),
    int: Form(
        _parse_by("[-+]?(0|[1-9][0-9]*)", int), "a whole number in plain decimal digits, such as 12"
    ),
    float: Form(
        _parse_by(_NUMBER, lambda text: float(re.sub(r"\.(?=[in])", "", text))),
        "a number, such as 0.5 or 1e-4",
    ),
}
"""Forms of the types that are not text. A field has another if it is Annotated[int, Form(...)]."""
SHELL = Form(str, "a line of a shell")
"""A text whose ${NAME} is the shell's own; in any other, it would be a value from elsewhere."""


def find_hint(kind: Any, parts: Sequence[str]) -> Any:
    """Type of what a dotted key of `kind`, in parts, names; None: there is no such key."""
    for part in parts:
        kind = parse_hint(kind)[0]
        if is_dataclass(kind):
            kind = load_hints(kind).get(part)
        else:
            kind = get_args(kind)[-1] if get_origin(kind) in (dict, list) else None
    return kind


def load_hints(kind: Any) -> dict[str, Any]:
    """Types of the fields of a dataclass, with their annotations."""
    return dict(_load_hints(kind))


@cache
def _load_hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def is_table(kind: Any) -> bool:
    """Whether a type is a table of entries, such as curate.sources."""
    kind = parse_hint(kind)[0]
    return get_origin(kind) is dict and is_dataclass(get_args(kind)[1])


def get_scalar(kind: Any) -> Any:
    """Return the scalar type that a field has, without null; None: it has parts."""
    inner = parse_hint(kind)[0]
    return inner if inner in (*FORMS, str, Any) else None


def is_of_kind(value: object, kind: Any) -> bool:
    """Whether a scalar, a list or a mapping is what a field may have; parts are not looked at."""
    inner, may_be_null, _ = parse_hint(kind)
    if value is None or inner is Any:
        return may_be_null
    if inner in (int, float):
        return isinstance(value, int | inner) and not isinstance(value, bool)
    return not is_dataclass(inner) and isinstance(value, get_origin(inner) or inner)


def parse_hint(kind: Any) -> tuple[Any, bool, Form | None]:
    """Return a type without its annotations, whether it may be null, and its form if it has one."""
    form = None
    if get_origin(kind) is Annotated:
        form = next((part for part in kind.__metadata__ if isinstance(part, Form)), None)
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        inner = next(part for part in get_args(kind) if part is not NoneType)
        return inner, True, form or FORMS.get(inner)
    return kind, kind is Any, form or FORMS.get(kind)


def describe_kind(kind: Any) -> str:
    """Say what a field of a type may be."""
    kind, _, form = parse_hint(kind)
    if form:
        return form.allowed
    if get_origin(kind) is list:
        return "a list, such as [a, b]"
    if is_dataclass(kind):
        return f"{{field: value}} with the fields {', '.join(load_hints(kind))}"
    return "{key: value}" if get_origin(kind) is dict else "text"
