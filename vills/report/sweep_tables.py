"""The tables of a sweep, ours beside the paper's, in every format."""

from pathlib import Path

from vills.config.sweep import SweepConfig
from vills.io import atomic_path
from vills.report.sweep_caption import SweepFacts
from vills.report.sweep_cells import Cells
from vills.report.sweep_csv import render_csv
from vills.report.sweep_grid import build_grids
from vills.report.sweep_latex import render_tables_latex
from vills.report.sweep_markdown import render_tables_markdown
from vills.report.sweep_page import render_tables_html
from vills.report.sweep_trend import CAPTION, build_trend

TREND = "trend.png"


def save_sweep_report(
    folder: Path, *, name: str, sweep: SweepConfig, cells: Cells, facts: SweepFacts
) -> list[Path]:
    """Write tables.html, .md, .tex and .csv, and trend.png if points have an x.

    Each file is complete or not there; the same input gives the same bytes. A trend.png of an
    earlier call, when points had an x, is removed.

    Args:
        folder: where to; it is made if need be.
        name: the sweep's, first part of the addresses of cells.
        sweep: tables, points and what is published.
        cells: scores by (point, column); others have not run.
        facts: where the numbers come from.

    Returns:
        What was written.
    """
    grids = build_grids(name, sweep=sweep, cells=cells)
    trend = build_trend(sweep, cells)
    page = render_tables_html(
        name, sweep=sweep, grids=grids, facts=facts, picture=trend, picture_caption=CAPTION
    )
    picture = TREND if trend else ""
    text = render_tables_markdown(name, sweep=sweep, grids=grids, facts=facts, picture=picture)
    contents = {
        "tables.html": page.encode(),
        "tables.md": text.encode(),
        "tables.tex": render_tables_latex(name, sweep=sweep, grids=grids, facts=facts).encode(),
        "tables.csv": render_csv(name, grids).encode(),
    }
    if trend:
        contents[TREND] = trend
    else:
        (folder / TREND).unlink(missing_ok=True)
    for file, content in contents.items():
        with atomic_path(folder / file) as path:
            path.write_bytes(content)
    return [folder / file for file in contents]
