"""Findings as a table for people."""

import textwrap
from collections import Counter
from collections.abc import Sequence

from vills.runner.doctor.finding import GROUPS, Finding

WIDTH = 100
_TITLES = {
    "scheduler": "Scheduler",
    "jobs": "Jobs (slurm/*.yaml against the cluster)",
    "files": "Files",
    "machine": "This machine",
    "project": "Project",
    "nodes": "Nodes (--probe)",
}
_MARKS = {"ok": "ok", "note": "note", "fault": "FAULT", "unknown": "?"}


def format_findings(findings: Sequence[Finding]) -> str:
    """What was looked at, what was found, what to do; faults counted at the end."""
    wide = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for group in GROUPS:
        own = [finding for finding in findings if finding.group == group]
        if own:
            lines += [_TITLES[group], *(_format(finding, wide) for finding in own), ""]
    counts = Counter(finding.level for finding in findings)
    named = (
        (counts["fault"], "fault(s)"),
        (counts["note"], "note(s)"),
        (counts["unknown"], "that could not be seen"),
    )
    parts = [f"{num} {name}" for num, name in named]
    return "\n".join([*lines, f"{len(findings)} looked at: {', '.join(parts)}."])


def _format(finding: Finding, wide: int) -> str:
    head = f"  {_MARKS[finding.level]:<6}{finding.name:<{wide}}  "
    indent = " " * len(head)
    text = _wrap(finding.found, head, indent)
    return (
        f"{text}\n{_wrap(finding.remedy, f'{indent}-> ', f'{indent}   ')}"
        if finding.remedy
        else text
    )


def _wrap(text: str, head: str, indent: str) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        width=WIDTH,
        initial_indent=head,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
