"""Parameters as JSON's types: equal settings give equal text, and what differs has a name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any


def compute_canonical(value: object) -> Any:
    """Reduce `value` to JSON's types, so that equal settings give equal text: 1 for 1.0.

    Raises:
        TypeError: for a value that has no place in parameters.
        ValueError: for nan and infinities.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not allowed in parameters. What to do: use a number.")
        return int(value) if value.is_integer() else value
    if is_dataclass(value) and not isinstance(value, type):
        return compute_canonical(asdict(value))
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"parameter keys must be str, found {sorted(map(repr, value))}")
        return {key: compute_canonical(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [compute_canonical(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} has no place in parameters: {value!r}")


def find_differences(old: object, new: object, *, prefix: str = "") -> list[str]:
    """List what differs between two sets of parameters, as `a.b: 1 -> 2` lines."""
    before, after = compute_canonical(old), compute_canonical(new)
    if isinstance(before, dict) and isinstance(after, dict):
        lines: list[str] = []
        for key in sorted({*before, *after}):
            name = f"{prefix}.{key}" if prefix else key
            if key not in before:
                lines.append(f"{name}: added, {after[key]!r}")
            elif key not in after:
                lines.append(f"{name}: removed, was {before[key]!r}")
            else:
                lines += find_differences(before[key], after[key], prefix=name)
        return lines
    return [] if before == after else [f"{prefix}: {before!r} -> {after!r}"]
