"""Confidence intervals of a mean over queries: the percentile bootstrap.

Legend: V valid queries, M scores per query, n resamples.

Which queries a data set has is chance; how far a score would move with other ones is what the
interval says. Draw V queries with replacement, take the mean, n times: the interval holds the
middle 95 % of these means (Efron and Tibshirani, An Introduction to the Bootstrap, section 13.3).
All scores are taken from the same resamples. Queries count as independent, though those of one
person are not quite: the interval is a lower bound of the uncertainty.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vills.data.rng import sample_rng

LEVEL = 0.95
_STREAM = 72
"""Keeps resamples apart from other uses of the same seed."""


def compute_intervals(
    per_query: Mapping[str, NDArray[np.float64]], *, num_resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Low and high end of each score's mean.

    Args:
        per_query: name -> score of every valid query, [V].
        num_resamples: n; 0 gives no intervals.
        seed: the same seed, the same intervals.
    """
    if num_resamples == 0 or not per_query:
        return {}
    values = np.stack(list(per_query.values()))  # [M, V]
    rng = sample_rng(seed, _STREAM)
    means = np.empty((num_resamples, len(values)))
    for resample in range(num_resamples):
        draws = rng.integers(values.shape[1], size=values.shape[1])
        means[resample] = values[:, draws].mean(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    ends = zip(low.tolist(), high.tolist(), strict=True)
    return dict(zip(per_query, ends, strict=True))
