"""What will fail on this cluster, and on this machine: `vills doctor`.

SLURM's tools are asked once (`facts`); every check is a small function from their answers to
findings, so that each is tested with the words of a real cluster. Whatever cannot be seen is
`unknown` with the reason, never a crash and never `ok`.
"""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

Level = Literal["ok", "note", "fault", "unknown"]
Facts = TypeVar("Facts")
WIDTH = 100
TITLES = {
    "scheduler": "Scheduler",
    "jobs": "Jobs (slurm/*.yaml against the cluster)",
    "files": "Files",
    "machine": "This machine",
    "project": "Project",
    "nodes": "Nodes (--probe)",
}
"""Groups of findings, in the order in which they are shown."""
MARKS: dict[Level, str] = {"ok": "ok", "note": "note", "fault": "FAULT", "unknown": "?"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says of one thing: how it is, and what to do."""

    group: str = field(default="", kw_only=True)
    """One of TITLES; `run_check` fills it in."""
    name: str
    """What was looked at."""
    level: Level
    """ok; note: VILLS copes, at a price that is stated; fault: something will fail, or lose work
    or answers; unknown: it could not be seen."""
    found: str
    """How it is, or why that could not be seen."""
    remedy: str = ""
    """What to do; `run_check` drops it where all is well."""


def run_check(
    group: str, name: str, check: Callable[[Facts], Iterable[Finding]], facts: Facts
) -> list[Finding]:
    """Run a check; one that trips over an answer is unknown, and the others still run."""
    try:
        found = list(check(facts))
    # The doctor looks at machines that are not as they should be: that is what it is for.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}"
        remedy = "check it by hand; vills doctor did not understand the answer"
        found = [Finding(name, "unknown", reason, remedy)]
    return [
        replace(f, group=f.group or group, remedy="" if f.level == "ok" else f.remedy)
        for f in found
    ]


def compute_level(value: float, *, fault: float, note: float) -> Level:
    """Compute how well a large number is: below `fault`, below `note`, or well."""
    return "fault" if value < fault else "note" if value < note else "ok"


def render_findings(findings: Sequence[Finding]) -> str:
    """Return what was looked at, what was found, what to do; faults counted at the end."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for group, title in TITLES.items():
        own = [finding for finding in findings if finding.group == group]
        lines += [title] if own else []
        for finding in own:
            head = f"  {MARKS[finding.level]:<6}{finding.name:<{width}}  "
            remedy = " " * len(head) + "-> "
            for text, first in ((finding.found, head), (finding.remedy, remedy)):
                lines += textwrap.wrap(
                    " ".join(text.split()),
                    width=WIDTH,
                    initial_indent=first,
                    subsequent_indent=" " * len(first),
                    break_long_words=False,
                    break_on_hyphens=False,
                )
        lines += [""] if own else []
    count = Counter(finding.level for finding in findings)
    lines.append(
        f"{len(findings)} findings: {count['fault']} fault(s), {count['note']} note(s), "
        f"{count['unknown']} that could not be checked."
    )
    return "\n".join(lines)
