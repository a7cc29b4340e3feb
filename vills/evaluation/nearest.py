"""The nearest entries of one row of distances without sorting the row.

Legend: G gallery entries, k entries wanted.
"""

import numpy as np
from numpy.typing import NDArray

from vills.evaluation.distance import DistanceBlock


def find_nearest(distances: DistanceBlock, num: int) -> NDArray[np.int64]:
    """The `num` nearest, nearest first, entries at equal distance in the order of the row.

    As `np.argsort(distances, kind="stable")[:num]`, but only what is near is sorted.

    Args:
        distances: [G], no NaN.
        num: k; more than G gives all.
    """
    num = min(num, len(distances))
    if num <= 0:
        return np.empty(0, dtype=np.int64)
    farthest = np.partition(distances, num - 1)[num - 1]
    near = np.flatnonzero(distances <= farthest)  # ascending: ties stay in order
    return near[np.argsort(distances[near], kind="stable")[:num]]
