"""Scores of a sweep and its tables of text: what every format then writes in its own marks."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from vills.config.sweep import ColumnConfig, PointConfig, ReferenceConfig, SweepConfig
from vills.evaluation.tables import is_mean

Row = Mapping[str, object]


@dataclass(frozen=True)
class Score:
    """What one evaluation found."""

    value: float
    """Share, 0 to 1; -1 to 1 if it is a difference."""
    run: str
    """Fingerprint of the evaluate run."""
    seed: int | None = None
    """Seed of the sweep; none: that of params.yaml."""
    is_difference: bool = False
    """Whether it is a difference of two shares."""

    def __post_init__(self) -> None:
        low = -1.0 if self.is_difference else 0.0
        assert low <= self.value <= 1.0, f"{self.value} is no share; percent is for tables alone"


@dataclass(frozen=True)
class Cell:
    """One column of one point."""

    scores: tuple[Score, ...] = ()
    """One per seed, of those that have finished."""
    missing: str = ""
    """Why scores are missing; empty if none is."""

    def __post_init__(self) -> None:
        seeds = [score.seed for score in self.scores]
        assert len(set(seeds)) == len(seeds), f"scores of one seed twice: {seeds}"

    @property
    def mean(self) -> float | None:
        """Share over the seeds that there are; none without any."""
        return statistics.fmean(score.value for score in self.scores) if self.scores else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds (n - 1); none below two of them."""
        if len(self.scores) < 2:
            return None
        return statistics.stdev(score.value for score in self.scores)


Cells = Mapping[tuple[str, str], Cell]
"""(point, column) -> cell."""
NOT_RUN = Cell(missing="no run")
"""A cell that nobody has filled."""


def select_score(rows: Sequence[Row], column: ColumnConfig) -> float | None:
    """Return a column's share among the rows of results.json; none if it has none.

    Without re-ranking; where splits or galleries are averaged, their mean.
    """
    row = _pick_row(rows, column)
    value = None if row is None else row.get(column.metric)
    return value if isinstance(value, float) and math.isfinite(value) else None


def describe_absence(rows: Sequence[Row], column: ColumnConfig) -> str:
    """Say why `select_score` finds none."""
    row = _pick_row(rows, column)
    if row is None:
        protocols = sorted({str(found["protocol"]) for found in rows})
        if column.protocol not in protocols:
            return (
                f"evaluate.{column.evaluate}.protocols lacks {column.protocol} (it has "
                f"{', '.join(protocols) or 'none'})"
            )
        return f"results.json of {column.evaluate} has no row {column.row!r}"
    if column.metric not in row:
        return f"results.json of {column.evaluate} has no {column.metric}"
    if column.metric.startswith("TAR@"):
        return f"{column.metric}: too few impostor pairs for it"
    return f"{column.metric} of {column.evaluate} is no number"


def _pick_row(rows: Sequence[Row], column: ColumnConfig) -> Row | None:
    own = [
        row
        for row in rows
        if row.get("protocol") == column.protocol
        and row.get("row") == column.row
        and row.get("rerank", "off") == "off"
    ]
    own = [row for row in own if is_mean(row)] or own
    own = [row for row in own if str(row.get("gallery_group", "")).startswith("mean")] or own
    # as select_headlines of the evaluate stage: means stand behind what they average
    return own[-1] if own else None


NOT_PUBLISHED = "/"
"""Stands where the paper gives no score, as in its own tables."""


@dataclass
class TableCell:
    """Ours beside the paper's, percent."""

    address: str
    """SWEEP/POINT/COLUMN; empty in a row of another method, where nothing is ours."""
    ours: Cell
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
        return None if self.ours.mean is None else float(f"{100 * self.ours.mean:.1f}")

    @property
    def text(self) -> str:
        """Mean and deviation; empty if there is no score."""
        if self.printed is None:
            return ""
        std = "" if self.ours.std is None else f" ± {100 * self.ours.std:.1f}"
        return f"{self.printed:.1f}{std}"

    @property
    def count(self) -> str:
        """How many seeds a mean is over, where it is not over all."""
        num = len(self.ours.scores)
        return f"{num} of {self.num_seeds} seeds" if 0 < num < self.num_seeds else ""

    @property
    def published_text(self) -> str:
        """As the paper prints it."""
        return NOT_PUBLISHED if self.published is None else f"{self.published:.1f}"


@dataclass
class Line:
    """A row of a table."""

    point: str
    """Empty: another method."""
    label: str
    group: str
    cells: list[TableCell]


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
        heads = groupby(column.head for column in self.columns.values())
        return [(head, len(list(below))) for head, below in heads]

    @property
    def reasons(self) -> set[int]:
        """Numbers of the reasons why any of its cells is missing."""
        return {cell.reason for line in self.lines for cell in line.cells} - {0}


@dataclass(frozen=True)
class Grids:
    """All tables of a sweep."""

    tables: list[Grid]
    reasons: list[tuple[int, str, list[str]]]
    """Why cells are missing: (number from 1, reason, addresses of the cells it holds for)."""

    @property
    def cells(self) -> list[TableCell]:
        """Cells of the points."""
        lines = [line for table in self.tables for line in table.lines]
        return [cell for line in lines for cell in line.cells if cell.address]

    @property
    def num_missing(self) -> int:
        """Cells without a score."""
        return sum(not cell.text for cell in self.cells)

    @property
    def num_partial(self) -> int:
        """Cells with scores of some seeds only."""
        return sum(bool(cell.count) for cell in self.cells)

    @property
    def legend(self) -> str:
        """What the marks mean; only of those that occur."""
        parts = ["Percent; bold: the best of its column, separately for ours and the paper's"]
        if any(cell.ours.std is not None for cell in self.cells):
            parts.append("±: sample standard deviation over seeds (n - 1)")
        if self.num_partial:
            parts.append("n of m seeds: the other seeds have no score")
        if any(cell.published is None for cell in self.cells):
            parts.append(f"{NOT_PUBLISHED}: not given by the paper")
        return "; ".join(parts) + "."

    @property
    def missing(self) -> str:
        """How many cells have no score, or not all of them."""
        total = len(self.cells)
        if not self.num_missing and not self.num_partial:
            return f"All {total} cells have the scores of all seeds."
        text = f"Missing: {self.num_missing} of {total} cells."
        if self.num_partial:
            text += f" Cells that lack the scores of some seeds: {self.num_partial}."
        return text


def build_grids(name: str, *, sweep: SweepConfig, cells: Cells) -> Grids:
    """Build the tables in the order of the sweep; a cell that is not among `cells` has not run."""
    known = {(point, column) for point in sweep.points for column in sweep.list_columns(point)}
    assert known >= set(cells), f"no cells of {name}: {sorted(set(cells) - known)}"
    reasons: dict[str, list[str]] = {}
    tables = []
    for key, table in sweep.tables.items():
        rows: list[tuple[str, ReferenceConfig | PointConfig]]
        rows = [("", row) for row in table.references]
        rows += sweep.list_points(key).items()
        lines = []
        for point, row in rows:
            line = Line(point, row.label, row.group, [])
            for column in table.columns:
                address = f"{name}/{point}/{column}" if point else ""
                ours = cells.get((point, column), NOT_RUN) if point else Cell()
                num_seeds = len(sweep.seeds) or 1 if point else 0
                cell = TableCell(address, ours, row.published.get(column), num_seeds)
                if len(ours.scores) < num_seeds:
                    text = ours.missing or NOT_RUN.missing
                    reasons.setdefault(text, []).append(address)
                    cell.reason = list(reasons).index(text) + 1
                line.cells.append(cell)
            lines.append(line)
        _mark_best(lines)
        tables.append(Grid(key, table.title, table.note, table.columns, lines))
    return Grids(tables, [(i, *found) for i, found in enumerate(reasons.items(), start=1)])


def _mark_best(lines: list[Line]) -> None:
    """Mark the best of each column as printed, so that ties share it; one score is not the best."""
    for column in zip(*(line.cells for line in lines), strict=True):
        best = _find_best([cell.printed for cell in column])
        best_published = _find_best([cell.published for cell in column])
        for cell in column:
            cell.best = best is not None and cell.printed == best
            cell.best_published = best_published is not None and cell.published == best_published


def _find_best(values: list[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return max(found) if len(found) > 1 else None
