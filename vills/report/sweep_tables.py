"""The tables of a sweep, ours beside the paper's, in every format."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from vills.config.sweep import SweepConfig
from vills.io import open_atomic
from vills.report.page import build_data_uri, load_template
from vills.report.sweep_grid import Cells, Grids, build_grids
from vills.report.sweep_labels import render_html, render_latex, render_markdown, render_plain
from vills.report.sweep_trend import CAPTION, build_trend

TEMPLATES = ("tables.html", "tables.md", "tables.tex")
"""Files that are written, each from the template of its name."""
FILTERS = {"label": render_html, "markdown": render_markdown, "latex": render_latex}
TREND = "trend.png"


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """What the tables cannot know of their numbers."""

    params: str
    """Profile, or a digest of the parameters."""
    commit: str
    date: str
    """Given, so that the same numbers give the same bytes."""
    command: str = ""
    """What was given; empty: the sweep's own."""
    notes: tuple[str, ...] = ()
    """What a reader must be told: that the parameters are not of the paper's scale, for example."""


def save_sweep_report(
    folder: Path, *, name: str, sweep: SweepConfig, cells: Cells, facts: SweepFacts
) -> list[Path]:
    """Write tables.html, .md, .tex and .csv, and trend.png if points have an x; return the files.

    Each file is complete or not there; the same input gives the same bytes. A trend.png of an
    earlier call, when points had an x, is removed. What is not among `cells` has not run.
    """
    grids = build_grids(name, sweep=sweep, cells=cells)
    trend = build_trend(sweep, cells)
    seeds = ", ".join(map(str, sweep.seeds)) or "of the parameters"
    values = {
        "name": name,
        "sweep": sweep,
        "tables": grids.tables,
        "reasons": grids.reasons,
        "origin": f"Sweep: {name}. Parameters: {facts.params}. Commit: {facts.commit}. "
        f"Date: {facts.date}. Seeds: {seeds}. Command: {facts.command or sweep.command}.",
        "missing": grids.missing,
        "notes": list(facts.notes),
        "legend": grids.legend,
        "picture": build_data_uri(trend) if trend else "",
        "picture_file": TREND,
        "picture_caption": CAPTION,
    }
    contents = {
        file: load_template(file, filters=FILTERS).render(values).encode() for file in TEMPLATES
    }
    contents["tables.csv"] = render_csv(name, grids).encode()
    if trend:
        contents[TREND] = trend
    else:
        (folder / TREND).unlink(missing_ok=True)
    for file, content in contents.items():
        with open_atomic(folder / file) as path:
            path.write_bytes(content)
    return [folder / file for file in contents]


def render_csv(name: str, grids: Grids) -> str:
    """Render a line per cell of all tables; numbers are not rounded to what tables print.

    Scores are percent; `runs` are fingerprints, by seed; other methods have no point and no cell.
    """
    reasons = {number: text for number, text, _ in grids.reasons}
    rows = [
        {
            "sweep": name,
            "table": table.key,
            "point": line.point,
            "label": render_plain(line.label),
            "column": key,
            "head": table.columns[key].head,
            "metric": table.columns[key].metric,
            "ours_mean": _write_percent(cell.ours.mean),
            "ours_std": _write_percent(cell.ours.std),
            "num_seeds": len(cell.ours.scores) if cell.address else "",
            "published": "" if cell.published is None else f"{cell.published:g}",
            "missing": reasons.get(cell.reason, ""),
            "runs": " ".join(score.run for score in cell.ours.scores),
            "cell": cell.address,
        }
        for table in grids.tables
        for line in table.lines
        for key, cell in zip(table.columns, line.cells, strict=True)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _write_percent(share: float | None) -> str:
    # 100 * 0.57 is 56.99999999999999: ten digits are more than any score has
    return "" if share is None else f"{100 * share:.10g}"
