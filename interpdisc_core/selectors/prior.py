"""The prior: a summary of the items seen before a selection begins."""

from dataclasses import dataclass

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.selectors.decision import RANK_RTOL


@dataclass(frozen=True, slots=True)
class Prior:
    """Mean and SVD of the items seen before: all that DEMUD and RX need of them.

    Only null directions are left out: Σ (x − μ)(x − μ)ᵀ = axesᵀ diag(values²) axes.

    Attributes:
        count: Number of items, n0.
        mean: μ (d,).
        values: Singular values of the centered items (r,), falling.
        axes: Right singular vectors (r, d), orthonormal rows.
    """

    count: int
    mean: FloatArray
    values: FloatArray
    axes: FloatArray

    @classmethod
    def empty(cls, dimension: int) -> "Prior":
        """The prior of no items, for rows of `dimension` features."""
        return cls(0, np.zeros(dimension), np.empty(0), np.empty((0, dimension)))

    @classmethod
    @single_blas_thread
    def from_items(cls, items: FloatArray) -> "Prior":
        """The prior of items (n, d), by an SVD of the centered items themselves."""
        if not len(items):
            return cls.empty(items.shape[1])
        mean = items.mean(axis=0)
        _, values, axes = np.linalg.svd(items - mean, full_matrices=False)
        rank = int((values > RANK_RTOL * values[0]).sum()) if values.size and values[0] > 0 else 0
        return cls(len(items), mean, values[:rank], axes[:rank])
