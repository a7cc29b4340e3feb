"""Confidence intervals by the bootstrap over people: of a mean over queries, and of a difference.

Legend: V valid queries of a run, P people, R runs and K parts of a world, M scores, n resamples, b
resamples of one block.

Which people a data set has is chance; how far a score would move with other ones is what the
interval says. Queries of one person are alike (one face, one outfit), so they are not drawn one by
one: a person is drawn with all of its queries, and the score of a resample is the mean over the
drawn queries, the ratio of a sum and a count; of everybody once, it is the score itself. The
interval holds the middle 95 % of the resamples (Davison and Hinkley, Bootstrap Methods and their
Application, 1997, section 3.8; Field and Welsh, J. R. Statist. Soc. B 69, 2007). Drawing queries
instead takes a person's five queries for five people, and the interval is too narrow.

P - 1 of P people are drawn: the spread of a mean is then the unbiased one (McCarthy and Snowden,
1985; Rao and Wu, JASA 83, 1988), which matters where there are few. With very few the interval is
still too narrow: of eight people it covers 90 %. One person gives none.

Whether one model is better than another is not whether their intervals overlap: both meet the same
hard people, which moves both scores alike. The difference per query is what is averaged and
resampled. What is chance, and so is drawn:

- people, each with all of its queries, alike for all runs of a world: those are
  scored on the same people, so that people and runs are crossed;
- runs of a world (seeds), R - 1 of R, as people are. A single run has none to draw: the interval
  then speaks of these two trained models, and says nothing about another seed.

Worlds are strata: each keeps its place in every resample, and the mean is over worlds. There are
two or three, and of so few a draw says nothing of the others that could have been. Parts of a run
(splits, galleries) keep theirs too: they are all there are.

Crossed resampling counts what a seed does to single people more than once, so the interval is on
the safe side (Owen, Annals of Applied Statistics 1, 2007, the pigeonhole bootstrap): of three runs
on 60 people it covered 94 to 99 % in simulation, unless seeds alone make the difference vary. Then
three runs know too little: 75 %, since no resample leaves the range of three numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vills.data.samplers import sample_rng

LEVEL = 0.95
_STREAM, _PEOPLE, _RUNS = 72, 74, 75
"""Keep resamples of means, of people and of runs apart from other uses of the same seed."""
_BLOCK = 1 << 16
"""Counts in memory at once."""

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
_NONE: IntArray = np.empty(0, dtype=np.int64)


def compute_intervals(
    per_query: Mapping[str, FloatArray], *, pids: IntArray, num_resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Compute the low and high end of each score's mean, all from the same resamples.

    Args:
        per_query: name -> score of every valid query, [V].
        pids: whose query each is, [V].
        num_resamples: n; 0 gives no intervals, and neither does a single person.
        seed: the same seed, the same intervals.
    """
    people, whose = np.unique(pids, return_inverse=True)
    if num_resamples == 0 or not per_query or len(people) < 2:
        return {}
    sums: FloatArray = np.stack([np.bincount(whose, values) for values in per_query.values()])
    means = _resample_people(
        sums[:, None],  # [M, 1, P]
        np.bincount(whose)[None],
        rng=sample_rng(seed, _STREAM),
        num_resamples=num_resamples,
    )  # [n, M]
    low, high = compute_ends(means)
    ends = zip(low.tolist(), high.tolist(), strict=True)
    return dict(zip(per_query, ends, strict=True))


def sample_counts(
    rng: np.random.Generator, *, num_units: int, num_resamples: int
) -> Iterator[IntArray]:
    """Draw how often each unit counts, [b, P], in blocks of resamples: multinomial.

    One fewer is drawn than there are (but at least one), so that the spread is unbiased.
    """
    num_draws = max(num_units - 1, 1)
    rows = max(_BLOCK // num_units, 1)
    for start in range(0, num_resamples, rows):
        num = min(rows, num_resamples - start)
        draws = rng.integers(num_units, size=(num, num_draws))
        cells = (draws + num_units * np.arange(num)[:, None]).ravel()
        yield np.bincount(cells, minlength=num * num_units).reshape(num, num_units)


def compute_ends(resampled: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute the ends of the middle 95 % of resamples [n, ...] along the first axis."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return low, high


@dataclass(frozen=True, slots=True)
class PairedRun:
    """Two models of one run (seed), scored on the same queries."""

    pids: IntArray
    """Whose query each is, [V]."""
    differences: FloatArray
    """Score of the one minus score of the other, [V]."""
    parts: IntArray = field(default_factory=lambda: _NONE)
    """Which split or gallery each query is of, [V]: the run's score is the mean over them. Left
    out: one."""
    world: str = ""
    """Whose test people they are: runs of one world have the same queries."""

    def __post_init__(self) -> None:
        if not len(self.parts):
            object.__setattr__(self, "parts", np.zeros(len(self.pids), dtype=np.int64))
        if not 0 < len(self.pids) == len(self.differences) == len(self.parts):
            raise ValueError(
                f"{len(self.pids)} pids, {len(self.differences)} differences and {len(self.parts)} "
                "parts do not describe the same queries, of which there must be one"
            )


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference, shares, and where it would be with other people and seeds."""

    value: float
    """Mean over worlds of the mean over runs of the mean over parts of the mean over queries."""
    low: float
    """Lower end of the 95 % interval; NaN if a world has one person, who says nothing of others."""
    high: float
    num_people: int
    """Distinct people, summed over worlds."""
    num_runs: int
    num_worlds: int


def compute_difference(runs: Sequence[PairedRun], *, num_resamples: int, seed: int) -> Difference:
    """Compute the mean difference of paired runs, and its 95 % interval over people and runs.

    Args:
        runs: one for each seed and world, at least one.
        num_resamples: n.
        seed: the same seed, the same interval.

    Raises:
        ValueError: no run, no resample, or runs of one world on other queries.
    """
    if not runs or num_resamples < 1:
        raise ValueError(f"{len(runs)} runs, {num_resamples} resamples: there must be one of each")
    groups: dict[str, list[PairedRun]] = {}
    for run in runs:
        groups.setdefault(run.world, []).append(run)
    worlds = [
        _resample_world(groups[name], num_resamples=num_resamples, seed=seed, number=number)
        for number, name in enumerate(sorted(groups))
    ]
    values, resampled, nums_people = zip(*worlds, strict=True)
    low, high = compute_ends(np.mean(resampled, axis=0))
    return Difference(
        value=float(np.mean(values)),
        low=float(low),
        high=float(high),
        num_people=sum(nums_people),
        num_runs=len(runs),
        num_worlds=len(worlds),
    )


def _resample_world(
    runs: Sequence[PairedRun], *, num_resamples: int, seed: int, number: int
) -> tuple[float, FloatArray, int]:
    """Return the mean of runs on the same people, n resampled means (NaN if P is 1), and P."""
    for run in runs:
        same = (run.pids, runs[0].pids), (run.parts, runs[0].parts)
        if not all(np.array_equal(own, first) for own, first in same):
            raise ValueError(
                f"runs of world {run.world!r} are not scored on the same queries: "
                f"{len(run.pids)} and {len(runs[0].pids)}, or of other people"
            )
    people, whose = np.unique(runs[0].pids, return_inverse=True)
    parts, which = np.unique(runs[0].parts, return_inverse=True)
    shape = (len(parts), len(people))
    cells = which * len(people) + whose

    def add(values: FloatArray | None) -> NDArray[Any]:
        return np.bincount(cells, values, minlength=shape[0] * shape[1]).reshape(shape)

    sizes, sums = add(None), np.stack([add(run.differences) for run in runs])
    # everybody once
    mean = float(_compute_means(np.ones((1, len(people)), np.int64), sums, sizes).mean())
    if len(people) < 2:
        return mean, np.full(num_resamples, np.nan), 1
    scores = _resample_people(
        sums, sizes, rng=sample_rng(seed, _PEOPLE, number), num_resamples=num_resamples
    )  # [n, R]
    counts = sample_counts(
        sample_rng(seed, _RUNS, number), num_units=len(runs), num_resamples=num_resamples
    )
    drawn = np.concatenate(list(counts))
    return mean, (scores * drawn).sum(axis=1) / drawn.sum(axis=1), len(people)


def _resample_people(
    sums: FloatArray, sizes: IntArray, *, rng: np.random.Generator, num_resamples: int
) -> FloatArray:
    """Compute the means of n resamples of people, [n, R]; see `_compute_means`."""
    counts = sample_counts(rng, num_units=sizes.shape[1], num_resamples=num_resamples)
    return np.concatenate([_compute_means(drawn, sums, sizes) for drawn in counts])


def _compute_means(counts: IntArray, sums: FloatArray, sizes: IntArray) -> FloatArray:
    """Compute the mean of each run over the people that are drawn, [b, R].

    A part of whose people none is drawn is passed over: in a part of four of eight people that is
    one resample of a hundred.

    Args:
        counts: how often each person counts, [b, P].
        sums: of the scores of each person's queries, [R, K, P].
        sizes: number of these queries, [K, P].
    """
    # einsum: no threads, so that all processes get the same bits
    num_queries = np.einsum("bp,kp->bk", counts, sizes)  # [b, K]
    drawn = num_queries > 0
    totals = np.einsum("bp,rkp->brk", counts, sums)  # [b, R, K]
    means = totals / np.where(drawn, num_queries, 1)[:, None]
    scores: FloatArray = means.sum(axis=2) / drawn.sum(axis=1)[:, None]
    return scores
