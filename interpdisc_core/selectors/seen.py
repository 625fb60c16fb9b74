"""What was seen before a selection begins: a mean and the singular directions about it."""

from dataclasses import dataclass

import numpy as np

from interpdisc_core.selectors.choice import NULL, Floats


@dataclass(frozen=True, slots=True)
class Seen:
    """`count` items with mean (d,); values (r,), falling, and axes (r, d), orthonormal: the SVD of the centred items.

    Null directions are left out, no other: Σ (x − μ)(x − μ)ᵀ = axesᵀ diag(values²) axes.
    """

    count: int
    mean: Floats
    values: Floats
    axes: Floats

    @classmethod
    def none(cls, dimension: int) -> "Seen":
        """Nothing was seen."""
        return cls(0, np.zeros(dimension), np.empty(0), np.empty((0, dimension)))

    @classmethod
    def of(cls, items: Floats) -> "Seen":
        """Of items (n, d), by their SVD; null directions are told on the items themselves."""
        if not len(items):
            return cls.none(items.shape[1])
        mean = items.mean(axis=0)
        _, values, axes = np.linalg.svd(items - mean, full_matrices=False)
        kept = int((values > NULL * values[0]).sum()) if values.size and values[0] > 0 else 0
        return cls(len(items), mean, values[:kept], axes[:kept])
