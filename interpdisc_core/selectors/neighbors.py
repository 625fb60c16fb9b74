"""Nearest neighbors by brute force, in two ways: by scikit-learn for many rows, literally where every bit counts.

`find_neighbors` is fast but leaves open which of two equally near items it returns, and its own distances are
inexact; take distances from `compute_squared_distances`. `compute_pairwise_distances` is for few rows: the distance of a
pair has the same bits whatever other rows are given.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from interpdisc_core._types import FloatArray, IndexArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.selectors._in_memory import chunk_slices


def find_neighbors(values: FloatArray, reference: FloatArray | None, count: int) -> IndexArray:
    """Indices (N, k) of the nearest reference items to each row, by Euclidean distance.

    Which of two items that are equally near up to rounding is returned is left open.

    Args:
        values: Rows (N, d).
        reference: Items (n0, d); None: the other rows.
        count: k; fewer if there are fewer items.
    """
    # Imported before the limit is set: the import loads an OpenMP library and maybe a BLAS, which must be limited too.
    from sklearn.neighbors import NearestNeighbors

    others = len(values) - 1 if reference is None else len(reference)
    if not len(values) or others < 1:
        return np.empty((len(values), 0), dtype=np.intp)
    if not values.shape[1]:  # without features all rows are equal
        values, reference = np.zeros((len(values), 1)), None if reference is None else np.zeros((len(reference), 1))
    # scikit-learn computes distances from dot products; about the mean these lose the least to rounding.
    center = (values if reference is None else reference).mean(axis=0)
    search = NearestNeighbors(n_neighbors=min(count, others), algorithm="brute")
    with single_blas_thread, threadpool_limits(limits=1, user_api="openmp"):
        search.fit((values if reference is None else reference) - center)
        neighbors = search.kneighbors(None if reference is None else values - center, return_distance=False)
    return np.asarray(neighbors, dtype=np.intp)


def compute_squared_distances(values: FloatArray, reference: FloatArray, neighbors: IndexArray) -> FloatArray:
    """|x − y|² (N, k) between each row x (N, d) and the items y of `reference` (n0, d) at `neighbors` (N, k).

    From differences, not from dot products: equal rows have distance 0.
    """
    squares = np.empty(neighbors.shape)
    for chunk in chunk_slices(len(values), neighbors.shape[1] * values.shape[1]):
        z = values[chunk, None] - reference[neighbors[chunk]]
        squares[chunk] = np.einsum("nkd,nkd->nk", z, z)
    return squares


def compute_pairwise_distances(values: FloatArray, reference: FloatArray) -> FloatArray:
    """Euclidean distances (n, m) between rows (n, d) and items (m, d), row by row.

    The distance of a pair has the same bits whatever other rows are given: recorded distances are compared with ones that
    are computed later, and NumPy's `sum`, by which they were recorded, rounds otherwise than `einsum`.
    """
    if not len(values):
        return np.empty((0, len(reference)))
    return np.array([np.sqrt(((reference - x) ** 2).sum(axis=1)) for x in values])
