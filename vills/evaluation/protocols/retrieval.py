"""Retrieval protocols: choose query and gallery by camera, rank, mean over the valid queries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vills.data.records import find_people
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import MODALITY_OF, Entries, TestData
from vills.evaluation.protocols.base import (
    NO_CHOICE,
    Choices,
    ComputeFeatures,
    Protocol,
    ProtocolError,
    ProtocolResult,
    ProtocolSettings,
    Scored,
)
from vills.evaluation.protocols.search import compute_checked, rank_features, score_ranks
from vills.evaluation.ranking import JunkRule, find_same_camera
from vills.evaluation.rows import Row

SAME_CAMERA = "same person in the same camera; pid -1"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a protocol counts of a data set."""

    query: Entries
    gallery: Entries
    skipped: Row
    """Entries of the split that cannot take part, by column; empty if all can."""


@dataclass(frozen=True, slots=True)
class Features:
    """Both sides of a search."""

    query: FloatArray
    """[Q, D]."""
    gallery: FloatArray
    """[G, D]."""


@dataclass(frozen=True)
class RetrievalProtocol(Protocol):
    """Every query ranks the gallery; mAP, CMC and mINP over the queries with a true match."""

    junk: str = SAME_CAMERA
    junk_rule: JunkRule = find_same_camera
    query_cameras: tuple[int, ...] = ()
    """Cameras whose entries are queries; empty: all."""
    gallery_cameras: tuple[int, ...] = ()
    """Cameras whose entries are searched; empty: all."""
    gallery_with_queries: bool = False
    """Whether the queries stand in the gallery too (each finds itself, which is junk)."""
    needs_cameras: bool = True
    """Whether every person's camera must be known."""
    needs_clothes: bool = False
    """Whether every person's outfit must be known."""
    from_frames: bool = False
    """Whether one frame of a query tracklet is the query image."""

    def run(
        self,
        compute_features: ComputeFeatures,
        *,
        data: TestData,
        settings: ProtocolSettings,
        top_k: int = 0,
    ) -> ProtocolResult:
        """See `Protocol.run`."""
        selection = self.select(data, settings)
        choices = self.resolve(settings)
        features = describe(compute_features, selection, choices)
        title = self.build_title(*self._name_frame(data, settings), *choices.changed)
        rows: list[Row] = []
        found: list[Scored] = []
        for rerank in (False, True)[: 1 + settings.rerank]:
            scored = self.score(
                features, selection, choices, settings, rerank=rerank, top_k=0 if rerank else top_k
            )
            found.append(scored)
            row: Row = {"title": title, **choices.build_row(), "rerank": "on" if rerank else "off"}
            if "video" not in (*selection.query.modalities, *selection.gallery.modalities):
                row["pooling"] = NO_CHOICE
            rows.append(row | scored.row | selection.skipped)
        return ProtocolResult(
            self.name,
            tuple(rows),
            selection.query,
            selection.gallery,
            found[0].lists,
            data.split,
            tuple(scored.queries for scored in found),
        )

    def check(self, data: TestData, settings: ProtocolSettings) -> None:
        """See `Protocol.check`."""
        self.select(data, settings)

    def select(self, data: TestData, settings: ProtocolSettings) -> Selection:
        """Choose query and gallery of this protocol.

        Raises:
            ProtocolError: the data lack a modality, a camera or outfits that it needs.
        """
        query, gallery = data.query, data.gallery
        if self.gallery_with_queries:
            gallery = gallery.join(query)
        query = self._choose(query, "query", self.query_cameras)
        gallery = self._choose(gallery, "gallery", self.gallery_cameras)
        num_query, num_gallery = len(query), len(gallery)
        query, gallery = query.keep_people(), gallery.drop_junk()
        num_junk = num_gallery - len(gallery)
        if self.from_frames:
            query = query.take_frames(mode=settings.query_frame, seed=settings.seed)
        query = self._keep_modality(query, "query", self.query_modality)
        gallery = self._keep_modality(gallery, "gallery", self.gallery_modality)
        self._check_labels(query, "query")
        self._check_labels(gallery, "gallery")
        skipped = {
            "skipped_queries": num_query - len(query),
            "skipped_gallery": num_gallery - num_junk - len(gallery),
        }
        return Selection(query, gallery, {key: num for key, num in skipped.items() if num})

    def score(
        self,
        features: Features,
        selection: Selection,
        choices: Choices,
        settings: ProtocolSettings,
        *,
        rerank: bool,
        top_k: int,
    ) -> Scored:
        """Rank, and score."""
        query, gallery = selection.query.labels, selection.gallery.labels
        _, ranking = rank_features(
            features.query,
            features.gallery,
            query=query,
            gallery=gallery,
            junk_rule=self.junk_rule,
            choices=choices,
            settings=settings,
            rerank=rerank,
            top_k=top_k,
        )
        scores = score_ranks(
            ranking.hit_ranks,
            pids=query.pids,
            num_gallery=len(gallery),
            choices=choices,
            settings=settings,
            where=f"gallery of protocol {self.name!r} ({self.gallery})",
        )
        return Scored(dict(scores.build_row()), ranking.lists, scores.queries)

    def _choose(self, entries: Entries, part: str, cameras: tuple[int, ...]) -> Entries:
        if cameras:
            camids = entries.labels.camids
            chosen = entries.take(np.flatnonzero(np.isin(camids, cameras)))
            if not len(chosen):
                raise ProtocolError(
                    f"protocol {self.name!r} needs a {part} of camera {_list(cameras)} "
                    f"({getattr(self, part)}), but this data set's {part} has cameras "
                    f"{_list(np.unique(camids).tolist())}. {_REMEDY}"
                )
            return chosen
        if not len(entries):
            raise ProtocolError(f"protocol {self.name!r}: the {part} is empty. {_REMEDY}")
        return entries

    def _keep_modality(self, entries: Entries, part: str, modality: str) -> Entries:
        if modality == "any":
            return entries
        kinds = entries.kinds
        wanted = next(kind for kind, name in MODALITY_OF.items() if name == modality)
        rows = np.flatnonzero(kinds == wanted)
        if not len(rows):
            found = ", ".join(f"{kind}s" for kind in sorted(set(kinds.tolist()))) or "nobody"
            raise ProtocolError(
                f"protocol {self.name!r} needs a {part} of {wanted}s ({getattr(self, part)}), but "
                f"this data set's {part} holds {found}. {_REMEDY}"
            )
        return entries if len(rows) == len(entries) else entries.take(rows)

    def _check_labels(self, entries: Entries, part: str) -> None:
        labels = entries.labels
        for column, values, needed in (
            ("camera", labels.camids, self.needs_cameras),
            ("outfit (clothes_id)", labels.clothes_ids, self.needs_clothes),
        ):
            num = int((find_people(labels.pids) & (values < 0)).sum())
            if needed and num:
                raise ProtocolError(
                    f"protocol {self.name!r} needs the {column} of every person, but {num} of "
                    f"{len(entries)} {part} entries have none. {_REMEDY}"
                )

    def _name_frame(self, data: TestData, settings: ProtocolSettings) -> tuple[str, ...]:
        if not self.from_frames or "video" not in data.query.modalities:
            return ()
        name = {"random": f"seeded random (seed {settings.seed})"}.get(
            settings.query_frame, settings.query_frame
        )
        return (f"query = {name} frame",)


def describe(compute_features: ComputeFeatures, selection: Selection, choices: Choices) -> Features:
    """Compute features of query and gallery that can be compared.

    Raises:
        ProtocolError: not finite, or of different size.
    """
    modalities = {*selection.query.modalities, *selection.gallery.modalities}
    choice = replace(choices.feature, modalities=tuple(sorted(modalities)))
    query = compute_checked(compute_features, selection.query, choice, part="query")
    gallery = compute_checked(compute_features, selection.gallery, choice, part="gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ProtocolError(
            f"query features have {query.shape[1]} values, gallery features {gallery.shape[1]}. "
            "What to do: compare features of one model, and of roles that both sides have."
        )
    return Features(query, gallery)


def take_gallery(
    selection: Selection, features: Features, rows: np.ndarray
) -> tuple[Selection, Features]:
    """Keep some gallery entries alone in both."""
    chosen = replace(selection, gallery=selection.gallery.take(rows))
    return chosen, Features(features.query, features.gallery[rows])


def _list(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values) or "none"


_REMEDY = (
    "What to do: choose other protocols (evaluate.*.protocols, finetune.*.protocol; "
    "docs/protocols.md says what each needs), or look at the data set with `vills data check`."
)
