"""Distances between query and gallery features that no block size, thread or BLAS can change.

Legend: Q queries, G gallery entries, D feature dimensions.

A matrix product in floating point depends on how it is cut into blocks, so two entries with equal
features could swap ranks when `block_size` changes. Here features are scaled to norm <= 1 and
rounded to multiples of 2^-24 (the resolution of float32 at 1). Products are then multiples of
2^-48, and by Cauchy-Schwarz no partial sum exceeds 1: every sum is exact in float64, whatever its
order. Equal features give equal distances, and a block is bit for bit the full matrix's rows.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

METRICS = ("cosine", "euclidean")
GALLERY_CHUNK = 8192
_GRID = float(2**24)

FloatArray = NDArray[np.float32]
Matrix = NDArray[np.float64]


class FeatureDistance:
    """Distances from queries to a gallery, computed block by block.

    cosine: 1 - cos, features L2-normalised here. euclidean: the squared Euclidean distance of the
    features as they are (torchreid's default), in units of the largest norm squared, which no
    ranking sees.
    """

    def __init__(self, query: FloatArray, gallery: FloatArray, *, metric: str) -> None:
        """Scale and round the features.

        Args:
            query: [Q, D].
            gallery: [G, D].
            metric: cosine or euclidean.

        Raises:
            ValueError: unknown metric, dimensions that differ, or a feature that is not finite.
        """
        if metric not in METRICS:
            raise ValueError(f"distance = {metric!r} is not allowed. Allowed: {', '.join(METRICS)}")
        if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"query features {query.shape} and gallery features {gallery.shape} must be "
                "matrices with as many columns. Compare features of one model and one modality"
            )
        for name, features in (("query", query), ("gallery", gallery)):
            _check_finite(name, features)
        self.metric = metric
        if metric == "cosine":
            query_scale, gallery_scale = _compute_norms(query), _compute_norms(gallery)
        else:
            norms = np.concatenate([_compute_norms(query), _compute_norms(gallery)])
            largest = norms.max(initial=0.0)
            query_scale = np.full(len(query), largest)
            gallery_scale = np.full(len(gallery), largest)
        self._query = _round_to_grid(query, query_scale)
        self._gallery = _round_to_grid(gallery, gallery_scale)

    @property
    def num_queries(self) -> int:
        """Q."""
        return len(self._query)

    @property
    def num_gallery(self) -> int:
        """G."""
        return len(self._gallery)

    def compute_block(self, start: int, stop: int) -> Matrix:
        """Distances of queries start..stop-1 to the whole gallery, [stop - start, G]."""
        query = self._query[start:stop].astype(np.float64)  # [Qb, D]
        distances = np.empty((len(query), self.num_gallery))
        for first in range(0, self.num_gallery, GALLERY_CHUNK):
            gallery = self._gallery[first : first + GALLERY_CHUNK].astype(np.float64)  # [Gb, D]
            products = query @ gallery.T
            if self.metric == "cosine":
                block = 1.0 - products
            else:
                squares = np.square(query).sum(1)[:, None] + np.square(gallery).sum(1)[None]
                block = squares - 2.0 * products
            distances[:, first : first + GALLERY_CHUNK] = block
        return distances

    def iterate_blocks(self, block_size: int) -> Iterator[tuple[int, Matrix]]:
        """Pairs of (first query, distances [<= block_size, G])."""
        for start in range(0, self.num_queries, block_size):
            yield start, self.compute_block(start, min(start + block_size, self.num_queries))


def compute_distances(query: FloatArray, gallery: FloatArray, *, metric: str) -> Matrix:
    """The full matrix, [Q, G]; for real galleries rank in blocks instead."""
    distance = FeatureDistance(query, gallery, metric=metric)
    return distance.compute_block(0, distance.num_queries)


def _compute_norms(features: FloatArray) -> Matrix:
    # einsum would hand rows to BLAS together; a reduction along the row sees that row alone.
    norms: Matrix = np.sqrt(np.square(features.astype(np.float64)).sum(axis=1))
    return norms


def _round_to_grid(features: FloatArray, scale: Matrix) -> FloatArray:
    # A zero feature stays zero: at cosine distance 1 from everything, never a division by zero.
    safe = np.where(scale > 0, scale, 1.0)[:, None]
    return (np.rint(features.astype(np.float64) / safe * _GRID) / _GRID).astype(np.float32)


def _check_finite(name: str, features: FloatArray) -> None:
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{len(bad)} {name} features are not finite (first: row {bad[0]}). "
            "The model's weights or its input are broken; they cannot be ranked"
        )
