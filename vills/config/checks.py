"""Checks of fields: each raises a ConfigError with field, value, what is allowed and what to do."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

from vills.errors import UserError


@dataclass(frozen=True)
class Limits:
    """Between which values a number may be, both allowed."""

    low: float | None = None
    high: float | None = None


Share = Annotated[float, Limits(0.0, 1.0)]
NonNegativeFloat = Annotated[float, Limits(0)]
NonNegativeInt = Annotated[int, Limits(0)]
PositiveInt = Annotated[int, Limits(1)]


class ConfigError(UserError, ValueError):
    """A parameter is refused; the message is written for the person who set it."""


def check_fields(section: str, config: object) -> None:
    """Refuse values that the annotations of a dataclass, called `section`, do not allow.

    `Annotated[int, Limits(1)]` allows a range, `Annotated[str, CHOICES]` one of several; of a list,
    that holds for its entries, and choices may not be repeated.
    """
    for name, hint in _load_hints(type(config), include_extras=True).items():
        for allowed in getattr(hint, "__metadata__", ()):
            value, field = getattr(config, name), f"{section}.{name}"
            if isinstance(allowed, Limits):
                entries = value if isinstance(value, list) else [value]
                shown = f"{field} entry" if isinstance(value, list) else field
                for entry in entries:
                    check_range(shown, entry, low=allowed.low, high=allowed.high)
            elif isinstance(value, list):
                check_subset(field, value, allowed)
            else:
                check_choice(field, value, allowed)


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


def check_subset(field: str, values: Sequence[str], choices: Sequence[str]) -> None:
    """Refuse unknown or repeated names in `values`."""
    for value in values:
        check_choice(f"{field} entry", value, choices)
    if len(set(values)) != len(values):
        raise build_error(field, list(values), "each name at most once", "remove repeats")


def build_error(
    field: str, value: object, allowed: str, remedy: str = "", *, when: str = ""
) -> ConfigError:
    """Return the error of a field's value; `when` says beside what it is not allowed."""
    todo = remedy or f"set {field} to an allowed value in params.yaml"
    beside = f" {when}" if when else ""
    return ConfigError(
        f"{field} = {value!r} is not allowed{beside}. Allowed: {allowed}. What to do: {todo}."
    )


_load_hints: Callable[..., dict[str, Any]] = cache(get_type_hints)
