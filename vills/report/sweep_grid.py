"""Sweep and cells -> tables of text: what every format then writes in its own marks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vills.config.sweep import ColumnConfig, SweepConfig, TableConfig
from vills.report.sweep_cells import NOT_RUN, Cell, Cells

NOT_PUBLISHED = "/"
"""Stands where the paper gives no score, as in its own tables."""


@dataclass(frozen=True)
class Entry:
    """Ours beside the paper's, percent."""

    address: str
    """SWEEP/POINT/COLUMN; empty in a row of another method, where nothing is ours."""
    cell: Cell
    published: float | None
    num_seeds: int
    """Seeds that were asked for."""
    reason: int = 0
    """Number of the reason why scores are missing; 0: none is."""
    best: bool = False
    """Whether no point has a better mean, as printed."""
    best_published: bool = False
    """Whether the paper prints no better score in this column."""

    @property
    def printed(self) -> float | None:
        """The mean as it is printed, in percent with one decimal."""
        return None if self.cell.mean is None else float(f"{100 * self.cell.mean:.1f}")

    @property
    def text(self) -> str:
        """Mean and deviation; empty if there is no score."""
        if self.printed is None:
            return ""
        std = "" if self.cell.std is None else f" ± {100 * self.cell.std:.1f}"
        return f"{self.printed:.1f}{std}"

    @property
    def count(self) -> str:
        """How many seeds a mean is over, where it is not over all."""
        num = len(self.cell.scores)
        return f"{num} of {self.num_seeds} seeds" if 0 < num < self.num_seeds else ""

    @property
    def published_text(self) -> str:
        """As the paper prints it."""
        return NOT_PUBLISHED if self.published is None else f"{self.published:.1f}"


@dataclass(frozen=True)
class Line:
    """A row of a table."""

    point: str
    """Empty: another method."""
    label: str
    group: str
    """Set where a group begins, else empty."""
    entries: list[Entry]


@dataclass(frozen=True)
class Grid:
    """A table of a sweep."""

    key: str
    title: str
    note: str
    columns: Mapping[str, ColumnConfig]
    lines: list[Line]

    @property
    def heads(self) -> list[tuple[str, int]]:
        """Data sets from left to right, and how many columns stand below each."""
        spans: list[tuple[str, int]] = []
        for column in self.columns.values():
            if spans and spans[-1][0] == column.head:
                spans[-1] = (column.head, spans[-1][1] + 1)
            else:
                spans.append((column.head, 1))
        return spans

    @property
    def reasons(self) -> set[int]:
        """Numbers of the reasons why any of its cells is missing."""
        return {entry.reason for line in self.lines for entry in line.entries} - {0}


@dataclass(frozen=True)
class Grids:
    """All tables of a sweep."""

    tables: list[Grid]
    reasons: list[tuple[int, str, list[str]]]
    """Why cells are missing: (number from 1, reason, addresses of the cells it holds for)."""

    @property
    def entries(self) -> list[Entry]:
        """Cells of the points."""
        lines = [line for table in self.tables for line in table.lines]
        return [entry for line in lines for entry in line.entries if entry.address]

    @property
    def num_missing(self) -> int:
        """Cells without a score."""
        return sum(not entry.text for entry in self.entries)

    @property
    def num_partial(self) -> int:
        """Cells with scores of some seeds only."""
        return sum(bool(entry.count) for entry in self.entries)

    @property
    def legend(self) -> str:
        """What the marks mean; only of those that occur."""
        parts = ["Percent; bold: the best of its column, ours and the paper's apart"]
        if any(entry.cell.std is not None for entry in self.entries):
            parts.append("±: sample standard deviation over seeds (n - 1)")
        if self.num_partial:
            parts.append("n of m seeds: the others have no score")
        if any(entry.published is None for entry in self.entries):
            parts.append(f"{NOT_PUBLISHED}: not given by the paper")
        return "; ".join(parts) + "."

    @property
    def missing(self) -> str:
        """How many cells have no score, or not all of them."""
        total = len(self.entries)
        if not self.num_missing and not self.num_partial:
            return f"All {total} cells have the scores of all seeds."
        text = f"Missing: {self.num_missing} of {total} cells."
        if self.num_partial:
            text += f" Scores of some seeds only: {self.num_partial} cells."
        return text


def build_grids(name: str, *, sweep: SweepConfig, cells: Cells) -> Grids:
    """Build the tables in the order of the sweep; a cell that is not among `cells` has not run."""
    known = {(point, column) for point in sweep.points for column in sweep.list_columns(point)}
    assert known >= set(cells), f"no cells of {name}: {sorted(set(cells) - known)}"
    reasons: dict[str, list[str]] = {}
    tables = []
    for key, table in sweep.tables.items():
        lines = [*_build_references(table), *_build_points(name, key, sweep, cells, reasons)]
        rows = _mark_best([line.entries for line in lines])
        groups = ["", *(line.group for line in lines)]
        lines = [
            replace(line, entries=row, group=line.group if line.group != before else "")
            for line, row, before in zip(lines, rows, groups, strict=False)
        ]
        tables.append(Grid(key, table.title, table.note, table.columns, lines))
    return Grids(tables, [(i, *found) for i, found in enumerate(reasons.items(), start=1)])


def _build_references(table: TableConfig) -> list[Line]:
    return [
        Line(
            point="",
            label=row.label,
            group=row.group,
            entries=[Entry("", Cell(), row.published.get(key), 0) for key in table.columns],
        )
        for row in table.references
    ]


def _build_points(
    name: str, table: str, sweep: SweepConfig, cells: Cells, reasons: dict[str, list[str]]
) -> list[Line]:
    num_seeds = len(sweep.seeds) or 1
    lines = []
    for point, config in sweep.list_points(table).items():
        entries = []
        for column in sweep.tables[table].columns:
            address = f"{name}/{point}/{column}"
            cell = cells.get((point, column), NOT_RUN)
            reason = 0
            if len(cell.scores) < num_seeds:
                text = cell.missing or NOT_RUN.missing
                reasons.setdefault(text, []).append(address)
                reason = list(reasons).index(text) + 1
            published = config.published.get(column)
            entries.append(Entry(address, cell, published, num_seeds, reason))
        lines.append(Line(point, config.label, config.group, entries))
    return lines


def _mark_best(rows: list[list[Entry]]) -> list[list[Entry]]:
    """Mark the best of each column as printed, so that ties share it; one score is not the best."""
    columns = list(zip(*rows, strict=True))
    ours = [_find_best([entry.printed for entry in column]) for column in columns]
    paper = [_find_best([entry.published for entry in column]) for column in columns]
    return [
        [
            replace(
                entry,
                best=best is not None and entry.printed == best,
                best_published=best_paper is not None and entry.published == best_paper,
            )
            for entry, best, best_paper in zip(row, ours, paper, strict=True)
        ]
        for row in rows
    ]


def _find_best(values: list[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return max(found) if len(found) > 1 else None
