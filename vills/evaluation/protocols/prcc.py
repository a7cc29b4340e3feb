"""PRCC (Yang et al., TPAMI 2021): same clothes and cloth-changing, all gallery and single-shot.

Cameras: A = 0 (gallery), B = 1 (same clothes as in A), C = 2 (other clothes). CAL searches all
images of A; the data set's authors draw one per person, ten times. Numbers of the two do not
compare: with one image per person AP is one over its rank, so that mAP >= rank-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vills.data.records import DISTRACTOR_PID, find_people
from vills.data.rng import sample_rng
from vills.evaluation.entries import Entries
from vills.evaluation.metrics import QueryScores
from vills.evaluation.protocols.base import Choices, FeatureChoice, ProtocolSettings, Scored
from vills.evaluation.protocols.retrieval import (
    Features,
    RetrievalProtocol,
    Selection,
    take_gallery,
)
from vills.evaluation.ranking import RankedList
from vills.evaluation.rows import average_rows

NUM_DRAWS = 10
_STREAM = 73
"""Keeps draws apart from other uses of the same seed."""


@dataclass(frozen=True)
class SingleShotProtocol(RetrievalProtocol):
    """Mean over galleries of one image per person, drawn at random."""

    num_draws: int = NUM_DRAWS

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
        """Score each draw; return mean and deviation, and the lists of the first."""
        found: list[Scored] = []
        lists: list[RankedList] = []
        # no interval over people: what varies here is the gallery
        settings = replace(settings, bootstrap=0)
        for draw in range(self.num_draws):
            chosen = draw_gallery(selection.gallery, seed=settings.seed, draw=draw)
            part, half = take_gallery(selection, features, chosen)
            scored = super().score(
                half, part, choices, settings, rerank=rerank, top_k=0 if draw else top_k
            )
            found.append(scored)
            for top in scored.lists:
                lists.append(RankedList(chosen[top.gallery], top.verdicts, top.distances))
        mean = average_rows([scored.row for scored in found], deviations=("mAP", "R-1"))
        queries = _average_queries([scored.queries for scored in found])
        return Scored({"draws": self.num_draws, **mean}, lists, queries)


def _average_queries(draws: Sequence[QueryScores]) -> QueryScores:
    """Average what each query found; every draw has every person, so all have the same."""
    first = draws[0]
    assert all(np.array_equal(draw.rows, first.rows) for draw in draws)
    return replace(
        first,
        ap=np.mean([draw.ap for draw in draws], axis=0),
        r1=np.mean([draw.r1 for draw in draws], axis=0),
    )


def draw_gallery(gallery: Entries, *, seed: int, draw: int) -> np.ndarray:
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


def build_protocol(name: str, *, single_shot: bool, same_clothes: bool) -> RetrievalProtocol:
    """Build one of the four: two queries, two galleries."""
    clothes = "same clothes" if same_clothes else "cloth-changing"
    query = "B: same clothes as in A" if same_clothes else "C: other clothes than in A"
    kind = SingleShotProtocol if single_shot else RetrievalProtocol
    shots = f"single-shot, mean of {NUM_DRAWS} draws" if single_shot else "all gallery images (CAL)"
    return kind(
        name=name,
        title=f"PRCC, {clothes}, {shots}",
        source=(
            "Yang et al., TPAMI 2021, sec. 5.1"
            if single_shot
            else "CAL (Gu et al., CVPR 2022) test.py"
        ),
        query=query,
        gallery="A: one random image per person" if single_shot else "A: all images",
        feature=FeatureChoice(flip=True),
        query_cameras=(1 if same_clothes else 2,),
        gallery_cameras=(0,),
    )


PROTOCOLS = (
    build_protocol("prcc_same_clothes", single_shot=False, same_clothes=True),
    build_protocol("prcc_cloth_changing", single_shot=False, same_clothes=False),
    build_protocol("prcc_same_clothes_single_shot", single_shot=True, same_clothes=True),
    build_protocol("prcc_cloth_changing_single_shot", single_shot=True, same_clothes=False),
)
