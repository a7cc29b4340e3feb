"""Retrieval protocols: choose query and gallery by camera, rank, mean over the valid queries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vills.data.records import DISTRACTOR_PID, find_people
from vills.data.samplers import sample_rng
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import MODALITY_OF, Entries, TestData
from vills.evaluation.metrics import RetrievalScores
from vills.evaluation.protocols.base import (
    NO_CHOICE,
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
from vills.evaluation.ranking import JunkRule, RankedList, compute_ranking, find_same_camera
from vills.evaluation.rerank import build_distance
from vills.evaluation.rows import compute_mean_row

SAME_CAMERA = "same person in the same camera; pid -1"
_STREAM = 73
"""Keeps draws apart from other uses of the same seed."""


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
        modalities = {*selection.query.modalities, *selection.gallery.modalities}
        choice = replace(choices.feature, modalities=tuple(sorted(modalities)))
        query = compute_checked(compute_features, selection.query, choice, part="query")
        gallery = compute_checked(compute_features, selection.gallery, choice, part="gallery")
        if query.shape[1] != gallery.shape[1]:
            raise ProtocolError(
                f"query features have {query.shape[1]} values, gallery features "
                f"{gallery.shape[1]}. What to do: compare features of one model, and of roles that "
                "both sides have."
            )
        head = self.build_head(choices, *self._name_frame(data, settings))
        if "video" not in modalities:
            head["pooling"] = NO_CHOICE
        found = {"off": self.score(selection, query, gallery, choices, rerank=False, top_k=top_k)}
        if settings.rerank:
            found["on"] = self.score(selection, query, gallery, choices, rerank=True, top_k=0)
        return ProtocolResult(
            self.name,
            tuple(
                {**head, "rerank": rerank, **scored.row, **selection.skipped}
                for rerank, scored in found.items()
            ),
            selection.query,
            selection.gallery,
            found["off"].lists,
            data.split,
            tuple(scored.queries for scored in found.values()),
        )

    def select(self, data: TestData, settings: ProtocolSettings) -> Selection:
        """See `Protocol.select`: the data lack a modality, a camera or outfits that it needs."""
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
        selection: Selection,
        query_features: FloatArray,
        gallery_features: FloatArray,
        choices: Choices,
        *,
        rerank: bool,
        top_k: int,
    ) -> RetrievalScores:
        """Rank by features [Q, D] and [G, D], and score."""
        query, gallery = selection.query.labels, selection.gallery.labels
        size = choices.settings.block_size
        ranking = compute_ranking(
            build_distance(
                query_features,
                gallery_features,
                metric=choices.distance,
                rerank=rerank,
                block_size=size,
            ),
            query=query,
            gallery=gallery,
            block_size=size,
            junk_rule=self.junk_rule,
            top_k=top_k,
        )
        scores = compute_rank_scores(
            ranking.hit_ranks,
            pids=query.pids,
            num_gallery=len(gallery),
            choices=choices,
            where=f"gallery of protocol {self.name!r} ({self.gallery})",
        )
        return replace(scores, lists=ranking.lists)

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
        mode = settings.query_frame
        name = f"seeded random (seed {settings.seed})" if mode == "random" else mode
        return (f"query = {name} frame",)


@dataclass(frozen=True)
class SingleShotProtocol(RetrievalProtocol):
    """Mean over galleries of one image per person, drawn at random (PRCC)."""

    num_draws: int = 10

    def score(
        self,
        selection: Selection,
        query_features: FloatArray,
        gallery_features: FloatArray,
        choices: Choices,
        *,
        rerank: bool,
        top_k: int,
    ) -> RetrievalScores:
        """Score each draw; return mean and deviation, and the lists of the first."""
        seed = choices.settings.seed
        # no interval over people: what varies here is the gallery
        choices = replace(choices, settings=replace(choices.settings, bootstrap=0))
        found: list[RetrievalScores] = []
        lists: list[RankedList] = []
        for draw in range(self.num_draws):
            chosen = sample_gallery(selection.gallery, seed=seed, draw=draw)
            scored = super().score(
                replace(selection, gallery=selection.gallery.take(chosen)),
                query_features,
                gallery_features[chosen],
                choices,
                rerank=rerank,
                top_k=0 if draw else top_k,
            )
            found.append(scored)
            lists += [replace(top, gallery=chosen[top.gallery]) for top in scored.lists]
        mean = compute_mean_row([scored.row for scored in found], deviations=("mAP", "R-1"))
        draws = [scored.queries for scored in found]
        # every draw has every person, so all have the same queries
        assert all(np.array_equal(queries.rows, draws[0].rows) for queries in draws)
        ap, r1 = (np.mean([getattr(own, name) for own in draws], axis=0) for name in ("ap", "r1"))
        queries = replace(draws[0], ap=ap, r1=r1)
        return RetrievalScores({"draws": self.num_draws, **mean}, queries, lists)


def sample_gallery(gallery: Entries, *, seed: int, draw: int) -> np.ndarray:
    """Draw rows of a gallery, ascending: one image of each person; distractors all stay.

    Every person has a generator of its own and draws from the sorted record ids: neither the order
    of files nor other people change what is drawn (CAL's replacement loop depends on both).
    """
    labels = gallery.labels
    ids = np.array(gallery.ids)
    rows = np.flatnonzero(labels.pids == DISTRACTOR_PID).tolist()
    for pid in np.unique(labels.pids[find_people(labels.pids)]).tolist():
        own = np.flatnonzero(labels.pids == pid)
        own = own[np.argsort(ids[own], kind="stable")]
        rows.append(int(own[sample_rng(seed, _STREAM, draw, pid).integers(len(own))]))
    return np.sort(np.array(rows, dtype=np.int64))


def _list(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values) or "none"


_REMEDY = (
    "What to do: choose other protocols (evaluate.*.protocols, finetune.*.protocol; "
    "docs/protocols.md says what each needs), or check the data set with `vills data check`."
)
