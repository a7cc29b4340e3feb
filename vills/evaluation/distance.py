"""Distances between query and gallery features that no block size, thread or BLAS can change.

Legend: Q queries, Qb queries of a block, G gallery entries, D feature dimensions, n rows, k
entries wanted.

A matrix product in floating point depends on how it is cut into blocks, so two entries with equal
features could swap ranks when `block_size` changes. Here features are scaled to norm <= 1 and
rounded to multiples of 2^-24 (the resolution of float32 at 1). Products are then multiples of
2^-48, and by Cauchy-Schwarz no partial sum exceeds 1: every sum is exact in float64, whatever its
order. Equal features give equal distances, and a block is bit for bit the full matrix's rows.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

METRICS = ("cosine", "euclidean")
GALLERY_CHUNK = 8192
"""Gallery rows that are float64 at a time; memory, never a value."""
MAX_BLOCK_BYTES = 2**30
"""A block of float64 distances larger than this is cut smaller than asked."""
_GRID = float(2**24)

FloatArray = NDArray[np.float32]
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

    cosine: 1 - cos, features L2-normalised here. euclidean: the squared Euclidean distance of the
    features as they are (torchreid's default), in units of the largest norm squared, which no
    ranking sees.

    Memory above the features: a rounded copy of both, and per block 8 bytes * Qb * G.
    """

    def __init__(self, query: FloatArray, gallery: FloatArray, *, metric: str) -> None:
        """Scale and round the features.

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
        query_scale, gallery_scale = _compute_norms(query), _compute_norms(gallery)
        if metric == "euclidean":
            largest = max(query_scale.max(initial=0.0), gallery_scale.max(initial=0.0))
            query_scale = np.full(len(query), largest)
            gallery_scale = np.full(len(gallery), largest)
        self._query = _round_to_grid(query, query_scale)
        same = gallery is query
        self._gallery = self._query if same else _round_to_grid(gallery, gallery_scale)

    @property
    def num_queries(self) -> int:
        """Q."""
        return len(self._query)

    @property
    def num_gallery(self) -> int:
        """G."""
        return len(self._gallery)

    def compute_block(self, start: int, stop: int) -> Matrix:
        """Compute distances of queries start..stop-1 to the whole gallery, [stop - start, G]."""
        query = self._query[start:stop].astype(np.float64)  # [Qb, D]
        distances = np.empty((len(query), self.num_gallery))
        for first in range(0, self.num_gallery, GALLERY_CHUNK):
            gallery = self._gallery[first : first + GALLERY_CHUNK].astype(np.float64)  # [Gb, D]
            distances[:, first : first + GALLERY_CHUNK] = self._measure(query, gallery)
        return distances

    def compute_pairs(self, row: int, columns: NDArray[np.int64]) -> Matrix:
        """Compute distances of query `row` to gallery rows `columns`, [n]: those of its block."""
        query, gallery = self._query[row : row + 1], self._gallery[columns]
        block: Matrix = self._measure(query.astype(np.float64), gallery.astype(np.float64))
        return np.asarray(block[0])

    def _measure(self, query: Matrix, gallery: Matrix) -> Matrix:
        products: Matrix = query @ gallery.T
        if self.metric == "cosine":
            return np.asarray(1.0 - products)
        squares = np.square(query).sum(1)[:, None] + np.square(gallery).sum(1)[None]
        return np.asarray(squares - 2.0 * products)


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


def _compute_norms(features: FloatArray) -> Matrix:
    # einsum would hand rows to BLAS together; a reduction along the row sees that row alone.
    norms = np.empty(len(features))
    for rows in _iterate_chunks(len(features)):
        norms[rows] = np.sqrt(np.square(features[rows].astype(np.float64)).sum(axis=1))
    return norms


def _round_to_grid(features: FloatArray, scale: Matrix) -> FloatArray:
    # A zero feature stays zero: at cosine distance 1 from everything, never a division by zero.
    safe = np.where(scale > 0, scale, 1.0)[:, None]
    rounded = np.empty(features.shape, dtype=np.float32)
    for rows in _iterate_chunks(len(features)):
        rounded[rows] = np.rint(features[rows].astype(np.float64) / safe[rows] * _GRID) / _GRID
    return rounded


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
