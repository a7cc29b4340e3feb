"""One thing that was looked at: how it is, and what to do."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "fault", "unknown"]
GROUPS = ("scheduler", "jobs", "files", "machine", "project", "nodes")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says."""

    group: str
    """One of GROUPS."""
    name: str
    """What was looked at."""
    level: Level
    """ok; note: VILLS copes, at a price that is stated; fault: something will fail, or lose work
    or answers; unknown: it could not be seen."""
    found: str
    """How it is, or why that could not be seen."""
    remedy: str = ""
    """What to do; empty only where all is well."""


Check = Callable[[], Iterable[Finding]]


def run_check(group: str, name: str, check: Check) -> list[Finding]:
    """Findings of a check; one that trips over an answer is unknown, and the others still run."""
    try:
        return list(check())
    # The doctor looks at machines that are not as they should be: that is what it is for.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}"
        remedy = "look at it by hand; an answer that the doctor does not understand is its fault"
        return [Finding(group, name, "unknown", reason, remedy)]
