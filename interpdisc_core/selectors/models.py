"""DEMUD's models of what was seen, in the coordinates of the span of the seen items.

Coordinates grow by one when the span does; earlier items have a 0 there. `begin` is given the prior's singular
values: the span's origin is then the prior's mean and its first axes the prior's singular directions.
"""

import numpy as np

from interpdisc_core.selectors.choice import NULL, Floats


def _leading(factor: Floats, rank: int) -> tuple[Floats, Floats]:
    """Leading singular values (q,) and right singular vectors (q, t) of factor (m, t); null directions dropped.

    Decided on the factor, never on its square.
    """
    if not factor.size:
        return np.empty(0), np.empty((0, factor.shape[1]))
    _, values, axes = np.linalg.svd(factor, full_matrices=False)
    kept = min(int((values > NULL * values[0]).sum()) if values[0] > 0 else 0, rank)
    return values[:kept], axes[:kept]


def _wide(vector: Floats, size: int) -> Floats:
    return np.pad(vector, [(0, 0)] * (vector.ndim - 1) + [(0, size - vector.shape[-1])])


class Full:
    """The exact rank-k SVD of everything seen."""

    def __init__(self, rank: int) -> None:
        self.rank, self.largest = rank, 0.0
        self._prior, self._prior_count = np.empty(0), 0
        self._items: list[Floats] = []

    def begin(self, values: Floats, count: int) -> None:
        """Take over a prior of `count` items with singular values (r0,)."""
        self._prior, self._prior_count = values, count
        self.largest = float(values.max(initial=0.0))

    def learn(self, item: Floats) -> None:
        """Absorb one item by its coordinates (t,)."""
        self._items.append(item)
        # A lower bound of S_max is enough to tell a null direction; `fit` decides on the exact one.
        seen = self._prior_count + len(self._items)
        mean = np.sum([_wide(i, len(item)) for i in self._items], axis=0) / seen
        self.largest = max(self.largest, float(np.linalg.norm(item - mean)))

    def fit(self, size: int) -> tuple[Floats, Floats]:
        """Mean (size,) and directions (q, size) of the model."""
        items = np.array([_wide(item, size) for item in self._items]).reshape(len(self._items), size)
        seen, own = self._prior_count + len(items), items.mean(axis=0) if len(items) else np.zeros(size)
        # The scatter about the common mean, as a factor and so without subtracting large numbers:
        # the prior's own, the items' own, and that of the two means against each other.
        between = np.sqrt(self._prior_count * len(items) / max(seen, 1)) * own
        prior = _wide(np.diag(self._prior), size)
        factor = np.vstack([prior, items - own, between[None]]) if self._prior_count else items - own
        _, directions = _leading(factor, self.rank)
        return own * len(items) / max(seen, 1), directions


class Incremental:
    """A truncated SVD that is updated by one item at a time, with exact weights.

    Ross et al. 2008 for single items: append the column sqrt(n/(n+1)) (x − μ), which reproduces the scatter matrix
    exactly, and truncate to the rank. (Brand 2002 has no mean term and gives new items too little weight.)
    """

    def __init__(self, rank: int) -> None:
        self.rank, self.largest, self._count = rank, 0.0, 0
        self._mean, self._values, self._axes = np.empty(0), np.empty(0), np.empty((0, 0))

    def begin(self, values: Floats, count: int) -> None:
        """Take over a prior of `count` items with singular values (q,)."""
        self._count, self._values, self._axes = count, values, np.eye(len(values))
        self._mean = np.zeros(len(values))
        self.largest = float(values.max(initial=0.0))

    def learn(self, item: Floats) -> None:
        """Absorb one item by its coordinates (t,)."""
        size = len(item)
        mean = _wide(self._mean, size)
        step = item - mean
        if self._count:
            column = np.sqrt(self._count / (self._count + 1)) * step
            factor = np.vstack([self._values[:, None] * _wide(self._axes, size), column])
            self._values, self._axes = _leading(factor, self.rank)
        else:
            self._axes = np.empty((0, size))
        self._mean, self._count = mean + step / (self._count + 1), self._count + 1
        self.largest = float(self._values.max(initial=0.0))

    def fit(self, size: int) -> tuple[Floats, Floats]:
        """Mean (size,) and directions (q, size) of the model."""
        return _wide(self._mean, size), _wide(self._axes, size)
