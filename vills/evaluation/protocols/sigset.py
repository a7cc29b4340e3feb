"""A BRIAR-style sigset: probes search galleries of subjects, each described by many media.

Closed-set identification counts a probe if its subject is in the gallery; verification takes every
pair of a probe and a gallery template. Each gallery is scored apart, then their mean. Data of BRIAR
itself are not public; their format is (ORNL/briar-api), with two galleries.

Legend: P probes, G templates of a gallery, n templates of either, m records, D feature width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vills.data.records import find_counted, find_people
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries, TestData
from vills.evaluation.metrics import MISSED, QueryScores, RetrievalScores, compute_tar_at_far
from vills.evaluation.protocols.base import (
    Choices,
    ComputeFeatures,
    Protocol,
    ProtocolError,
    ProtocolResult,
    ProtocolSettings,
    Selection,
    compute_checked,
    compute_rank_scores,
)
from vills.evaluation.ranking import IntArray, Labels, RankedList, compute_ranking, find_no_junk
from vills.evaluation.rerank import build_distance
from vills.evaluation.rows import Row, compute_mean_row, list_families

PROBE = "probe"
"""Group of the query."""


@dataclass(frozen=True, slots=True)
class Templates:
    """One group, the probes or a gallery; each is several images and tracklets of one subject."""

    group: str
    pids: IntArray
    """[n]. Of probes people alone, of a gallery distractors too."""
    members: tuple[IntArray, ...]
    """Rows of each template's records, ascending; empty if all its media were lost."""
    num_left_out: int
    """Templates of the group that take no part: junk, and probes of nobody."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """The usable templates of a group."""

    templates: Templates
    rows: IntArray
    """Those that have a feature, ascending, [n]."""
    features: FloatArray
    """Their features, [n, D]."""

    def take_first(self, records: Entries) -> Entries:
        """Return the first image or tracklet of each, which stands for it where lists are shown."""
        first = [self.templates.members[row][0] for row in self.rows]
        return records.take(np.array(first, dtype=np.int64))


@dataclass(frozen=True)
class SigsetProtocol(Protocol):
    """Rank-k over subjects and TAR at FAR, per gallery."""

    def run(
        self,
        compute_features: ComputeFeatures,
        *,
        data: TestData,
        settings: ProtocolSettings,
        top_k: int = 0,
    ) -> ProtocolResult:
        """See `Protocol.run`; the lists are those of the first gallery."""
        probes, galleries, records = load_templates(data)
        choices = self.resolve(settings)
        choice = replace(choices.feature, modalities=records.modalities)
        features = compute_checked(
            compute_features, records, choice, part="template", allow_missing=True
        )
        query = _pool(probes, features, "probe")
        searched = [_pool(own, features, f"template of {own.group}") for own in galleries]
        head = self.build_head(choices)
        rows: list[Row] = []
        queries: list[QueryScores | None] = []
        lists: Sequence[RankedList] = ()
        for rerank in (False, True)[: 1 + settings.rerank]:
            group_rows = []
            for gallery in searched:
                shown = gallery is searched[0] and not rerank
                scored = _search(
                    query, gallery, choices, rerank=rerank, top_k=top_k if shown else 0
                )
                lists = scored.lists if shown else lists
                group: Row = {
                    "rerank": "on" if rerank else "off",
                    "gallery_group": gallery.templates.group,
                }
                group_rows.append(head | group | scored.row)
                queries.append(scored.queries)
            means = _average_groups(group_rows)
            rows += [*group_rows, *means]
            queries += [None] * len(means)
        return ProtocolResult(
            self.name,
            tuple(rows),
            query.take_first(records),
            searched[0].take_first(records),
            lists,
            data.split,
            tuple(queries),
        )

    def select(self, data: TestData, settings: ProtocolSettings) -> Selection:
        """See `Protocol.select`: the data lack templates, or records of theirs."""
        _, _, records = load_templates(data)
        asks = np.isin(records.ids, data.query.ids)
        query, gallery = (records.take(np.flatnonzero(side)) for side in (asks, ~asks))
        return Selection(query, gallery)


def _search(
    query: Pooled, gallery: Pooled, choices: Choices, *, rerank: bool, top_k: int
) -> RetrievalScores:
    """Score one gallery; lists name its usable templates."""
    probes, templates = query.templates, gallery.templates
    size = choices.settings.block_size
    distance = build_distance(
        query.features,
        gallery.features,
        metric=choices.distance,
        rerank=rerank,
        block_size=size,
    )
    ranking = compute_ranking(
        distance,
        query=Labels(probes.pids[query.rows]),
        gallery=Labels(templates.pids[gallery.rows]),
        block_size=size,
        junk_rule=find_no_junk,
        top_k=top_k,
    )
    # a failed probe, or one whose template failed, is a miss
    enrolled = np.isin(probes.pids, templates.pids)
    hits = [np.array([MISSED] if known else [], dtype=np.int64) for known in enrolled]
    for place, ranks in zip(query.rows.tolist(), ranking.hit_ranks, strict=True):
        hits[place] = ranks if len(ranks) else hits[place]
    scores = compute_rank_scores(
        hits,
        pids=probes.pids,
        num_gallery=len(templates.pids),
        choices=choices,
        where=f"gallery {templates.group}",
    )
    # verification: every pair of a probe and a template
    similarity = np.full((len(probes.pids), len(templates.pids)), np.nan)
    similarity[np.ix_(query.rows, gallery.rows)] = -distance.compute_block(0, distance.num_queries)
    same = probes.pids[:, None] == templates.pids[None]
    pairs = compute_tar_at_far(similarity[same], similarity[~same], choices.settings.fars)
    lost = {
        "skipped_queries": probes.num_left_out,
        "failed_probes": len(probes.pids) - len(query.rows),
        "failed_templates": len(templates.pids) - len(gallery.rows),
    }
    row = scores.row | pairs | {key: num for key, num in lost.items() if num}
    return replace(scores, row=row, lists=ranking.lists)


def _pool(templates: Templates, features: FloatArray, name: str) -> Pooled:
    """Pool features [m, D] of records: the mean of the members' L2-normalised ones.

    Members without a feature (NaN) are passed over, and so are templates with none left.

    Raises:
        ProtocolError: no template has a feature.
    """
    norms = np.sqrt(np.square(features.astype(np.float64)).sum(axis=1, keepdims=True))
    units = features / np.where(norms > 0, norms, 1.0)  # NaN norms stay NaN
    known = np.flatnonzero(~np.isnan(units).any(axis=1))
    members = [rows[np.isin(rows, known)] for rows in templates.members]
    usable = [row for row, own in enumerate(members) if len(own)]
    if not usable:
        raise ProtocolError(
            f"no {name} has a feature: all enrolments failed. What to do: check the features, and "
            "the media that curation has kept."
        )
    pooled = np.stack([units[members[row]].mean(axis=0) for row in usable])
    return Pooled(templates, np.array(usable, dtype=np.int64), pooled)


def _average_groups(rows: Sequence[Row]) -> list[Row]:
    """Build a mean row for each family of galleries: gallery_1 and gallery_2, ..."""
    means = []
    for name, members in list_families([str(row["gallery_group"]) for row in rows]).items():
        own = [{**row, "gallery_group": ""} for row in rows if row["gallery_group"] in members]
        means.append({**compute_mean_row(own), "gallery_group": name})
    return means


def load_templates(data: TestData) -> tuple[Templates, list[Templates], Entries]:
    """Load probes, galleries in the order of their names, and the records of both.

    Raises:
        ProtocolError: no templates, no probe, no gallery, or a member that is not in the data.
    """
    if data.templates is None or data.templates.num_rows == 0:
        raise ProtocolError(
            "protocol 'sigset' needs templates, but this data set has none (entries.parquet). "
            "What to do: use layout = sigset for the source, or other protocols."
        )
    records, where = _find_records(data)
    rows = data.templates.select(["group", "pid", "record_ids"]).to_pylist()
    groups = sorted({row["group"] for row in rows})
    by_group = {
        group: _build_group(group, [row for row in rows if row["group"] == group], where)
        for group in groups
    }
    probes = by_group.pop(PROBE, None)
    if probes is None or not by_group:
        raise ProtocolError(
            f"protocol 'sigset' needs a group {PROBE!r} and a gallery; the templates have "
            f"{', '.join(groups)}. What to do: check the names of the sigset files (probe..., "
            "gallery...)."
        )
    return probes, list(by_group.values()), records


def _find_records(data: TestData) -> tuple[Entries, dict[str, int]]:
    """Find the records of all templates, each once, and the row of each."""
    assert data.templates is not None
    wanted = {name for names in data.templates.column("record_ids").to_pylist() for name in names}
    joined = data.query.join(data.gallery)
    ids = joined.ids
    rows = np.array([row for row, name in enumerate(ids) if name in wanted], dtype=np.int64)
    records = joined.take(rows)
    where = {name: row for row, name in enumerate(records.ids)}
    missing = sorted(wanted - where.keys())
    if missing:
        raise ProtocolError(
            f"{len(missing)} members of templates are neither in query nor in gallery, first "
            f"{missing[0]!r}. What to do: run the curate stage again."
        )
    return records, where


def _build_group(group: str, rows: Sequence[dict[str, Any]], where: dict[str, int]) -> Templates:
    pids = np.array([row["pid"] for row in rows], dtype=np.int64)
    kept = np.flatnonzero(find_people(pids) if group == PROBE else find_counted(pids))
    members = (sorted(where[name] for name in rows[row]["record_ids"]) for row in kept.tolist())
    arrays = tuple(np.array(own, dtype=np.int64) for own in members)
    return Templates(group, pids[kept], arrays, len(rows) - len(kept))
