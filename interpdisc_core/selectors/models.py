"""DEMUD's model of what was seen, in the coordinates of the basis that spans it.

Coordinates grow by one when the basis does; earlier items have a 0 there.
"""

import numpy as np

from interpdisc_core.selectors.choice import NULL, Floats
from interpdisc_core.selectors.eigen import append_row
from interpdisc_core.selectors.seen import Seen


class Model:
    """A mean and the SVD of the items about it, updated by one item at a time.

    A new item x adds the row sqrt(n/(n+1)) (x − μ) to the factor, which is exact: the scatter about the new mean is the
    old one plus n/(n+1) (x − μ)(x − μ)ᵀ (Ross et al. 2008; Brand 2002 has no mean term and gives new items too little
    weight). So without `keep` this is the SVD of everything seen; with it, the SVD is cut to `keep` after each item.
    """

    def __init__(self, keep: int | None) -> None:
        self.keep, self.count = keep, 0
        self.mean, self.values, self.axes = np.empty(0), np.empty(0), np.empty((0, 0))

    def begin(self, seen: Seen) -> None:
        """Take over what was seen; the basis' origin is its mean and the basis' axes are its own."""
        self.count, self.mean = seen.count, np.zeros(len(seen.values))
        self.values, self.axes = self._cut(seen.values, np.eye(len(seen.values)))

    @property
    def largest(self) -> float:
        """S_max."""
        return float(self.values.max(initial=0.0))

    def learn(self, item: Floats) -> None:
        """Absorb one item by its coordinates (t,)."""
        mean, axes = _wide(self.mean, len(item)), _wide(self.axes, len(item))
        step = item - mean
        if self.count:
            column = np.sqrt(self.count / (self.count + 1)) * step
            self.values, self.axes = self._cut(*append_row(self.values, axes, column))
        else:
            self.axes = axes
        self.count += 1
        self.mean = mean + step / self.count

    def fit(self, size: int, rank: int) -> tuple[Floats, Floats]:
        """Mean (size,) and the leading `rank` directions (q, size), null ones dropped."""
        kept = min(rank, int((self.values > NULL * self.largest).sum()))
        return _wide(self.mean, size), _wide(self.axes[:kept], size)

    def _cut(self, values: Floats, axes: Floats) -> tuple[Floats, Floats]:
        if self.keep is None:
            return values, axes
        kept = min(self.keep, int((values > NULL * values.max(initial=0.0)).sum()))
        return values[:kept], axes[:kept]


def _wide(vector: Floats, size: int) -> Floats:
    return np.pad(vector, [(0, 0)] * (vector.ndim - 1) + [(0, size - vector.shape[-1])])
