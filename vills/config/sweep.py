"""A sweep: points of the parameter space, and the tables that their scores fill.

It is read from sweeps/NAME.yaml, or a file of one's own, through Hydra's compose API. A cell is
addressed SWEEP/POINT/COLUMN; the keys of points and columns are its parts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

from vills.config.checks import (
    LINE,
    ConfigError,
    Length,
    Limits,
    Line,
    Name,
    Seed,
    Text,
    Words,
    build_error,
    check_choice,
    check_fields,
    check_name,
)
from vills.config.compose import Schema
from vills.config.params import Params
from vills.config.protocols import PROTOCOLS

METRIC = Words(
    r"mAP|mINP|R-[1-9]\d{0,5}|TAR@\d[\d.e-]*|minus_scratch_(mAP|R-1)",
    "mAP, mINP, R-k such as R-1, TAR@x such as TAR@0.001, minus_scratch_mAP",
    40,
    may_be_empty=False,
)
Title = Annotated[str, replace(LINE, may_be_empty=False, pattern=r"(?=.*\S)" + LINE.pattern)]
Score = Annotated[float, Limits(0, 100)]
Overrides = Annotated[list[Line], Length(0, 1000)]
_MEND = "correct it in the sweep's file, or override it"


@dataclass
class ColumnConfig:
    """One score of one data set."""

    head: Title
    """Data set, as the paper prints it."""
    evaluate: Name
    """Entry of `evaluate` in params.yaml that scores it; if it is missing, so are the cells."""
    protocol: Annotated[str, PROTOCOLS]
    """Protocol of its row in results.json; docs/protocols.md describes each."""
    metric: Annotated[str, METRIC]
    """Column of results.json: mAP, mINP, R-1, TAR@0.001 (a share), minus_scratch_mAP."""
    row: Title = "finetuned"
    """Model of results.json: finetuned starts from the point's own pre-training."""
    label: Line = ""
    """The metric as the paper prints it; empty: its name."""

    def __post_init__(self) -> None:
        self.label = self.label or self.metric
        check_fields("columns.*", self, remedy=_MEND)

    @property
    def is_difference(self) -> bool:
        """Whether its score is a difference of two models' shares, which may be negative."""
        return self.metric.startswith("minus_scratch_")


@dataclass
class ReferenceConfig:
    """A row of another published method."""

    label: Title
    """The method, as the paper prints it."""
    group: Line = ""
    """Rows of one group stand together."""
    published: Annotated[dict[Name, Score], Length(0, 200)] = field(default_factory=dict)
    """Column -> score, percent; what the paper does not give is left out."""

    def __post_init__(self) -> None:
        check_fields("references", self, remedy=_MEND)


@dataclass
class TableConfig:
    """A table of the paper: a row per point."""

    title: Title
    """Number and name."""
    columns: Annotated[dict[Name, ColumnConfig], Length(1, 200)]
    """Scores, from left to right; columns of a sweep have different keys."""
    references: Annotated[list[ReferenceConfig], Length(0, 200)] = field(default_factory=list)
    """Rows of other methods, above the points."""
    note: Text = ""
    """What a reader must know to compare; printed below the table."""

    def __post_init__(self) -> None:
        check_fields("tables.*", self, remedy=_MEND)
        for row in self.references:
            name = f"published of reference {row.label!r}"
            _check_published(name, row.published, self.columns)


@dataclass
class PointConfig:
    """One pre-training with all that follows from it: a row of the tables."""

    label: Title
    """The row, as the paper prints it; L^m, λ2 and |A| are set as symbols."""
    group: Line = ""
    """Rows of one group stand together, and are one panel of the trend plot."""
    x: Annotated[float | None, Limits(-1e9, 1e9)] = None
    """Position in the trend plot; none: not in it."""
    overrides: Overrides = field(default_factory=list)
    """Hydra overrides of the parameters, after those of the sweep."""
    published: Annotated[dict[Name, Score], Length(0, 200)] = field(default_factory=dict)
    """Column -> the paper's score, percent; what the paper does not give is left out."""
    tables: Annotated[list[Name], Length(0, 100)] = field(default_factory=list)
    """Tables in which it is a row; []: all."""

    def __post_init__(self) -> None:
        check_fields("points.*", self, remedy=_MEND)


@dataclass
class SweepConfig:
    """Points and tables."""

    title: Text
    """What is varied."""
    command: Text
    """How it is launched."""
    cost: Text
    """Its cost at the paper's scale."""
    tables: Annotated[dict[Name, TableConfig], Length(1, 100)]
    """Tables by key."""
    points: Annotated[dict[Name, PointConfig], Length(1, 10000)]
    """Points by key, in the order of the rows."""
    seeds: Annotated[list[Seed], Length(0, 1000)] = field(default_factory=list)
    """Seeds that every point is run with; []: params.yaml's own."""
    overrides: Overrides = field(default_factory=list)
    """Hydra overrides of the parameters that all points share."""

    def __post_init__(self) -> None:
        check_fields("", self, remedy=_MEND)
        if len(set(self.seeds)) != len(self.seeds):
            allowed = "each seed at most once, since the same seed is the same run"
            raise build_error("seeds", list(self.seeds), allowed, "remove repeats")
        self._check_columns()
        self._check_points()

    @property
    def columns(self) -> dict[str, ColumnConfig]:
        """Columns of all tables."""
        return {key: col for table in self.tables.values() for key, col in table.columns.items()}

    def list_points(self, table: str) -> dict[str, PointConfig]:
        """Rows of a table."""
        return {n: p for n, p in self.points.items() if not p.tables or table in p.tables}

    def list_columns(self, point: str) -> dict[str, ColumnConfig]:
        """Columns in which a point has a cell."""
        chosen = self.points[point].tables or list(self.tables)
        return {key: col for table in chosen for key, col in self.tables[table].columns.items()}

    def list_evaluations(self, point: str) -> list[str]:
        """Entries of params.evaluate that a point's cells need."""
        return list(dict.fromkeys(col.evaluate for col in self.list_columns(point).values()))

    def _check_columns(self) -> None:
        owners: dict[str, str] = {}
        for name, table in self.tables.items():
            for key in table.columns:
                owner = owners.setdefault(key, name)
                if owner != name:
                    when = f"since tables.{owner} has it too, and SWEEP/POINT/COLUMN names a cell"
                    allowed, remedy = "keys that no other table has", "rename one of them"
                    raise build_error(f"tables.{name}.columns key", key, allowed, remedy, when=when)

    def _check_points(self) -> None:
        owners: dict[tuple[str, ...], str] = {}
        for name, point in self.points.items():
            for table in point.tables:
                check_choice(f"points.{name}.tables entry", table, self.tables, _MEND)
            _check_published(f"points.{name}.published", point.published, self.list_columns(name))
        for name, point in self.points.items():
            owner = owners.setdefault(tuple(sorted(point.overrides)), name)
            if owner != name:
                field, when = f"points.{name}.overrides", f"since points.{owner} has the same"
                allowed, remedy = "points that differ", "change one, or remove it"
                raise build_error(field, list(point.overrides), allowed, remedy, when=when)


_SCHEMA = Schema(
    name="sweep_schema",
    kind=SweepConfig,
    noun="field of a sweep",
    tables="tables and points",
)
SWEEP_KEYS = tuple(field.name for field in fields(SweepConfig))
PARAMS_KEYS = ("profile", *(field.name for field in fields(Params)))
"""First parts of overrides: the sweep's, and the parameters'."""


def load_sweep(name: str, *, folder: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep with Hydra `overrides` of its own fields, as `parse_overrides` finds, on top.

    It is one of `folder`, the project's sweeps/, or the path of a file, ending in .yaml; the
    defaults of such a file may name a sweep of `folder`, which it then changes.

    Raises:
        ConfigError: if there is no such sweep, or a key, a type or a range is refused.
    """
    path = find_sweep(name, folder=folder)
    check_name("name of the sweep", path.stem, "give the file another name")
    search = [folder] if folder.is_dir() and folder.resolve() != path.parent.resolve() else []
    return _SCHEMA.load(
        path.parent, name=path.stem, overrides=overrides, origin=path.name, search=search
    )


def find_sweep(name: str, *, folder: Path) -> Path:
    """File of a sweep; its stem is the sweep's name in addresses of cells.

    Raises:
        ConfigError: listing the sweeps that there are.
    """
    is_path = name.endswith(".yaml")
    path = Path(name) if is_path else folder / f"{name}.yaml"
    if path.is_file() and (is_path or name in list_sweeps(folder)):
        return path
    allowed = f"{', '.join(list_sweeps(folder)) or 'none'} (in {folder}), or the path of a file of "
    remedy = "choose one of them; sweeps/README.md shows how to write your own"
    raise build_error("sweep", name, f"{allowed}your own, ending in .yaml", remedy)


def list_sweeps(folder: Path) -> list[str]:
    """Names of the sweeps in a folder, without parts that they share."""
    return sorted(p.stem for p in folder.glob("*.yaml") if not p.stem.startswith("_"))


def parse_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of the sweep, and those of the parameters (profile=... among them).

    Raises:
        ConfigError: if the first part of a key is neither's.
    """
    split: tuple[list[str], list[str]] = ([], [])
    for override in overrides:
        key = re.match(r"[~+]*([^.=@]*)", override)
        first = key[1] if key else ""
        if first not in (*SWEEP_KEYS, *PARAMS_KEYS):
            raise ConfigError(
                f"override {override!r} is not allowed. Allowed: keys of the sweep "
                f"({', '.join(SWEEP_KEYS)}) and of the parameters ({', '.join(PARAMS_KEYS)}). "
                "What to do: write seeds=[0,1] or pretrain.epochs=10, for example."
            )
        split[first in PARAMS_KEYS].append(override)
    return split


def _check_published(
    name: str, published: Mapping[str, float], columns: Mapping[str, object]
) -> None:
    for key in published:
        check_choice(f"{name} key", key, columns, _MEND)
