"""What was curated, what was rejected and why, how good tracklets and masks are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vills.report.page import Block, Section, Table, build_table

STAGES = (
    ("curate", "curated", "Curation", "MOTA, IDF1 and purity: against the world's truth."),
    ("lse", "lse", "Local Semantic Extraction", "IoU of the masks: against the world's truth."),
)
"""Stage, folder of its outs, title, what its figures are."""


def build_data(metrics: Mapping[str, Mapping[str, Any]], artifacts: Path) -> Section:
    """A row per source, a row per split; all counts and notes behind a click."""
    blocks = []
    for stage, out, title, text in STAGES:
        values = metrics[stage]
        for key, found in values.items():
            if isinstance(found, Mapping):
                heading = title if key == out else f"{title}: {key.replace('_', ' ')}"
                blocks.append(Block(heading=heading, text=text, table=_build_matrix(found)))
        reports = {
            path.parent.name: json.loads(path.read_text())
            for path in sorted((artifacts / out).glob("*/report.json"))
        }
        splits = [
            {"data set": name, "split": split, **counts}
            for name, report in reports.items()
            for split, counts in report.get("splits", {}).items()
        ]
        if splits:
            table = build_table(splits, text=("data set", "split"))
            blocks.append(Block(subheading="Splits", table=table))
        blocks += [_build_details(name, report) for name, report in reports.items()]
        blocks.append(Block(run=str(values["fingerprint"])))
    return Section("Data", blocks)


def _build_matrix(values: Mapping[str, Any]) -> Table:
    """A row per source, a column per figure."""
    rows: list[dict[str, str]] = []
    for name, value in values.items():
        cells = dict(flatten(value)) if isinstance(value, Mapping) else {"value": str(value)}
        rows.append({"data set": name, **cells})
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return build_table([{column: row.get(column) for column in columns} for row in rows])


def _build_details(name: str, report: Mapping[str, Any]) -> Block:
    """All counts of one source, and what is odd about it."""
    notes = [str(note) for note in report.get("notes", ())]
    hidden = {"notes", "splits", "source"}
    counts = {key: value for key, value in report.items() if key not in hidden}
    rows = [{"count": k, "value": v} for k, v in flatten(counts) if v not in ("", "0")]
    parts = [Block(table=build_table(rows))]
    if notes:
        parts.append(Block(table=build_table([{"note": note} for note in notes])))
    summary = f"{name}: all counts" + (f", {len(notes)} notes" if notes else "")
    return Block(folded=tuple(parts), subheading=summary)


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of a nested mapping as (path, text)."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            lines += flatten(value, f"{name} / ")
        elif isinstance(value, float):
            lines.append((name, f"{value:.4g}"))
        else:
            lines.append(
                (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
            )
    return lines
