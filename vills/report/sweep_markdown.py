"""A sweep's tables in GitHub Markdown."""

from vills.config.sweep import SweepConfig
from vills.report.sweep_caption import SweepFacts, build_legend, build_missing, build_origin
from vills.report.sweep_grid import Entry, Grid, Grids
from vills.report.sweep_labels import render_markdown


def render_tables_markdown(
    name: str, *, sweep: SweepConfig, grids: Grids, facts: SweepFacts, picture: str = ""
) -> str:
    """The page; `picture` is the file of the trend plot beside it."""
    parts = [f"# {render_markdown(sweep.title)} (`{name}`)", ""]
    origin = build_origin(name, sweep=sweep, facts=facts)
    said = [origin, build_missing(grids), *facts.notes, build_legend(grids)]
    parts += [line for text in said for line in (render_markdown(text), "")]
    for table in grids.tables:
        parts += _render_table(name, table)
    if grids.reasons.addresses:
        parts += ["## Missing", ""]
        for number, text, addresses in grids.reasons.numbered:
            named = ", ".join(f"`{address}`" for address in addresses)
            parts += [f"- [{number}] {render_markdown(text)}: {named}"]
        parts.append("")
    if picture:
        parts += ["## Trend", "", f"![Trend of {name}]({picture})", ""]
    return "\n".join(parts)


def _render_table(name: str, table: Grid) -> list[str]:
    head = ["", "point"]
    for column in table.columns.values():
        head += [render_markdown(f"{column.head} {column.label}"), "paper"]
    lines = [head, [":--", ":--", *["--:"] * (len(head) - 2)]]
    for line in table.lines:
        if line.group:
            lines.append([f"*{render_markdown(line.group)}*", *[""] * (len(head) - 1)])
        pairs = [text for entry in line.entries for text in _render_entry(entry)]
        point = f"`{line.point}`" if line.point else ""
        lines.append([render_markdown(line.label), point, *pairs])
    columns = ", ".join(f"`{key}`" for key in table.columns)
    return [
        f"## {render_markdown(table.title)}",
        "",
        *("| " + " | ".join(line) + " |" for line in lines),
        "",
        *([render_markdown(table.note), ""] if table.note else []),
        f"A cell of ours: `vills explain {name}/POINT/COLUMN`; columns {columns}.",
        "",
    ]


def _render_entry(entry: Entry) -> tuple[str, str]:
    ours = f"**{entry.text}**" if entry.best else entry.text
    if entry.address and not entry.text:
        ours = "missing"
    if entry.count:
        ours += f" ({entry.count})"
    if entry.reason:
        ours += f" [{entry.reason}]"
    published = entry.published_text
    return ours, f"**{published}**" if entry.best_published else published
