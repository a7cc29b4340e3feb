"""Sweep and cells -> tables of text: what every format then writes in its own marks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
    def text(self) -> str:
        """Mean and deviation; empty if there is no score."""
        if self.cell.mean is None:
            return ""
        std = "" if self.cell.std is None else f" ± {100 * self.cell.std:.1f}"
        return f"{100 * self.cell.mean:.1f}{std}"

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


@dataclass
class Reasons:
    """Why cells are missing: each reason once, with the cells that it holds for."""

    addresses: dict[str, list[str]] = field(default_factory=dict)

    def add(self, text: str, address: str) -> int:
        """Number of the reason, from 1."""
        self.addresses.setdefault(text, []).append(address)
        return list(self.addresses).index(text) + 1

    @property
    def numbered(self) -> list[tuple[int, str, list[str]]]:
        """(number, reason, addresses of its cells)."""
        items = enumerate(self.addresses.items(), start=1)
        return [(number, text, found) for number, (text, found) in items]


@dataclass(frozen=True)
class Grids:
    """All tables of a sweep."""

    tables: list[Grid]
    reasons: Reasons

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


def build_grids(name: str, *, sweep: SweepConfig, cells: Cells) -> Grids:
    """Tables in the order of the sweep; a cell that is not among `cells` has not run."""
    unknown = [key for key in cells if key[1] not in _get_columns(sweep, key[0])]
    assert not unknown, f"no cells of {name}: {unknown}"
    reasons = Reasons()
    tables = []
    for key, table in sweep.tables.items():
        lines = [*_build_references(table), *_build_points(name, key, sweep, cells, reasons)]
        lines = _mark_groups(_mark_best(lines, list(table.columns.values())))
        tables.append(Grid(key, table.title, table.note, table.columns, lines))
    return Grids(tables, reasons)


def _get_columns(sweep: SweepConfig, point: str) -> Iterable[str]:
    return sweep.list_columns(point) if point in sweep.points else ()


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
    name: str, table: str, sweep: SweepConfig, cells: Cells, reasons: Reasons
) -> list[Line]:
    num_seeds = len(sweep.seeds) or 1
    lines = []
    for point, config in sweep.list_points(table).items():
        entries = []
        for column in sweep.tables[table].columns:
            address = f"{name}/{point}/{column}"
            cell = cells.get((point, column), NOT_RUN)
            incomplete = len(cell.scores) < num_seeds
            reason = reasons.add(cell.missing or NOT_RUN.missing, address) if incomplete else 0
            published = config.published.get(column)
            entries.append(Entry(address, cell, published, num_seeds, reason))
        lines.append(Line(point, config.label, config.group, entries))
    return lines


def _mark_best(lines: list[Line], columns: list[ColumnConfig]) -> list[Line]:
    """Bold is for the best as printed, so that ties share it; one score alone is not the best."""
    ours = [_find_best([_round(line.entries[i]) for line in lines]) for i in range(len(columns))]
    paper = [_find_best([x.entries[i].published for x in lines]) for i in range(len(columns))]
    marked = []
    for line in lines:
        entries = [
            Entry(
                entry.address,
                entry.cell,
                entry.published,
                entry.num_seeds,
                entry.reason,
                best=ours[i] is not None and _round(entry) == ours[i],
                best_published=paper[i] is not None and entry.published == paper[i],
            )
            for i, entry in enumerate(line.entries)
        ]
        marked.append(Line(line.point, line.label, line.group, entries))
    return marked


def _round(entry: Entry) -> float | None:
    return float(f"{100 * entry.cell.mean:.1f}") if entry.cell.mean is not None else None


def _find_best(values: list[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return max(found) if len(found) > 1 else None


def _mark_groups(lines: list[Line]) -> list[Line]:
    marked, current = [], ""
    for line in lines:
        begins = line.group != current
        current = line.group
        marked.append(Line(line.point, line.label, line.group if begins else "", line.entries))
    return marked
