"""A BRIAR-style sigset: probes search galleries of subjects, each described by many media.

Closed-set identification counts a probe if its subject is in the gallery; verification takes every
pair of a probe and a gallery template. Each gallery is scored apart, then their mean. Data of BRIAR
itself are not public; their format is (ORNL/briar-api), with two galleries.

Legend: P probes, G templates of a gallery, n templates of either, m records, D feature width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from vills.data.records import find_counted, find_people
from vills.evaluation.distance import FloatArray, Matrix
from vills.evaluation.entries import Entries, TestData
from vills.evaluation.metrics import MISSED, QueryScores, compute_tar_at_far
from vills.evaluation.protocols.base import (
    Choices,
    ComputeFeatures,
    Protocol,
    ProtocolError,
    ProtocolResult,
    ProtocolSettings,
    Scored,
)
from vills.evaluation.protocols.search import compute_checked, rank_features, score_ranks
from vills.evaluation.ranking import IntArray, Labels, RankedList, no_junk
from vills.evaluation.rows import Row, average_rows, name_families

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

    @property
    def first_records(self) -> IntArray:
        """Row of each template's first record, [n]; -1 if it has none."""
        return np.array([rows[0] if len(rows) else -1 for rows in self.members], dtype=np.int64)

    def pool(self, features: FloatArray) -> FloatArray:
        """Pool features [m, D] of records to [n, D]: the mean of the members' L2-normalised ones.

        Members without a feature (NaN) are passed over; a template with none left is NaN.
        """
        norms = np.sqrt(np.square(features.astype(np.float64)).sum(axis=1, keepdims=True))
        units = features / np.where(norms > 0, norms, 1.0)  # NaN norms stay NaN
        pooled = np.full((len(self.members), features.shape[1]), np.nan)
        for number, rows in enumerate(self.members):
            found = units[rows][~np.isnan(units[rows]).any(axis=1)]
            if len(found):
                pooled[number] = found.mean(axis=0)
        return pooled.astype(np.float32)


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
        head: Row = {"title": self.build_title(*choices.changed), **choices.build_row()}
        rows: list[Row] = []
        queries: list[QueryScores | None] = []
        shown: tuple[IntArray, IntArray, Sequence[RankedList]] | None = None
        for rerank in (False, True)[: 1 + settings.rerank]:
            group_rows = []
            for gallery in galleries:
                scored, probe_rows, gallery_rows = _search(
                    probes,
                    gallery,
                    features,
                    choices,
                    settings,
                    rerank=rerank,
                    top_k=top_k if shown is None else 0,
                )
                shown = shown or (probe_rows, gallery_rows, scored.lists)
                own: Row = {"rerank": "on" if rerank else "off", "gallery_group": gallery.group}
                group_rows.append(head | own | scored.row)
                queries.append(scored.queries)
            means = _average_groups(group_rows)
            rows += [*group_rows, *means]
            queries += [None] * len(means)
        assert shown is not None
        return ProtocolResult(
            self.name,
            tuple(rows),
            records.take(probes.first_records[shown[0]]),
            records.take(galleries[0].first_records[shown[1]]),
            shown[2],
            data.split,
            tuple(queries),
        )

    def check(self, data: TestData, settings: ProtocolSettings) -> None:
        """See `Protocol.check`."""
        load_templates(data)


def _search(
    probes: Templates,
    gallery: Templates,
    features: FloatArray,
    choices: Choices,
    settings: ProtocolSettings,
    *,
    rerank: bool,
    top_k: int,
) -> tuple[Scored, IntArray, IntArray]:
    """Score one gallery; return the rows of usable probes and templates too, which lists name."""
    probe_rows, query = _pool_usable(probes, features, "probe")
    rows, found = _pool_usable(gallery, features, f"template of {gallery.group}")
    distance, ranking = rank_features(
        query,
        found,
        query=Labels(probes.pids[probe_rows]),
        gallery=Labels(gallery.pids[rows]),
        junk_rule=no_junk,
        choices=choices,
        settings=settings,
        rerank=rerank,
        top_k=top_k,
    )
    # a failed probe, or one whose template failed, is a miss
    enrolled = np.isin(probes.pids, gallery.pids)
    hits = [np.array([MISSED] if known else [], dtype=np.int64) for known in enrolled]
    for place, ranks in zip(probe_rows.tolist(), ranking.hit_ranks, strict=True):
        hits[place] = ranks if len(ranks) else hits[place]
    scores = score_ranks(
        hits,
        pids=probes.pids,
        num_gallery=len(gallery.pids),
        choices=choices,
        settings=settings,
        where=f"gallery {gallery.group}",
    )
    similarity = np.full((len(probes.pids), len(gallery.pids)), np.nan)
    similarity[np.ix_(probe_rows, rows)] = -distance.compute_block(0, distance.num_queries)
    lost = {
        "skipped_queries": probes.num_left_out,
        "failed_probes": len(probes.pids) - len(probe_rows),
        "failed_templates": len(gallery.pids) - len(rows),
    }
    row: Row = {**scores.build_row(), **_verify(probes, gallery, similarity, settings.fars)}
    row |= {key: num for key, num in lost.items() if num}
    return Scored(row, ranking.lists, scores.queries), probe_rows, rows


def _pool_usable(
    templates: Templates, features: FloatArray, name: str
) -> tuple[IntArray, FloatArray]:
    """Pool the templates; return the rows of those that have a feature, and these features."""
    pooled = templates.pool(features)
    rows = np.flatnonzero(np.isfinite(pooled).all(axis=1))
    if not len(rows):
        raise ProtocolError(
            f"no {name} has a feature: all enrolments failed. What to do: look at the "
            "features, and at what curation has kept of the media."
        )
    return rows, pooled[rows]


def _verify(
    probes: Templates, gallery: Templates, similarity: Matrix, fars: Sequence[float]
) -> Row:
    """Compute TAR at each FAR over all pairs of a probe and a template."""
    same = probes.pids[:, None] == gallery.pids[None]
    result = compute_tar_at_far(similarity[same], similarity[~same], fars)
    row: Row = {f"TAR@{far:g}": tar for far, tar in result.tars.items()}
    return row | {"genuine_pairs": result.num_genuine, "impostor_pairs": result.num_impostor}


def _average_groups(rows: Sequence[Row]) -> list[Row]:
    """Build a mean row for each family of galleries: gallery_1 and gallery_2, ..."""
    means = []
    for name, members in name_families([str(row["gallery_group"]) for row in rows]).items():
        own = [{**row, "gallery_group": ""} for row in rows if row["gallery_group"] in members]
        means.append({**average_rows(own), "gallery_group": name})
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
    table = data.templates.select(["group", "pid", "record_ids"])
    groups = sorted(set(table.column("group").to_pylist()))
    by_group = {group: _build_group(table, group, where) for group in groups}
    probes = by_group.pop(PROBE, None)
    if probes is None or not by_group:
        raise ProtocolError(
            f"protocol 'sigset' needs a group {PROBE!r} and a gallery; the templates have "
            f"{', '.join(groups)}. What to do: look at the sigset files' names (probe..., "
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


def _build_group(table: pa.Table, group: str, where: dict[str, int]) -> Templates:
    rows = [row for row in table.to_pylist() if row["group"] == group]
    pids = np.array([row["pid"] for row in rows], dtype=np.int64)
    kept = np.flatnonzero(find_people(pids) if group == PROBE else find_counted(pids))
    members = (sorted(where[name] for name in rows[row]["record_ids"]) for row in kept)
    arrays = tuple(np.array(own, dtype=np.int64) for own in members)
    return Templates(group, pids[kept], arrays, len(rows) - len(kept))


PROTOCOLS = (
    SigsetProtocol(
        name="sigset",
        title="Sigset, closed-set identification and verification",
        source="ORNL/briar-api doc/HowToDevelopBriarService.md; NIST sigset XML",
        query="probes: one medium (image or video) each",
        gallery="templates of subjects from many media, distractors too; each gallery apart",
        junk="none; pid -1 is left out",
        query_modality="any",
        gallery_modality="any",
    ),
)
