"""Protocols: which entries are query and gallery, in which modality, under which junk rule.

The name of a protocol is that of its entry in PROTOCOLS. PRCC, LTCC, PRID2011 and sigsets take
their place there, each with a junk rule (same clothes) or a choice of entries of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vills.evaluation.distance import FeatureDistance, FloatArray
from vills.evaluation.entries import Entries
from vills.evaluation.metrics import RetrievalScores, compute_scores
from vills.evaluation.ranking import JunkRule, RankedList, find_same_camera, rank_gallery

ComputeFeatures = Callable[[Entries, str, str], FloatArray]
"""(entries, their modality, the modality they are compared with) -> features [n, D], in order."""


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """What every protocol has in common; see `EvaluateConfig` for the fields' meaning.

    A class of its own, so that fine-tuning, which scores its epochs, does not depend on the
    parameters of the evaluate stage.
    """

    ranks: Sequence[int] = (1, 5, 10)
    distance: str = "cosine"
    average_precision: str = "step"
    block_size: int = 1024
    query_frame: str = "first"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ProtocolResult:
    """Scores of one model under one protocol, and what its ranked strips need."""

    protocol: str
    scores: RetrievalScores
    query: Entries
    gallery: Entries
    lists: list[RankedList]
    """Top of each query's ranking; rows point into `gallery`. Empty unless asked for."""

    def build_row(self, name: str) -> dict[str, str | float | int]:
        """A row of results.json."""
        return {"row": name, "protocol": self.protocol, **self.scores.build_row()}


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to search people."""

    name: str
    query_modality: str
    """image or video."""
    gallery_modality: str
    """image or video."""
    junk_rule: JunkRule = find_same_camera

    def run(
        self,
        compute_features: ComputeFeatures,
        *,
        query: Entries,
        gallery: Entries,
        settings: RetrievalSettings,
        top_k: int = 0,
    ) -> ProtocolResult:
        """Describe, rank and score.

        Query and gallery must hold what the protocol counts (see `select_entries`).

        Args:
            compute_features: the model.
            query: what is searched for.
            gallery: where it is searched.
            settings: distance, metrics, block size, query frame.
            top_k: entries that count kept per query for the strips.

        Raises:
            ValueError: the data set has no such modality, or no query is valid.
        """
        self._check_kind(gallery)
        if self.query_modality == "image" and query.kind == "tracklet":
            query = query.take_frames(mode=settings.query_frame, seed=settings.seed)
        query_features = compute_features(query, self.query_modality, self.gallery_modality)
        gallery_features = compute_features(gallery, self.gallery_modality, self.query_modality)
        distance = FeatureDistance(query_features, gallery_features, metric=settings.distance)
        ranking = rank_gallery(
            distance,
            query=query.labels,
            gallery=gallery.labels,
            block_size=settings.block_size,
            junk_rule=self.junk_rule,
            top_k=top_k,
        )
        scores = compute_scores(
            ranking.hit_ranks,
            ranks=settings.ranks,
            num_gallery=len(gallery),
            average_precision=settings.average_precision,
        )
        return ProtocolResult(self.name, scores, query, gallery, ranking.lists)

    def _check_kind(self, gallery: Entries) -> None:
        wanted = "tracklet" if self.gallery_modality == "video" else "image"
        if gallery.kind != wanted:
            raise ValueError(
                f"protocol {self.name!r} searches a gallery of {wanted}s, but this data set holds "
                f"{gallery.kind}s. What to do: set evaluate.*.protocols to "
                f"{'image' if gallery.kind == 'image' else 'video, image_to_video'}."
            )


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("image", "image", "image"),
        Protocol("video", "video", "video"),
        Protocol("image_to_video", "image", "video"),
    )
}


def get_native_protocol(kind: str) -> Protocol:
    """The protocol of a data set of images, or of tracklets."""
    return PROTOCOLS["video" if kind == "tracklet" else "image"]


def select_entries(
    query: Entries, gallery: Entries, *, gallery_with_queries: bool
) -> tuple[Entries, Entries]:
    """What counts: queries are people (pid > 0), the gallery also distractors (0), never junk (-1).

    Args:
        query: split query of the manifest.
        gallery: split gallery of the manifest.
        gallery_with_queries: MARS as published; a query finds itself, which the camera rule drops.
    """
    if gallery_with_queries:
        gallery = gallery.join(query)
    return (
        query.take(np.flatnonzero(query.labels.pids > 0)),
        gallery.take(np.flatnonzero(gallery.labels.pids >= 0)),
    )
