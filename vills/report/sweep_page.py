"""A sweep's tables as one page that needs nothing beside itself."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from vills.config.sweep import SweepConfig
from vills.report.figures import build_data_uri
from vills.report.sweep_caption import SweepFacts, build_legend, build_missing, build_origin
from vills.report.sweep_grid import Grids
from vills.report.sweep_labels import render_html


def render_tables_html(
    name: str,
    *,
    sweep: SweepConfig,
    grids: Grids,
    facts: SweepFacts,
    picture: bytes = b"",
    picture_caption: str = "",
) -> str:
    """The page as HTML; everything that comes from data is escaped.

    Args:
        name: first part of the addresses of cells.
        sweep: what was varied.
        grids: its tables.
        facts: where the numbers come from.
        picture: PNG of the trend plot; empty: none.
        picture_caption: below it.
    """
    template = files("vills.report").joinpath("sweep_page.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["label"] = render_html
    return environment.from_string(template).render(
        name=name,
        sweep=sweep,
        tables=grids.tables,
        reasons=grids.reasons.numbered,
        origin=build_origin(name, sweep=sweep, facts=facts),
        missing=build_missing(grids),
        notes=facts.notes,
        legend=build_legend(grids),
        picture=build_data_uri(picture) if picture else "",
        picture_caption=picture_caption,
    )
