"""What a protocol is: who searches whom, what counts, and how it is measured.

A protocol needs no model and no pixels. It is given a function that describes entries, and labels:

    result = PROTOCOLS["prcc_cloth_changing"].run(
        compute_features,                       # (Entries, FeatureChoice) -> float32 [n, D]
        data=TestData(query, gallery),          # Entries, e.g. from build_entries(table)
        settings=ProtocolSettings(),            # what the user overrides
        top_k=10,                               # entries of each ranked list that are kept
    )
    rows = result.build_rows("my model")

`compute_features` is called with the entries that the protocol has chosen, and must return one
finite feature per entry in their order. Entries of kind image and of kind tracklet may stand in
one call (sigsets); `choice.modalities` names all modalities whose features will be compared.

Legend: n entries, Q queries, G gallery entries, D feature width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vills.errors import UserError
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries, TestData
from vills.evaluation.metrics import QueryScores, RetrievalScores, compute_scores
from vills.evaluation.ranking import IntArray, RankedList
from vills.evaluation.rows import Row

NO_CHOICE = "-"
"""Stands in a row for a choice that does not exist: the pooling of images, the neck of none."""


class ProtocolError(UserError, ValueError):
    """A protocol cannot score this data, or these features; the message says why."""


@dataclass(frozen=True, slots=True)
class FeatureChoice:
    """Which feature of a model is compared."""

    roles: tuple[str, ...] = ()
    """coarse, areas, temporal; empty: all that the model has."""
    neck: str = "after"
    """before or after the BNNeck; a model without one has the same feature for both."""
    flip: bool = False
    """Whether the feature of the mirrored image is added (CAL)."""
    pooling: str = "mean"
    """How clips, or frames, of a tracklet become one feature: mean or max."""
    modalities: tuple[str, ...] = ()
    """All that are compared with each other: image, video. A model without one space for both
    gives the part that they share. Filled in by the protocol."""


ComputeFeatures = Callable[[Entries, FeatureChoice], FloatArray]
"""(entries, choice) -> features [n, D], in the entries' order."""


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """What the user sets; None leaves a choice to the protocol. See `EvaluateConfig`.

    Not that class: fine-tuning, too, scores, and does not depend on the evaluate stage.
    """

    ranks: Sequence[int] | None = None
    distance: str | None = None
    """cosine or euclidean."""
    average_precision: str | None = None
    """step or trapezoid."""
    flip: bool | None = None
    neck: str | None = None
    pooling: str | None = None
    roles: tuple[str, ...] = ()
    fars: Sequence[float] = (0.01, 0.001, 0.0001)
    query_frame: str = "first"
    """first, middle or random."""
    rerank: bool = False
    """Whether a second row follows, after k-reciprocal re-ranking."""
    bootstrap: int = 0
    """Resamples of the people behind each 95 % confidence interval; 0: no intervals."""
    block_size: int = 1024
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Choices:
    """A protocol's own choices with the user's overrides."""

    settings: ProtocolSettings
    ranks: tuple[int, ...]
    distance: str
    average_precision: str
    feature: FeatureChoice
    changed: tuple[str, ...]
    """The overrides that differ from the protocol's own, in words for the title."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a protocol counts of a data set."""

    query: Entries
    gallery: Entries
    skipped: Row = field(default_factory=dict)
    """Entries of the split that cannot take part, by column; empty if all can."""


@dataclass(frozen=True, slots=True)
class ProtocolResult:
    """Scores of one model under one protocol, and what its ranked strips need."""

    protocol: str
    """Key of the protocol."""
    rows: tuple[Row, ...]
    """Scores with title and choices; several where galleries are scored apart, or re-ranked."""
    query: Entries
    """Whose lists these are, row by row; of a template, its first image or tracklet."""
    gallery: Entries
    """What the lists point into."""
    lists: Sequence[RankedList]
    """Top of each query's ranking. Empty unless asked for."""
    split: int | None = None
    """Of the data."""
    queries: tuple[QueryScores | None, ...] = ()
    """What each valid query found, row by row; none of a row that is the mean of others."""

    def build_rows(self, name: str) -> list[Row]:
        """Build rows of results.json for the model `name`; a score that does not exist is None."""
        head: Row = {"row": name, "protocol": self.protocol, "title": self.rows[0]["title"]}
        if self.split is not None:
            head["split"] = self.split
        return [
            {
                key: None if isinstance(value, float) and np.isnan(value) else value
                for key, value in {**head, **row}.items()
            }
            for row in self.rows
        ]


@dataclass(frozen=True)
class Protocol(ABC):
    """One way to search people, as the literature does it."""

    name: str
    """Key, as in params.yaml."""
    title: str
    """Full name for tables."""
    source: str
    """Where it is defined."""
    query: str
    """Who searches, in words."""
    gallery: str
    """Who is searched, in words."""
    junk: str
    """What neither counts as right nor as wrong, in words."""
    query_modality: str = "image"
    """image, video or any."""
    gallery_modality: str = "image"
    """image, video or any."""
    distance: str = "cosine"
    average_precision: str = "step"
    feature: FeatureChoice = field(default_factory=FeatureChoice)
    ranks: tuple[int, ...] = (1, 5, 10, 20)

    @abstractmethod
    def run(
        self,
        compute_features: ComputeFeatures,
        *,
        data: TestData,
        settings: ProtocolSettings,
        top_k: int = 0,
    ) -> ProtocolResult:
        """Choose entries, describe, rank and score. Every process must call; all get all.

        Args:
            compute_features: the model, or features that someone else has computed.
            data: query, gallery, templates.
            settings: overrides, metrics, block size, seed.
            top_k: entries that count kept per query for the strips.

        Raises:
            ProtocolError: the data lack what the protocol needs, a feature is not finite, sizes
                differ, or no query has a true match.
        """

    @abstractmethod
    def select(self, data: TestData, settings: ProtocolSettings) -> Selection:
        """Choose what is compared; before anything costly is done.

        Raises:
            ProtocolError: the data lack what the protocol needs; says what.
        """

    def resolve(self, settings: ProtocolSettings) -> Choices:
        """Take the protocol's own choices where the settings leave them to it."""
        feature = replace(
            self.feature,
            roles=tuple(settings.roles) or self.feature.roles,
            neck=settings.neck or self.feature.neck,
            flip=self.feature.flip if settings.flip is None else settings.flip,
            pooling=settings.pooling or self.feature.pooling,
        )
        distance = settings.distance or self.distance
        average_precision = settings.average_precision or self.average_precision
        texts = {
            f"{distance} distance": distance != self.distance,
            f"{average_precision} AP": average_precision != self.average_precision,
            f"flip {'on' if feature.flip else 'off'}": feature.flip != self.feature.flip,
            f"feature {feature.neck} the neck": feature.neck != self.feature.neck,
            f"{feature.pooling} pooling": feature.pooling != self.feature.pooling,
            f"{' + '.join(feature.roles)} alone": feature.roles != self.feature.roles,
        }
        return Choices(
            settings,
            ranks=self.ranks if settings.ranks is None else tuple(settings.ranks),
            distance=distance,
            average_precision=average_precision,
            feature=feature,
            changed=tuple(text for text, differs in texts.items() if differs),
        )

    def build_head(self, choices: Choices, *words: str) -> Row:
        """Return the columns that say how a row came about: full title, then the choices."""
        return {
            "title": ", ".join((self.title, *words, *choices.changed)),
            "ap": choices.average_precision,
            "distance": choices.distance,
            "neck": choices.feature.neck,
            "flip": "on" if choices.feature.flip else "off",
            "pooling": choices.feature.pooling,
        }


def compute_checked(
    compute_features: ComputeFeatures,
    entries: Entries,
    choice: FeatureChoice,
    *,
    part: str,
    allow_missing: bool = False,
) -> FloatArray:
    """Compute features [n, D] of `entries` that a ranking can trust.

    `part` is query or gallery, for messages; `allow_missing` lets a row of nothing but NaN pass: a
    failed enrolment.

    Raises:
        ProtocolError: of another shape, or not finite; names records.
    """
    features = np.asarray(compute_features(entries, choice))
    if features.ndim != 2 or len(features) != len(entries) or features.shape[1] == 0:
        raise ProtocolError(
            f"{part} features of shape {features.shape} do not fit {len(entries)} entries. "
            "Allowed: one row of at least one value per entry. What to do: compute them again."
        )
    bad = ~np.isfinite(features).all(axis=1)
    if allow_missing:
        bad &= ~np.isnan(features).all(axis=1)
    if bad.any():
        rows = np.flatnonzero(bad)
        names = ", ".join(entries.take(rows[:3]).ids)
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        raise ProtocolError(
            f"{len(rows)} {part} features are not finite (NaN or infinite): {names}{more}. They "
            "cannot be ranked. What to do: check the model's weights and these records; "
            "compute the features again."
        )
    return features


def compute_rank_scores(
    hit_ranks: Sequence[IntArray], *, pids: IntArray, num_gallery: int, choices: Choices, where: str
) -> RetrievalScores:
    """Score the ranks of the true matches, see `compute_scores`; `where` names the gallery.

    Raises:
        ProtocolError: no query has a true match: nothing could be found.
    """
    if not any(len(ranks) for ranks in hit_ranks):
        raise ProtocolError(
            f"none of the {len(hit_ranks)} queries has a true match in the {where}: their people "
            "are missing there, or are only junk (a match in the same camera does not count). What "
            "to do: check person and camera numbers with `vills data check`, and the query and "
            "gallery folders."
        )
    return compute_scores(
        hit_ranks,
        pids=pids,
        ranks=choices.ranks,
        num_gallery=num_gallery,
        average_precision=choices.average_precision,
        num_resamples=choices.settings.bootstrap,
        seed=choices.settings.seed,
    )
