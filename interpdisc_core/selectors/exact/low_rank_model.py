"""DEMUD's model of the items seen, in the coordinates of the basis that spans them.

When the basis grows by an axis, so do the coordinates; earlier items have 0 there.
"""

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.selectors.decision import RANK_RTOL
from interpdisc_core.selectors.exact.svd_update import append_row
from interpdisc_core.selectors.prior import Prior


class LowRankModel:
    """A mean and the SVD of the items about it, updated by one item at a time.

    A new item x adds the row sqrt(n/(n+1)) (x − μ) to the factor, which is exact: the scatter about the new mean is the
    old one plus n/(n+1) (x − μ)(x − μ)ᵀ (Ross et al. 2008; Brand 2002 has no mean term and gives new items too little
    weight). So with `max_rank` None this is the SVD of everything seen; otherwise it is truncated after each item.
    """

    def __init__(self, max_rank: int | None) -> None:
        self.max_rank, self.count = max_rank, 0
        self.mean, self.singular_values, self.axes = np.empty(0), np.empty(0), np.empty((0, 0))

    def load_prior(self, prior: Prior) -> None:
        """Start from a prior; the origin of the basis must be its mean, and the axes of the basis its axes."""
        self.count, self.mean = prior.count, np.zeros(len(prior.values))
        self.singular_values, self.axes = self._truncate(prior.values, np.eye(len(prior.values)))

    @property
    def max_singular_value(self) -> float:
        """S_max; 0 if there is no direction."""
        return float(self.singular_values.max(initial=0.0))

    def learn(self, item: FloatArray) -> None:
        """Learn one item, given by its coordinates (t,)."""
        mean, axes = _pad_columns(self.mean, len(item)), _pad_columns(self.axes, len(item))
        step = item - mean
        if self.count:
            column = np.sqrt(self.count / (self.count + 1)) * step
            self.singular_values, self.axes = self._truncate(*append_row(self.singular_values, axes, column))
        else:
            self.axes = axes
        self.count += 1
        self.mean = mean + step / self.count

    def get_subspace(self, size: int, rank: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean (size,), the leading directions (q, size) and their singular values (q,).

        q is at most `rank`; null directions are dropped.
        """
        direction_count = min(rank, int((self.singular_values > RANK_RTOL * self.max_singular_value).sum()))
        axes, values = self.axes[:direction_count], self.singular_values[:direction_count]
        return _pad_columns(self.mean, size), _pad_columns(axes, size), values

    def _truncate(self, values: FloatArray, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self.max_rank is None:
            return values, axes
        direction_count = min(self.max_rank, int((values > RANK_RTOL * values.max(initial=0.0)).sum()))
        return values[:direction_count], axes[:direction_count]


def _pad_columns(vector: FloatArray, size: int) -> FloatArray:
    return np.pad(vector, [(0, 0)] * (vector.ndim - 1) + [(0, size - vector.shape[-1])])
