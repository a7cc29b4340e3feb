"""Sections of text, tables and pictures -> one page that needs nothing beside itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from vills.evaluation.tables import build_cells
from vills.report.figures import build_data_uri


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
    table: Table | None = None
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

    @property
    def anchor(self) -> str:
        """Its address within the page."""
        return self.title.lower().replace(" ", "-")


def build_table(
    rows: Sequence[Mapping[str, object]],
    *,
    text: Sequence[str] = (),
    marked: Sequence[int] = (),
) -> Table:
    """Rows of mixed values -> strings; `text` names the columns that stand to the left."""
    head, body = build_cells(rows)
    columns = frozenset({0} | {i for i, name in enumerate(head) if name in text})
    return Table(head=head, body=body, text_columns=columns, marked=frozenset(marked))


def build_picture(content: bytes, *, caption: str, heading: str = "", plot: bool = False) -> Block:
    """A block that is one PNG or JPEG."""
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Block(heading=heading, image=build_data_uri(content, kind), caption=caption, plot=plot)


def render_page(sections: Sequence[Section]) -> str:
    """The page as HTML; everything that comes from data is escaped."""
    template = files("vills.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(sections=[s for s in sections if s.blocks])
