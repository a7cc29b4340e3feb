"""k-reciprocal re-ranking in bounded memory (Zhong et al., CVPR 2017, with the authors' code).

Legend: Q queries, G gallery entries, N = Q + G, k1 and k2 neighbours, r reciprocal ones, h of half.

Two images are near when they share k-reciprocal neighbours. Published code holds several dense
[N, N] matrices (33 GB each for MSMT17). Here the N x N distances pass by in blocks of rows; of each
only its nearest neighbours stay, and the vectors of Eq. (7) are sparse, since an image has no more
than a few dozen reciprocal neighbours.
"""

import numpy as np
from scipy import sparse

from vills.distributed import gather_objects, get_rank, get_world_size
from vills.evaluation.distance import (
    Distance,
    FeatureDistance,
    FloatArray,
    Matrix,
    check_features,
    compute_block_size,
    find_nearest,
)
from vills.evaluation.ranking import IntArray

GRID = float(2**40)
"""Jaccard distances are multiples of 1 / GRID: what has the same neighbours ties, however exp
rounds. The original distance, exact already, breaks such ties however small a share it is."""
CHUNK = 1024
"""Rows whose neighbours' neighbours are in memory at a time."""


class RerankedDistance:
    """Distances after re-ranking, computed block by block."""

    def __init__(
        self,
        query: FloatArray,
        gallery: FloatArray,
        *,
        k1: int = 20,
        k2: int = 6,
        weight: float = 0.3,
        block_size: int,
        metric: str = "cosine",
    ) -> None:
        """Find neighbours, and the vectors of Eq. (7).

        Every process must call it with the same arguments: they share the blocks. As in the
        authors' code, the original distance is the squared Euclidean one (with features of norm 1,
        twice the cosine one, which is the same here) over the largest of its row, and a candidate's
        neighbours are added when more than, not at least, 2/3 of them are shared (Eq. 5).

        Args:
            query: features, [Q, D].
            gallery: features, [G, D].
            k1: neighbours that may be reciprocal.
            k2: neighbours whose vectors are averaged (local query expansion); 1: none.
            weight: lambda, the share of the original distance.
            block_size: rows of distances at once, at most; memory, never a value.
            metric: cosine, or euclidean (squared); the original distance.

        Raises:
            ValueError: k1, k2 or weight out of range, or features that cannot be compared.
        """
        if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
            raise ValueError(
                f"k1 = {k1}, k2 = {k2}, weight = {weight} is not allowed. Allowed: k1 and k2 from "
                "1, weight from 0 to 1"
            )
        check_features(query, gallery)
        everything = np.concatenate([query, gallery])
        self.num_queries, self.num_gallery, self._weight = len(query), len(gallery), weight
        self._original = FeatureDistance(everything, everything, metric=metric)  # [N, N]
        nearest, self._farthest = _find_neighbours(self._original, max(k1 + 1, k2), block_size)
        vectors = _build_vectors(self._original, nearest, self._farthest, k1)
        if k2 > 1:
            vectors = _average_vectors(vectors, nearest[:, :k2])
        self._query_vectors = vectors[: self.num_queries]  # [Q, N]
        self._gallery_vectors = vectors[self.num_queries :].tocsc()  # [G, N], by column

    def compute_block(self, start: int, stop: int) -> Matrix:
        """Compute distances of queries start..stop-1 to the whole gallery, [stop - start, G]."""
        block = self._original.compute_block(start, stop)[:, self.num_queries :]
        block *= self._weight / _avoid_zero(self._farthest[start:stop])[:, None]
        for row, query in zip(block, range(start, stop), strict=True):
            shared = self._compute_shared(query)
            unshared = np.rint((1 - shared / (2 - shared)) * GRID) / GRID
            row += (1 - self._weight) * unshared
        return block

    def _compute_shared(self, query: int) -> Matrix:
        """Sum min(V_query, V_gallery) over N, [G]; both sum to 1, so the max sums to 2 less it.

        Only gallery entries that share a neighbour with the query are touched.
        """
        own = slice(*self._query_vectors.indptr[query : query + 2])
        columns, values = self._query_vectors.indices[own], self._query_vectors.data[own]
        starts = self._gallery_vectors.indptr[columns]
        sizes = self._gallery_vectors.indptr[columns + 1] - starts
        before = np.cumsum(sizes) - sizes
        where = np.arange(sizes.sum()) + np.repeat(starts - before, sizes)
        smaller = np.minimum(np.repeat(values, sizes), self._gallery_vectors.data[where])
        rows = self._gallery_vectors.indices[where]
        return np.bincount(rows, weights=smaller, minlength=self.num_gallery).astype(np.float64)


def build_distance(
    query: FloatArray, gallery: FloatArray, *, metric: str, rerank: bool, block_size: int
) -> Distance:
    """Build distances of features [Q, D] to [G, D], as they are or after re-ranking."""
    if rerank:
        return RerankedDistance(query, gallery, block_size=block_size, metric=metric)
    return FeatureDistance(query, gallery, metric=metric)


def _find_neighbours(
    original: FeatureDistance, num: int, block_size: int
) -> tuple[IntArray, Matrix]:
    """Find each row's `num` nearest rows, itself first, [N, num]; its largest distance, [N]."""
    num_rows = original.num_queries
    rows = compute_block_size(block_size, num_gallery=num_rows)
    own = []
    for start in range(0, num_rows, rows)[get_rank() :: get_world_size()]:
        block = original.compute_block(start, min(start + rows, num_rows))
        farthest = block.max(axis=1)
        np.fill_diagonal(block[:, start:], -np.inf)  # first of its own row, before equal ones
        near = np.stack([find_nearest(row, num) for row in block])
        own.append((start, near, farthest))
    parts = sorted((part for parts in gather_objects(own) for part in parts), key=lambda p: p[0])
    nearest = np.concatenate([near for _, near, _ in parts])
    return nearest, np.concatenate([largest for _, _, largest in parts])


def _keep_reciprocal(nearest: IntArray, num: int) -> IntArray:
    """Keep R(p, num) of each row: neighbours that have it among theirs; -1 for the others."""
    near = nearest[:, :num]
    reciprocal = np.full_like(near, -1)
    for start in range(0, len(near), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(near)))
        mutual = (near[near[rows]] == rows[:, None, None]).any(axis=2)
        reciprocal[rows] = np.where(mutual, near[rows], -1)
    return reciprocal


def _build_vectors(
    original: FeatureDistance, nearest: IntArray, farthest: Matrix, k1: int
) -> sparse.csr_array:
    """Build rows of Eq. (7) that sum to 1, [N, N]: exp(-distance) at R*(p, k1), 0 elsewhere."""
    whole = _keep_reciprocal(nearest, k1 + 1)  # an image is its own first neighbour
    half = _keep_reciprocal(nearest, int(np.around(k1 / 2)) + 1)
    scale = _avoid_zero(farthest)
    columns, values = [], []
    for row in range(len(nearest)):
        expanded = _expand(whole[row], half)
        columns.append(expanded)
        weights = np.exp(-original.compute_pairs(row, expanded) / scale[row])
        values.append(weights / weights.sum())
    ends = np.cumsum([0, *(len(own) for own in columns)])
    shape = (len(nearest), len(nearest))
    parts = (np.concatenate(values), np.concatenate(columns), ends)
    return sparse.csr_array(parts, shape=shape)


def _expand(reciprocal: IntArray, half: IntArray) -> IntArray:
    """Build R*(p, k1), Eq. (5): R(p, k1) and R(q, k1 / 2) of each q mostly inside it."""
    own = reciprocal[reciprocal >= 0]
    candidates = half[own]  # [r, h]
    real = candidates >= 0
    shared = np.isin(candidates, own).sum(axis=1)  # -1 is never in `own`
    chosen = shared > 2 / 3 * real.sum(axis=1)
    added = candidates[chosen]
    return np.unique(np.concatenate([own, added[added >= 0]]))


def _average_vectors(vectors: sparse.csr_array, nearest: IntArray) -> sparse.csr_array:
    """Expand queries locally, Eq. (13): take the mean of the vectors of each row's nearest."""
    num_rows, k2 = nearest.shape
    ends = np.arange(0, num_rows * k2 + 1, k2)
    parts = (np.full(num_rows * k2, 1 / k2), nearest.ravel(), ends)
    averaged = sparse.csr_array(parts, shape=vectors.shape) @ vectors
    averaged.sort_indices()
    return averaged


def _avoid_zero(farthest: Matrix) -> Matrix:
    """Divide by 1 where a row's largest distance is 0: all of them are, and stay 0."""
    return np.where(farthest > 0, farthest, 1.0)
