"""Distances between query and gallery features that no block size, thread or BLAS can change.

Legend: Q queries, Qb queries of a block, G gallery entries, D feature dimensions, n rows, k
entries wanted.

A matrix product in floating point depends on how it is cut into blocks, so two entries with equal
features could swap ranks when `block_size` changes. Here every row is rounded on a grid of its own:
multiples of 2^-26 of the power of two above its norm. Products of two rows are then multiples of
2^-52 of a power of two and, by Cauchy-Schwarz, no partial sum exceeds twice that: every sum is
exact in float64, whatever its order. Equal features give equal distances, and a block is bit for
bit the full matrix's rows.

What a row loses to its grid is some 2^-26 of its norm, whatever the other rows hold. That is
too much in two cases, where |q|^2 + |g|^2 - 2 q g is the small difference of large numbers:

- all features lie far from zero: so a common centre is subtracted first, the median of a sample of
  the gallery, which a few wild rows do not move;
- two rows are near each other: so such a pair is computed again from its differences in float64.

The cosine distance of two rows is half the squared distance of their unit rows.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

METRICS = ("cosine", "euclidean")
GALLERY_CHUNK = 8192
"""Gallery rows that are float64 at a time; memory, never a value."""
MAX_BLOCK_BYTES = 2**30
"""A block of float64 distances larger than this is cut smaller than asked."""
_GRID = float(2**26)
_NEAR = 2.0**-8
"""A pair this near, as a share of |q|^2 + |g|^2, is computed from its differences."""
_SAMPLE = 1023
"""Gallery rows, evenly spread, whose median is the centre."""

FloatArray = NDArray[np.floating[Any]]
"""Features: float32, but for what others have saved as float64."""
IntArray = NDArray[np.int64]
Matrix = NDArray[np.float64]
DistanceBlock = NDArray[np.float32] | NDArray[np.float64]


class Distance(Protocol):
    """Whatever tells how far each gallery entry is from some queries."""

    @property
    def num_queries(self) -> int:
        """Q."""

    @property
    def num_gallery(self) -> int:
        """G."""

    def compute_block(self, start: int, stop: int) -> DistanceBlock:
        """Compute distances of queries start..stop-1 to the whole gallery, [stop - start, G]."""


class FeatureDistance:
    """Distances from queries to a gallery, computed block by block.

    cosine: 1 - cos, features L2-normalised here; 1 from and to a feature of zeros. euclidean: the
    squared Euclidean distance of the features as they are (torchreid's default).

    Memory above the features: a rounded float32 copy of both, and per block 8 bytes * Qb * G.
    """

    def __init__(self, query: FloatArray, gallery: FloatArray, *, metric: str) -> None:
        """Centre and round the features, which must stay as they are.

        Args:
            query: [Q, D].
            gallery: [G, D]; may be the same array as `query`, which is then rounded once.
            metric: cosine or euclidean.

        Raises:
            ValueError: unknown metric, dimensions that differ, or a feature that is not finite.
        """
        if metric not in METRICS:
            raise ValueError(f"distance = {metric!r} is not allowed. Allowed: {', '.join(METRICS)}")
        check_features(query, gallery)
        self.metric = metric
        sample = np.linspace(0, max(len(gallery) - 1, 0), min(len(gallery), _SAMPLE)).astype(int)
        centre = np.zeros(gallery.shape[1])
        if len(sample):
            rows = _Rows(gallery[sample], centre, unit=metric == "cosine")
            centre = np.median(rows.load(slice(None)), axis=0)
        self._query = _Rows(query, centre, unit=metric == "cosine")
        same = gallery is query
        self._gallery = self._query if same else _Rows(gallery, centre, unit=metric == "cosine")

    @property
    def num_queries(self) -> int:
        """Q."""
        return len(self._query.features)

    @property
    def num_gallery(self) -> int:
        """G."""
        return len(self._gallery.features)

    def compute_block(self, start: int, stop: int) -> Matrix:
        """Compute distances of queries start..stop-1 to the whole gallery, [stop - start, G]."""
        queries = np.arange(start, min(stop, self.num_queries))
        distances = np.empty((len(queries), self.num_gallery))
        for first in range(0, self.num_gallery, GALLERY_CHUNK):
            columns = np.arange(first, min(first + GALLERY_CHUNK, self.num_gallery))
            self._measure(queries, columns, out=distances[:, first : first + GALLERY_CHUNK])
        return distances

    def compute_pairs(self, row: int, columns: NDArray[np.int64]) -> Matrix:
        """Compute distances of query `row` to gallery rows `columns`, [n]: those of its block."""
        distances = np.empty((1, len(columns)))
        self._measure(np.array([row]), columns, out=distances)
        return np.asarray(distances[0])

    def _measure(self, rows: IntArray, columns: IntArray, *, out: Matrix) -> None:
        query, gallery = self._query, self._gallery
        own, others = query.half_squares[rows, None], gallery.half_squares[columns]
        sums = own + others
        np.subtract(sums, query.get_rounded(rows) @ gallery.get_rounded(columns).T, out=out)
        sums *= _NEAR
        near = out < sums
        for row in np.flatnonzero(near.any(axis=1)):
            found = np.flatnonzero(near[row])
            for part in np.array_split(found, -(-len(found) // GALLERY_CHUNK)):
                apart = gallery.load(columns[part]) - query.load(rows[row : row + 1])
                out[row, part] = np.square(apart).sum(axis=1) / 2
        if self.metric == "euclidean":
            out *= 2
        else:
            out[query.is_zero[rows]] = 1
            out[:, gallery.is_zero[columns]] = 1


class _Rows:
    """Features of one side, centred, and rounded on each row's own grid."""

    def __init__(self, features: FloatArray, centre: Matrix, *, unit: bool) -> None:
        self.features, self._centre, self._unit = features, centre, unit
        num = len(features)
        self.is_zero = np.zeros(num, dtype=np.bool_)
        self._rounded = np.empty(features.shape, dtype=np.float32)  # norm <= 1
        self._scales, self.half_squares = np.empty((num, 1)), np.empty(num)
        for rows in _iterate_chunks(num):
            self.is_zero[rows] = ~features[rows].any(axis=1)
            centred = self.load(rows)
            # a power of two: what is divided by it keeps its bits
            self._scales[rows] = np.exp2(np.frexp(_compute_norms(centred))[1])
            self._rounded[rows] = np.rint(centred / self._scales[rows] * _GRID) / _GRID
            self.half_squares[rows] = np.square(self.get_rounded(rows)).sum(axis=1) / 2

    def load(self, rows: slice | IntArray) -> Matrix:
        """Build rows as they are compared, [n, D]."""
        chosen = self.features[rows].astype(np.float64)
        if self._unit:
            norms = _compute_norms(chosen)
            chosen /= np.where(norms > 0, norms, 1.0)
        return chosen - self._centre

    def get_rounded(self, rows: slice | IntArray) -> Matrix:
        """Return rows on their grids, [n, D]."""
        return self._rounded[rows] * self._scales[rows]


def compute_block_size(block_size: int, *, num_gallery: int) -> int:
    """Return the queries of a block: `block_size`, or as many as MAX_BLOCK_BYTES hold."""
    return max(1, min(block_size, MAX_BLOCK_BYTES // (8 * max(num_gallery, 1))))


def find_nearest(distances: DistanceBlock, num: int) -> NDArray[np.int64]:
    """Find the `num` nearest, nearest first, entries at equal distance in the order of the row.

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


def check_features(query: FloatArray, gallery: FloatArray) -> None:
    """Whether [Q, D] and [G, D] can be compared.

    Raises:
        ValueError: dimensions that differ, or a feature that is not finite.
    """
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query features {query.shape} and gallery features {gallery.shape} must be matrices "
            "with the same number of columns. Compare features of one model and one modality"
        )
    _check_finite("query", query)
    if gallery is not query:
        _check_finite("gallery", gallery)


def _compute_norms(features: Matrix) -> Matrix:
    # [n, 1]. einsum would hand rows to BLAS together; a sum along the row sees that row alone.
    return np.asarray(np.sqrt(np.square(features).sum(axis=1, keepdims=True)))


def _check_finite(name: str, features: FloatArray) -> None:
    chunks = [np.isfinite(features[rows]).all(axis=1) for rows in _iterate_chunks(len(features))]
    bad = np.flatnonzero(~np.concatenate(chunks)) if chunks else np.empty(0, np.int64)
    if len(bad):
        raise ValueError(
            f"{len(bad)} {name} features are not finite (first: row {bad[0]}). "
            "The model's weights or its input are broken; they cannot be ranked"
        )


def _iterate_chunks(num: int) -> Iterator[slice]:
    for first in range(0, num, GALLERY_CHUNK):
        yield slice(first, first + GALLERY_CHUNK)
