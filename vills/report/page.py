"""Sections of text, tables and pictures -> one page that needs nothing beside itself."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from vills.evaluation.tables import ScoreTable, build_cells


@dataclass(frozen=True)
class Table:
    """A table of strings."""

    head: list[str]
    body: list[list[str]]
    text_columns: frozenset[int] = frozenset({0})
    """Columns that hold text and stand to the left."""
    marked: frozenset[int] = frozenset()
    """Rows that stand out."""


@dataclass(frozen=True)
class Block:
    """A paragraph, a table and a picture that belong together; each may be empty."""

    heading: str = ""
    subheading: str = ""
    text: str = ""
    table: Table | ScoreTable | None = None
    image: str = ""
    """Data address."""
    caption: str = ""
    plot: bool = False
    """Whether the picture needs a white ground."""
    run: str = ""
    """Fingerprint of the run whose numbers these are."""
    folded: tuple["Block", ...] = ()
    """Blocks that a click on the subheading shows."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def build_table(rows: Sequence[Mapping[str, object]], *, text: Sequence[str] = ()) -> Table:
    """Build a table from rows of mixed values; `text` names the columns that stand to the left."""
    head, body = build_cells(rows)
    columns = frozenset({0} | {i for i, name in enumerate(head) if name in text})
    return Table(head=head, body=body, text_columns=columns)


def build_picture(content: bytes, *, caption: str, heading: str = "", plot: bool = False) -> Block:
    """Build a block that is one PNG or JPEG."""
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Block(heading=heading, image=build_data_uri(content, kind), caption=caption, plot=plot)


def build_data_uri(content: bytes, kind: str = "image/png") -> str:
    """Build an address that a page can hold, from bytes."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def render_page(sections: Sequence[Section]) -> str:
    """Render the page as HTML; everything that comes from data is escaped."""
    return load_template("page.html").render(sections=[s for s in sections if s.blocks])


def load_template(
    file: str, *, filters: Mapping[str, Callable[[str], str]] | None = None
) -> Template:
    """Load a template that lies beside this file; those of .html escape all that they are given.

    LaTeX is full of braces, so that a template of .tex has <% %> and << >> for {% %} and {{ }}.
    """
    environment = Environment(
        loader=PackageLoader("vills.report", ""),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    if file.endswith(".tex"):
        environment = environment.overlay(
            block_start_string="<%",
            block_end_string="%>",
            variable_start_string="<<",
            variable_end_string=">>",
            comment_start_string="<#",
            comment_end_string="#>",
        )
    return environment.get_template(file)
