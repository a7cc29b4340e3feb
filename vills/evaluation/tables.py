"""Score rows -> tables, for the terminal, tables.md and the report.

Rows of one data set under one protocol stand together. What they share (AP kind, distance, flip,
split, counts) is said once above them; what differs is a column. So a table holds little but names
and scores, however long the protocol's title is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from vills.evaluation.rows import METRICS, PREFIX, describe_differences

Row = Mapping[str, object]

WIDTH = 160
"""Columns of a terminal that every table fits."""
OURS = "finetuned"
"""Rows of this name, or whose name starts so, are the product's own."""
SPREADS = ("_low", "_high", "_std")
"""Ends of the names of what stands beside a score, in its cell."""
COUNT_COLUMNS = (
    "queries",
    "valid_queries",
    "people",
    "gallery",
    "genuine_pairs",
    "impostor_pairs",
    "draws",
)
IDENTITY = ("data set", "protocol", "title", "row", "gallery_group")
HEADS = {"row": "model", "valid_queries": "valid", "rerank": "re-ranking"}
_CHOICES = {
    "split": "split {}",
    "ap": "AP by {}",
    "distance": "{} distance",
    "neck": "feature {} the neck",
    "flip": "flip {}",
    "pooling": "clips pooled by {}",
    "rerank": "re-ranking {}",
    "draws": "{} draws",
    "queries": "{} queries",
    "valid_queries": "{} of them valid",
    "people": "of {} people",
    "gallery": "gallery of {}",
    "genuine_pairs": "{} genuine pairs",
    "impostor_pairs": "{} impostor pairs",
    "trained_on": "models fine-tuned on {}",
    "run": "run {}",
}
"""Column -> how it reads when all rows of a table have the same; in the order of the sentence."""

NOTES = {
    "[": "[low, high]: 95 % bootstrap interval over people, each drawn with all of its queries.",
    "minus": "minus: mean difference over the same queries, in percentage points, with its 95 % "
    "bootstrap interval over people; it does not include other training seeds.",
    "±": "±: standard deviation over splits or draws; no interval over people.",
    "TAR": "TAR is - if its false accept rate is below the share of one impostor pair (too few "
    "pairs).",
}


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one data set under one protocol."""

    data_set: str
    """Empty where the scores are of one data set alone."""
    title: str
    """The protocol's full name."""
    facts: str
    """What all rows share."""
    head: list[str]
    body: list[list[str]]
    text_columns: frozenset[int]
    """Columns that stand to the left."""
    marked: frozenset[int]
    """Rows of the product's own models."""
    differences: tuple[str, ...] = ()
    """What pre-training is worth, a line per fine-tuned model."""

    @property
    def heading(self) -> str:
        """Data set and protocol."""
        return f"{self.data_set}: {self.title}" if self.data_set else self.title


def render_cell(column: str, value: object) -> str:
    """Format shares in percent with one decimal, counts and text as they are, NaN as '-'."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if column in COUNT_COLUMNS else str(value)
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)


def render_score(column: str, row: Row) -> str:
    """Format a score with what is known of its spread: 43.1 [40.2, 46.0], 43.1 ± 2.9."""
    text = render_cell(column, row.get(column))
    low, high, std = (row.get(f"{column}{end}") for end in SPREADS)
    if text == "-":
        return text
    if isinstance(std, float):
        text += f" ± {render_cell(column, std)}"
    if isinstance(low, float) and column in METRICS:
        text += f" [{render_cell(column, low)}, {render_cell(column, high)}]"
    return text


def get_column_name(column: str) -> str:
    """Name the head of a column: R-1, valid, TAR@0.1%."""
    name, _, far = column.partition("@")
    if name == "TAR" and far:
        return f"TAR@{100 * float(far):g}%"
    return HEADS.get(column, column.replace("_", " "))


def build_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Build head and body of any table as strings; its columns are the union over the rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    head = [get_column_name(column) for column in columns]
    return head, [[render_cell(column, row.get(column)) for column in columns] for row in rows]


def build_score_tables(rows: Sequence[Row], *, splits: bool = False) -> list[ScoreTable]:
    """Build a table per data set, protocol and gallery, in the order of first appearance.

    Args:
        rows: rows of results.json; "data set" and "run" may be added.
        splits: where splits are averaged, show the rows of each split instead of the means.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        title = str(row.get("title") or row["protocol"])
        if row.get("gallery_group"):
            title += f": {row['gallery_group']}"
        groups.setdefault((str(row.get("data set", "")), title), []).append(row)
    tables = []
    for (data_set, title), group in groups.items():
        means = [row for row in group if is_mean(row)]
        single = [row for row in group if not is_mean(row)]
        chosen = (single if means else []) if splits else (means or single)
        if chosen:
            tables.append(_build_table(data_set, title, chosen))
    return tables


def is_mean(row: Row) -> bool:
    """Whether the row is a mean over splits."""
    return isinstance(row.get("split"), str)


def build_text(tables: Sequence[ScoreTable], *, width: int = WIDTH) -> str:
    """Align columns for a terminal; the product's own rows start with a *."""
    if not tables:
        return "(no rows)"
    lines: list[str] = []
    for table in tables:
        lines += wrap(table.heading, width, subsequent_indent="    ")
        lines += wrap(table.facts, width - 2, initial_indent="  ", subsequent_indent="  ")
        lines += [f"  {line}" for line in _align(table)]
        for text in table.differences:
            lines += wrap(text, width - 2, initial_indent="  ", subsequent_indent="    ")
        lines.append("")
    notes = describe_marks(tables)
    if any(table.marked for table in tables):
        notes = ["*: ours.", *notes]
    return "\n".join([*lines, *(line for note in notes for line in wrap(note, width))])


def build_markdown(tables: Sequence[ScoreTable], *, level: int = 2) -> str:
    """Build headings and tables in GitHub Markdown; the product's own rows are bold."""
    parts: list[str] = []
    for table in tables:
        parts += [f"{'#' * level} {_escape(table.heading)}", "", _escape(table.facts), ""]
        marks = [":--" if i in table.text_columns else "--:" for i in range(len(table.head))]
        body = [
            [f"**{cell}**" if number in table.marked else cell for cell in map(_escape, line)]
            for number, line in enumerate(table.body)
        ]
        head = [_escape(cell) for cell in table.head]
        parts += ["| " + " | ".join(line) + " |" for line in [head, marks, *body]]
        parts.append("")
        for text in table.differences:
            parts += [_escape(text), ""]
    return "\n".join([*parts, *describe_marks(tables)]) if parts else "(no rows)"


def describe_marks(tables: Sequence[ScoreTable]) -> list[str]:
    """Say what the marks in the cells mean; only of those that occur."""
    cells = [
        (name, cell)
        for table in tables
        for line in table.body
        for name, cell in zip(table.head, line, strict=True)
    ]
    present = {
        "[": any("[" in cell for _, cell in cells),
        "minus": any(table.differences for table in tables),
        "±": any("±" in cell for _, cell in cells),
        "TAR": any(name.startswith("TAR") and cell == "-" for name, cell in cells),
    }
    return [note for mark, note in NOTES.items() if present[mark]]


def _build_table(data_set: str, title: str, rows: Sequence[Row]) -> ScoreTable:
    keys = list(dict.fromkeys(key for row in rows for key in row if key not in IDENTITY))
    keys = [key for key in keys if not key.startswith(PREFIX)]  # told below the table
    keys = [key for key in keys if not _is_spread(key, keys) and _get_values(key, rows)]
    shared = {key: values[0] for key in keys if len(values := _get_values(key, rows)) == 1}
    told = [key for key in _CHOICES if key in shared]
    told += [key for key in shared if key not in told and isinstance(shared[key], int)]
    differing = [key for key in keys if key not in told]
    choices = [key for key in _CHOICES if key in differing and key not in COUNT_COLUMNS]
    counts = [key for key in differing if key not in choices and _is_count(key, rows)]
    scores = [key for key in differing if key not in (*choices, *counts)]
    # the run stands last
    leading = [key for key in choices if key != "run"]
    columns = ["row", *leading, *scores, *counts, *choices[len(leading) :]]
    head = [get_column_name(key) for key in columns]
    facts = ", ".join(_tell(key, shared[key]) for key in told)
    return ScoreTable(
        data_set=data_set,
        title=title,
        facts=f"{facts[:1].upper()}{facts[1:]}." if facts else "",
        head=head,
        body=[[render_score(key, row) for key in columns] for row in rows],
        text_columns=frozenset(i for i, key in enumerate(columns) if key in ("row", *choices)),
        marked=frozenset(i for i, row in enumerate(rows) if str(row["row"]).startswith(OURS)),
        differences=tuple(describe_differences(rows)),
    )


def _tell(key: str, value: object) -> str:
    if key == "split" and isinstance(value, str):
        return f"{value} splits"
    if key not in _CHOICES:
        return f"{get_column_name(key)} {render_cell(key, value)}"
    return _CHOICES[key].format(render_cell(key, value))


def _get_values(key: str, rows: Sequence[Row]) -> list[object]:
    """List distinct values; '-' says that the choice does not exist for a row's model."""
    return list(dict.fromkeys(row.get(key) for row in rows if row.get(key) != "-"))


def _is_spread(key: str, keys: Sequence[str]) -> bool:
    return any(key.endswith(end) and key.removesuffix(end) in keys for end in SPREADS)


def _is_count(key: str, rows: Sequence[Row]) -> bool:
    return all(isinstance(row.get(key), int | None) for row in rows) and any(
        row.get(key) is not None for row in rows
    )


def _align(table: ScoreTable) -> list[str]:
    body = [
        [f"{'*' if number in table.marked else ' '} {line[0]}", *line[1:]]
        for number, line in enumerate(table.body)
    ]
    head = [f"  {table.head[0]}", *table.head[1:]]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i in table.text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [head, ["-" * width for width in widths], *body]
    ]


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
