"""A sweep's tables as one CSV: a line per cell, so that a spreadsheet or pandas can turn it."""

import csv
import io

from vills.report.sweep_grid import Entry, Grid, Grids, Line
from vills.report.sweep_labels import render_plain

FIELDS = (
    "sweep",
    "table",
    "point",
    "label",
    "column",
    "head",
    "metric",
    "ours_mean",
    "ours_std",
    "num_seeds",
    "published",
    "missing",
    "runs",
    "cell",
)
"""Scores are percent; `runs` are fingerprints, by seed; other methods have no point and no cell."""


def render_csv(name: str, grids: Grids) -> str:
    """All tables; numbers are not rounded to what tables print."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    reasons = {number: text for number, text, _ in grids.reasons.numbered}
    for table in grids.tables:
        for line in table.lines:
            for key, entry in zip(table.columns, line.entries, strict=True):
                reason = reasons.get(entry.reason, "")
                writer.writerow({"sweep": name, **_build_row(table, line, key, entry, reason)})
    return buffer.getvalue()


def _build_row(table: Grid, line: Line, key: str, entry: Entry, reason: str) -> dict[str, str]:
    cell, column = entry.cell, table.columns[key]
    return {
        "table": table.key,
        "point": line.point,
        "label": render_plain(line.label),
        "column": key,
        "head": column.head,
        "metric": column.metric,
        "ours_mean": _write_percent(cell.mean),
        "ours_std": _write_percent(cell.std),
        "num_seeds": str(len(cell.scores)) if entry.address else "",
        "published": "" if entry.published is None else f"{entry.published:g}",
        "missing": reason,
        "runs": " ".join(score.run for score in cell.scores),
        "cell": entry.address,
    }


def _write_percent(share: float | None) -> str:
    # 100 * 0.57 is 56.99999999999999: ten digits are more than any score has
    return "" if share is None else f"{100 * share:.10g}"
