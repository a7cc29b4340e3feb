"""Cells of a sweep's tables: scores over seeds, or the reason why there is none."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vills.config.sweep import ColumnConfig
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


def pick_score(rows: Sequence[Row], column: ColumnConfig) -> float | None:
    """Return a column's share among the rows of results.json; none if it has none.

    Without re-ranking; where splits or galleries are averaged, their mean.
    """
    row = _pick_row(rows, column)
    value = None if row is None else row.get(column.metric)
    return value if isinstance(value, float) and math.isfinite(value) else None


def explain_absence(rows: Sequence[Row], column: ColumnConfig) -> str:
    """Say why `pick_score` finds none."""
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
        return f"{column.metric}: so few impostor pairs cannot show it"
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
    # as pick_headlines of the evaluate stage: means stand behind what they average
    return own[-1] if own else None
