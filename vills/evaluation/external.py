"""Score features that someone else extracted: no model, no pixels, the same protocols."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vills.config.protocols import check_layout
from vills.data.layouts import Layout
from vills.evaluation.feature_table import (
    FeatureFileError,
    FeatureTable,
    describe_directions,
    list_names,
)
from vills.evaluation.layout_files import LayoutFiles
from vills.evaluation.matched_features import MatchedFeatures
from vills.evaluation.protocols import PROTOCOLS, Protocol, ProtocolSettings
from vills.evaluation.protocols.base import ProtocolResult
from vills.evaluation.result_files import save_json
from vills.evaluation.rows import Row, build_rows
from vills.evaluation.tables import build_score_tables, describe_marks
from vills.evaluation.token_file import parse_choices, render_about

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
                f"{len(self.unknown):,} of them match nothing in the test splits (they are of "
                f"train, or of no file of the data set), first {self.unknown[0]}"
            )
        if self.num_unused:
            lines.append(f"{self.num_unused:,} of them are used by no protocol (such as junk)")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


class MissingFeatureError(FeatureFileError):
    """Entries that a protocol needs have no feature."""


def compute_external_scores(
    table: FeatureTable,
    *,
    layout: Layout,
    protocols: Sequence[str],
    settings: ProtocolSettings,
    name: str,
    split_ids: Sequence[int] = (0,),
    normalise_frames: bool = False,
    allow_missing: bool = False,
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

    Raises:
        MissingFeatureError: entries without a feature, by name.
        FeatureFileError: rows that contradict each other or the data set.
        ConfigError: a protocol of another data set.
        ProtocolError: the data set has not what the protocol needs.
    """
    for key in protocols:
        check_layout("--protocol", key, layout.name)
    settings = replace(settings, **parse_choices(table.about))
    about = filter(None, [render_about(table.about)])
    own = [*about, *layout.notes, *describe_directions(table)]
    report = ExternalReport(len(table.paths), notes=own)
    used, known = np.zeros((2, len(table.paths)), bool)
    for split_id in split_ids:
        files = LayoutFiles(layout, split_id=split_id)
        model = MatchedFeatures(table, files, normalise_frames=normalise_frames)
        for key in protocols:
            scored, note = _score(PROTOCOLS[key], model, settings, allow_missing)
            report.rows += scored.build_rows(name)
            report.notes += [note] if note else []
        notes = (*model.notes, *files.data.notes)
        report.notes += [note for note in notes if note not in report.notes]
        used |= model.used
        known |= model.known
    report.rows = build_rows(report.rows, names=[name])
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
        "marks": describe_marks(build_score_tables(report.rows)),
    }
    save_json(path, content)


def _score(
    protocol: Protocol, model: MatchedFeatures, settings: ProtocolSettings, allow_missing: bool
) -> tuple[ProtocolResult, str]:
    """Return the result, and a line on what was missing."""
    files, model.num_pooled = model.files, 0
    data = files.data
    asked = protocol.select(data, settings)
    result = None
    if protocol.name == SIGSET:  # counts by itself what has no feature
        result = protocol.run(model.compute, data=data, settings=settings)
    choice = protocol.resolve(settings).feature
    lost = [model.find_lost(side, choice) for side in (asked.query, asked.gallery)]
    own: Row = {key: "-" for key in ("neck", "flip") if getattr(settings, key) is None}
    note, num_misses = "", 0
    if any(lost):
        note = (
            f"{protocol.name}: {len(lost[0]):,} query and {len(lost[1]):,} gallery entries of "
            f"{len(asked.query) + len(asked.gallery):,} have no feature: "
            f"{list_names([files.name(files.rows[name], at) for name, at in lost[0] + lost[1]])}"
        )
        none_left = len(lost[0]) == len(asked.query) or len(lost[1]) == len(asked.gallery)
        if none_left or not allow_missing:
            raise MissingFeatureError(_refuse_missing(note, model))
        num_left_out = len(lost[1])
        if result is None:
            gone = [name for name, _ in lost[0] + lost[1]]
            query, gallery = (
                side.take(np.flatnonzero(~np.isin(side.ids, gone)))
                for side in (data.query, data.gallery)
            )
            data = replace(data, query=query, gallery=gallery)
            left = protocol.select(data, settings)
            num_misses = len(asked.query) - len(left.query)
            num_left_out = len(asked.gallery) - len(left.gallery)
        own |= {"missing_queries": num_misses or len(lost[0]), "missing_gallery": num_left_out}
    if result is None:
        result = protocol.run(model.compute, data=data, settings=settings)
    if not model.num_pooled:
        own["pooling"] = "-"
    rows = tuple(_count_misses({**row, **own}, num_misses) for row in result.rows)
    return replace(result, rows=rows), note


def _count_misses(row: Row, num: int) -> Row:
    """Count `num` more queries that find nothing; intervals and people do not know them and go."""
    valid, queries = row.get("valid_queries"), row.get("queries")
    if not num or not isinstance(valid, int) or not isinstance(queries, int):
        return row
    counted: Row = {}
    for key, value in row.items():
        if key.endswith(("_low", "_high")) or key == "people":
            continue
        scaled = isinstance(value, float) and key.startswith(SCALED)
        counted[key] = value * valid / (valid + num) if scaled else value
    return counted | {"queries": queries + num, "valid_queries": valid + num}


def _refuse_missing(missing: str, model: MatchedFeatures) -> str:
    frames = (
        "Tracklets have a row for every one of their frames in this file. "
        if model.per_frame
        else "The file has one row per tracklet; image to video needs a row per frame of each "
        "query tracklet, or column frame. "
    )
    has_tracklets = any(medium.kind == "tracklet" for medium in model.files.media)
    return (
        f"{missing}. {frames if has_tracklets else ''}{model.describe_namesake()}What to do: "
        "extract them too, or give --allow-missing: queries without a feature then count as "
        "misses, gallery entries without one are left out, and the row says how many."
    )
