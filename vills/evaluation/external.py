"""Score features that someone else extracted: no model, no pixels, the same protocols.

Legend: n entries, D feature width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vills.config.protocols import check_layout
from vills.data.layouts import Layout
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries, TestData
from vills.evaluation.feature_table import FeatureFileError, FeatureTable, list_names
from vills.evaluation.layout_files import LayoutFiles
from vills.evaluation.matched_features import MatchedFeatures
from vills.evaluation.protocols import PROTOCOLS
from vills.evaluation.protocols.base import (
    FeatureChoice,
    Protocol,
    ProtocolResult,
    ProtocolSettings,
)
from vills.evaluation.result_files import save_json
from vills.evaluation.rows import Row, arrange_rows

SIGSET = "sigset"
SCALED = ("mAP", "mINP", "R-")
"""Beginnings of the names of scores that misses lower."""


@dataclass
class ExternalReport:
    """Scores, and what became of the rows of the file."""

    num_features: int
    rows: list[Row] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Paths that are no image or tracklet of the test splits: those of train, for one."""
    num_unused: int = 0
    """Rows of the test splits that no protocol asked for, such as those of junk."""
    notes: list[str] = field(default_factory=list)
    """What the reader of the layout passed over or found odd, and which features were missing."""

    def format(self) -> str:
        """Return lines for the terminal."""
        lines = [f"{self.num_features:,} features in the file"]
        if self.unknown:
            lines.append(
                f"{len(self.unknown):,} of them are of nothing in the test splits (of train, or of "
                f"no file of the data set), first {self.unknown[0]}"
            )
        if self.num_unused:
            lines.append(f"{self.num_unused:,} of them no protocol asked for (such as junk)")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


class MissingFeatureError(FeatureFileError):
    """Entries that a protocol needs have no feature."""


@dataclass
class _Asker:
    """What a protocol calls for features; gathers what the file lacks."""

    data: TestData
    model: MatchedFeatures
    takes_nan: bool
    """Whether the protocol itself counts what has no feature as a miss (sigset)."""
    query: list[tuple[str, int]] = field(default_factory=list)
    """Keys of queries without a feature."""
    gallery: list[tuple[str, int]] = field(default_factory=list)
    num_asked: int = 0
    num_queries: int = 0

    def __post_init__(self) -> None:
        self._queries = set(self.data.query.ids)

    @property
    def num_gallery(self) -> int:
        """Gallery entries that were asked for."""
        return self.num_asked - self.num_queries

    @property
    def has_both_sides(self) -> bool:
        """Whether a query and a gallery entry are left to be ranked."""
        return len(self.query) < self.num_queries and len(self.gallery) < self.num_gallery

    def compute(self, entries: Entries, choice: FeatureChoice) -> FloatArray:
        """Return features; NaN, or zeros that are never ranked, for what has none.

        Raises:
            MissingFeatureError: at a gallery, when both sides are known and nothing is ranked yet.
        """
        features = self.model.compute(entries, choice)
        missing = np.isnan(features).all(axis=1)
        keys = entries.take(np.flatnonzero(missing)).keys
        self.num_asked += len(entries)
        if self.takes_nan:
            self.num_queries += sum(name in self._queries for name in entries.ids)
            self.query += [key for key in keys if key[0] in self._queries]
            self.gallery += [key for key in keys if key[0] not in self._queries]
            return features
        features[missing] = 0.0
        if self._queries.issuperset(entries.ids):
            self.num_queries += len(entries)
            self.query += keys
        else:
            self.gallery += keys
            if self.query or self.gallery:
                raise MissingFeatureError("not all entries have a feature")
        return features


def score_external(
    table: FeatureTable,
    *,
    layout: Layout,
    protocols: Sequence[str],
    settings: ProtocolSettings,
    name: str,
    split_ids: Sequence[int] = (0,),
    normalise_frames: bool = False,
    allow_missing: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> ExternalReport:
    """Score a feature file under protocols.

    Args:
        table: the file's content.
        layout: labels of the data set.
        protocols: keys of PROTOCOLS.
        settings: distance, AP and all else that a user may override.
        name: of the row.
        split_ids: which official splits, for data sets that have several.
        normalise_frames: scale the features of frames to norm 1 before they are pooled.
        allow_missing: count a query without a feature as a miss, leave a gallery entry without
            one out, and say how many.
        progress: told what is being scored.

    Raises:
        MissingFeatureError: entries without a feature, by name.
        FeatureFileError: rows that contradict each other or the data set.
        ConfigError: a protocol of another data set.
        ProtocolError: the data set has not what the protocol needs.
    """
    for key in protocols:
        check_layout("--protocol", key, layout.name)
    report = ExternalReport(len(table.paths), notes=list(layout.notes))
    report.notes += _note_zeros(table)
    used = np.zeros(len(table.paths), bool)
    known = np.zeros(len(table.paths), bool)
    for split_id in split_ids:
        files = LayoutFiles(layout, split_id=split_id)
        model = MatchedFeatures(table, files, normalise_frames=normalise_frames)
        for key in protocols:
            progress(f"{key}, split {split_id}" if layout.splits else key)
            scored, note = _score(PROTOCOLS[key], model, files, settings, allow_missing)
            report.rows += scored.build_rows(name)
            report.notes += [note] if note else []
        report.notes += [note for note in files.data.notes if note not in report.notes]
        used |= model.used
        known |= model.known
    report.rows = arrange_rows(report.rows, names=[name])
    report.unknown = [table.name(int(row)) for row in np.flatnonzero(~known)]
    report.num_unused = int((known & ~used).sum())
    return report


def save_report(path: Path, report: ExternalReport) -> None:
    """Write rows and counts as JSON; a score that does not exist is null."""
    content = {
        "rows": report.rows,
        "features": report.num_features,
        "unknown": len(report.unknown),
        "unused": report.num_unused,
        "notes": report.notes,
    }
    save_json(path, content)


def _note_zeros(table: FeatureTable) -> list[str]:
    """Note features without a direction: they are equally far (cosine) from everything."""
    rows = np.flatnonzero(~table.features.any(axis=1))
    names = list_names([table.name(int(row)) for row in rows])
    return [f"{len(rows):,} features are nothing but zeros: {names}"] if len(rows) else []


def _score(
    protocol: Protocol,
    model: MatchedFeatures,
    files: LayoutFiles,
    settings: ProtocolSettings,
    allow_missing: bool,
) -> tuple[ProtocolResult, str]:
    """Return the result, and a line on what was missing."""
    data = files.data
    model.num_pooled = 0
    asker = _Asker(data, model, takes_nan=protocol.name == SIGSET)
    try:
        result = protocol.run(asker.compute, data=data, settings=settings)
    except MissingFeatureError:
        result = None
    missing = _describe_missing(protocol, asker, files)
    if missing and not (allow_missing and asker.has_both_sides):
        raise MissingFeatureError(_refuse_missing(missing, model, files))
    missing_rows: Row = {"missing_queries": len(asker.query), "missing_gallery": len(asker.gallery)}
    num_misses = 0
    if result is None:
        data = replace(data, query=_drop(data.query, asker), gallery=_drop(data.gallery, asker))
        again = _Asker(data, model, takes_nan=False)
        result = protocol.run(again.compute, data=data, settings=settings)
        num_misses = asker.num_queries - again.num_queries
        num_left_out = asker.num_gallery - again.num_gallery
        missing_rows = {"missing_queries": num_misses, "missing_gallery": num_left_out}
    own: Row = {"neck": "-", "flip": "-"}
    if not model.num_pooled:
        own["pooling"] = "-"
    rows = tuple(_count_misses({**row, **own}, num_misses) for row in result.rows)
    if missing:
        rows = tuple({**row, **missing_rows} for row in rows)
    return replace(result, rows=rows), missing


def _drop(entries: Entries, asker: _Asker) -> Entries:
    """Drop the entries without a feature."""
    gone = {name for name, _ in (*asker.query, *asker.gallery)}
    return entries.take(np.flatnonzero([name not in gone for name in entries.ids]))


def _count_misses(row: Row, num: int) -> Row:
    """Count `num` more queries that find nothing; intervals, which do not know them, go."""
    valid, queries = row.get("valid_queries"), row.get("queries")
    if not num or not isinstance(valid, int) or not isinstance(queries, int):
        return row
    counted: Row = {}
    for key, value in row.items():
        if key.endswith(("_low", "_high")):
            continue
        scaled = isinstance(value, float) and key.startswith(SCALED)
        counted[key] = value * valid / (valid + num) if scaled else value  # type: ignore[operator]
    return counted | {"queries": queries + num, "valid_queries": valid + num}


def _describe_missing(protocol: Protocol, asker: _Asker, files: LayoutFiles) -> str:
    """Say which entries have no feature; empty if all have."""
    num = len(asker.query) + len(asker.gallery)
    if not num:
        return ""
    rows = {medium.record_id: row for row, medium in enumerate(files.media)}
    names = [files.name(rows[key], at) for key, at in (*asker.query, *asker.gallery)]
    return (
        f"{protocol.name}: {len(asker.query):,} query and {len(asker.gallery):,} gallery entries "
        f"of {asker.num_asked:,} have no feature: {list_names(names)}"
    )


def _refuse_missing(missing: str, model: MatchedFeatures, files: LayoutFiles) -> str:
    frames = (
        "Tracklets have a row for every one of their frames in this file. "
        if model.per_frame
        else "The file has one row per tracklet; image to video needs a row per frame of each "
        "query tracklet, or column frame. "
    )
    has_tracklets = any(medium.kind == "tracklet" for medium in files.media)
    return (
        f"{missing}. {frames if has_tracklets else ''}What to do: extract them too, or say "
        "--allow-missing: queries without a feature then count as misses and gallery entries "
        "without one are left out, and the row says how many."
    )
