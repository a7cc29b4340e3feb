"""Environment variables that hold more than text: one rule for what is allowed in them.

An empty variable is one that is not set, as everywhere. The errors are ConfigErrors: variable,
value, what is allowed, what to do.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from vills.config.checks import build_error, check_choice

SWITCHES = {
    **{"on": True, "off": False, "1": True, "0": False},
    **{"true": True, "false": False, "yes": True, "no": False},
}


def read_switch(variable: str, *, default: bool) -> bool:
    """Read on or off, in any spelling that people use for it."""
    value = os.environ.get(variable, "").strip().lower()
    if not value:
        return default
    remedy = f"export {variable}=on, or off, or unset it"
    check_choice(variable, value, SWITCHES, remedy)
    return SWITCHES[value]


def read_count(variable: str, *, default: int, low: int = 0, high: int = 65_535) -> int:
    """Read a whole number from `low` to `high`."""
    value = os.environ.get(variable, "").strip() or str(default)
    is_number = value.isascii() and value.isdigit() and len(value) < 20
    if not is_number or not low <= int(value) <= high:
        remedy = f"export {variable}={max(low, 2)}, or unset it"
        raise build_error(variable, value, f"whole numbers from {low} to {high}", remedy)
    return int(value)


def read_choice(variable: str, choices: Sequence[str]) -> str:
    """Read one of several words; the first is the default."""
    value = os.environ.get(variable, "").strip() or choices[0]
    check_choice(variable, value, choices, f"export {variable}={choices[-1]}, or unset it")
    return value


def read_folder(variable: str) -> Path | None:
    """Read the path of a folder, which must be there; None: the variable is not set."""
    value = os.environ.get(variable, "")
    if value and not Path(value).is_dir():
        remedy = f"export {variable}=/path/to/it, or unset it"
        raise build_error(variable, value, "a folder that is there", remedy)
    return Path(value) if value else None
