"""A BRIAR-style sigset: probes search galleries of subjects, each described by many media.

Closed-set identification counts a probe if its subject is in the gallery; verification takes every
pair of a probe and a gallery template. Each gallery is scored apart, then their mean. Data of BRIAR
itself are not public; their format is (ORNL/briar-api), with two galleries.

Legend: P probes, G templates of a gallery, D feature width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vills.evaluation.averages import average_rows, name_families
from vills.evaluation.distance import FeatureDistance, FloatArray
from vills.evaluation.metrics import QueryScores, compute_scores
from vills.evaluation.protocols.base import (
    Choices,
    ComputeFeatures,
    Protocol,
    ProtocolError,
    ProtocolResult,
    ProtocolSettings,
    Row,
    Scored,
    TestData,
)
from vills.evaluation.protocols.checks import check_valid, compute_checked
from vills.evaluation.protocols.templates import Templates, load_templates
from vills.evaluation.ranking import IntArray, Labels, RankedList, no_junk, rank_gallery
from vills.evaluation.rerank import rerank_distances
from vills.evaluation.verification import MISSED, compute_tar_at_far


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
                search = _Search(probes, gallery, features, choices, settings, rerank)
                scored = search.score(top_k if shown is None else 0)
                shown = shown or (search.probe_rows, search.gallery_rows, scored.lists)
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


class _Search:
    """Probes against one gallery."""

    def __init__(
        self,
        probes: Templates,
        gallery: Templates,
        features: FloatArray,
        choices: Choices,
        settings: ProtocolSettings,
        rerank: bool,
    ) -> None:
        self._probes, self._gallery = probes, gallery
        self._choices, self._settings = choices, settings
        probe_features, gallery_features = probes.pool(features), gallery.pool(features)
        # pid -1 is as if absent, on both sides; a probe of nobody (0) has no one to find
        self.probe_rows = _find_usable(probe_features, probes.pids > 0)
        self.gallery_rows = _find_usable(gallery_features, gallery.pids >= 0)
        for rows, name in (
            (self.probe_rows, "probe"),
            (self.gallery_rows, f"template of {gallery.group}"),
        ):
            if not len(rows):
                raise ProtocolError(
                    f"no {name} has a feature: all enrolments failed. What to do: look at the "
                    "features, and at what curation has kept of the media."
                )
        query = probe_features[self.probe_rows]
        found = gallery_features[self.gallery_rows]
        self._distance = (
            rerank_distances(query, found, block_size=settings.block_size, metric=choices.distance)
            if rerank
            else FeatureDistance(query, found, metric=choices.distance)
        )

    def score(self, top_k: int) -> Scored:
        """This gallery's row; the lists are those of the usable probes."""
        probes, gallery, settings = self._probes, self._gallery, self._settings
        ranking = rank_gallery(
            self._distance,
            query=_label(probes.pids[self.probe_rows]),
            gallery=_label(gallery.pids[self.gallery_rows]),
            block_size=settings.block_size,
            junk_rule=no_junk,
            top_k=top_k,
        )
        hits = self._add_misses(ranking.hit_ranks)
        check_valid(hits, f"gallery {gallery.group}")
        scores = compute_scores(
            hits,
            pids=probes.pids[probes.pids > 0],
            ranks=self._choices.ranks,
            num_gallery=int((gallery.pids >= 0).sum()),
            average_precision=self._choices.average_precision,
            num_resamples=settings.bootstrap,
            seed=settings.seed,
        )
        row: Row = {**scores.build_row(), **self._verify()}
        lost = {
            "skipped_queries": int((probes.pids <= 0).sum()),
            "failed_probes": int((probes.pids > 0).sum()) - len(self.probe_rows),
            "failed_templates": int((gallery.pids >= 0).sum()) - len(self.gallery_rows),
        }
        row |= {key: num for key, num in lost.items() if num}
        return Scored(row, ranking.lists, scores.queries)

    def _add_misses(self, found: Sequence[IntArray]) -> list[IntArray]:
        """Ranks of every probe: a failed probe, or one whose template failed, is a miss."""
        by_row = dict(zip(self.probe_rows.tolist(), found, strict=True))
        enrolled = set(self._gallery.pids[self._gallery.pids > 0].tolist())
        hits = []
        for row, pid in enumerate(self._probes.pids.tolist()):
            if pid <= 0:
                continue
            missed = np.array([MISSED] if pid in enrolled else [], dtype=np.int64)
            ranks = by_row.get(row, missed)
            hits.append(ranks if len(ranks) else missed)
        return hits

    def _verify(self) -> Row:
        """TAR at each FAR over all pairs of a probe and a template."""
        rows, columns = np.flatnonzero(self._probes.pids > 0), self._gallery.pids >= 0
        scores = np.full((len(rows), len(columns)), np.nan)
        similarity = -self._distance.compute_block(0, self._distance.num_queries)
        scores[np.ix_(np.searchsorted(rows, self.probe_rows), self.gallery_rows)] = similarity
        same = self._probes.pids[rows][:, None] == self._gallery.pids[None]
        counted = np.broadcast_to(columns, same.shape)
        result = compute_tar_at_far(
            scores[same & counted], scores[~same & counted], self._settings.fars
        )
        row: Row = {f"TAR@{far:g}": tar for far, tar in result.tars.items()}
        pairs = {"genuine_pairs": result.num_genuine, "impostor_pairs": result.num_impostor}
        return row | pairs


def _find_usable(features: FloatArray, counted: np.ndarray) -> IntArray:
    return np.flatnonzero(counted & np.isfinite(features).all(axis=1))


def _label(pids: IntArray) -> Labels:
    return Labels(pids, np.full(len(pids), -1, dtype=np.int64))


def _average_groups(rows: Sequence[Row]) -> list[Row]:
    """A mean row for each family of galleries: gallery_1 and gallery_2, blended_gallery_1 ..."""
    means = []
    for name, members in name_families([str(row["gallery_group"]) for row in rows]).items():
        own = [{**row, "gallery_group": ""} for row in rows if row["gallery_group"] in members]
        means.append({**average_rows(own), "gallery_group": name})
    return means


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
