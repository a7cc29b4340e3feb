"""Score rows -> one table, for the terminal, tables.md and the report."""

from collections.abc import Mapping, Sequence

Row = Mapping[str, object]

COUNT_COLUMNS = ("queries", "valid_queries", "gallery")
"""Whole numbers; what is neither these nor text is a share, shown in percent."""
HEADS = {"row": "model", "valid_queries": "valid"}


def format_cell(column: str, value: object) -> str:
    """A share as a percentage with one decimal, a count and text as they are, nothing as '-'."""
    if value is None:
        return "-"
    if column in COUNT_COLUMNS or not isinstance(value, float):
        return str(value)
    return f"{100 * value:.1f}"


def build_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table as strings.

    Columns are the union over the rows in order of first appearance, so rows of other protocols
    (other ranks) stand in the same table.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    head = [HEADS.get(column, column) for column in columns]
    return head, [[format_cell(column, row.get(column)) for column in columns] for row in rows]


def build_text_table(rows: Sequence[Row]) -> str:
    """Aligned columns for a terminal; shares in percent."""
    head, body = build_cells(rows)
    if not body:
        return "(no rows)"
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    text = {i for i, name in enumerate(head) if name in ("model", "protocol")}
    lines = []
    for line in [head, ["-" * width for width in widths], *body]:
        cells = [
            cell.ljust(width) if i in text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def build_markdown_table(rows: Sequence[Row]) -> str:
    """The same table in GitHub Markdown; a bar in a name is escaped."""
    head, body = build_cells(rows)
    if not body:
        return "(no rows)"
    marks = [":--" if name in ("model", "protocol") else "--:" for name in head]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in body]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, marks, *escaped])
