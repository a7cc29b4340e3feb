r"""A sweep's tables in LaTeX, to be \input; they need no package."""

from vills.config.sweep import SweepConfig
from vills.report.sweep_caption import SweepFacts, build_legend, build_missing, build_origin
from vills.report.sweep_grid import Entry, Grid, Grids
from vills.report.sweep_labels import render_latex

WIDE = 8
"""Columns above which a table is set across both columns of a page, and smaller."""


def render_tables_latex(name: str, *, sweep: SweepConfig, grids: Grids, facts: SweepFacts) -> str:
    """A table environment per table; cells of a pair are ours and the paper's."""
    lines = [r"% Written by VILLS; to be \input, no package is needed."]
    for number, text, addresses in grids.reasons.numbered:
        lines.append(f"% Missing [{number}]: {' '.join(text.split())}; {', '.join(addresses)}")
    origin = build_origin(name, sweep=sweep, facts=facts)
    said = [*facts.notes, build_legend(grids), origin, build_missing(grids)]
    for table in grids.tables:
        lines += ["", *_render_table(table, said, grids, label=f"tab:{name}-{table.key}")]
    return "\n".join([*lines, ""])


def _render_table(table: Grid, said: list[str], grids: Grids, *, label: str) -> list[str]:
    wide = len(table.columns) > WIDE
    environment = "table*" if wide else "table"
    width = 1 + 2 * len(table.columns)
    caption = [table.title.rstrip(".") + ".", table.note, *said]
    reasons = {entry.reason for line in table.lines for entry in line.entries} - {0}
    caption += [f"[{num}]: {text}." for num, text, _ in grids.reasons.numbered if num in reasons]
    lines = [
        rf"\begin{{{environment}}}",
        r"\centering",
        r"\tiny" if wide else r"\scriptsize",
        r"\setlength{\tabcolsep}{2pt}",
        rf"\caption{{{' '.join(render_latex(text) for text in caption if text)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'|rr' * len(table.columns)}}}",
        r"\hline",
        *_render_head(table),
    ]
    for number, line in enumerate(table.lines):
        if line.group or not number:
            lines.append(r"\hline")
        if line.group:
            group = render_latex(line.group)
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{group}}}}} \\")
        pairs = [text for entry in line.entries for text in _render_entry(entry)]
        lines.append(" & ".join([render_latex(line.label), *pairs]) + r" \\")
    return [*lines, r"\hline", r"\end{tabular}", rf"\end{{{environment}}}"]


def _render_head(table: Grid) -> list[str]:
    heads = [
        rf"\multicolumn{{{2 * span}}}{{c}}{{{render_latex(head)}}}" for head, span in table.heads
    ]
    labels = [
        rf"\multicolumn{{2}}{{c}}{{{render_latex(column.label)}}}"
        for column in table.columns.values()
    ]
    pairs = ["ours", "paper"] * len(table.columns)
    return [" & ".join(["", *cells]) + r" \\" for cells in (heads, labels, pairs)]


def _render_entry(entry: Entry) -> tuple[str, str]:
    ours = render_latex(entry.text)
    ours = rf"\textbf{{{ours}}}" if entry.best else ours
    if entry.address and not entry.text:
        ours = "missing"
    if entry.count:
        ours += f" ({entry.count})"
    if entry.reason:
        ours += rf" $^{{[{entry.reason}]}}$"
    published = entry.published_text
    return ours, rf"\textbf{{{published}}}" if entry.best_published else published
