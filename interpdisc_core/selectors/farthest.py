"""Farthest-first traversal: the next pick is the row farthest from everything seen. Gonzalez 1985."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import Choice, Features, Floats
from interpdisc_core.selectors.held import held, in_parts, items_of, nearest, squared_to
from interpdisc_core.selectors.ranking import Taking, highest
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.selectors.screen import Means
from interpdisc_core.selectors.seen import Seen


@dataclass(frozen=True, kw_only=True)
class FarthestFirst:
    """Score: min |x − s|² over all s seen, prior and earlier picks; the lowest row among equal ones.

    Gonzalez 1985, "Clustering to minimize the maximum intercluster distance". It stops where every row left equals one
    that was seen. Reads all rows into memory, N x d float64, and looks at all of them for each pick.

    start: how the first pick is made where there is no prior: `mean`, farthest from the mean of all rows; `random`,
    by `seed`; or the number of a row.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["farthest-first"] = "farthest-first"
    start: Literal["mean", "random"] | int = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.start, int) and self.start < 0:
            raise PlanError(f"farthest-first: a start row must be 0 or more, not {self.start}.")

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> "_Traversal":  # fmt: skip
        """See `Selects.open`. Raises PlanError for a start row beyond the rows, and as `held` and `items_of` do."""
        count, dimension = features.shape
        items = items_of(prior, dimension, self.kind)
        if isinstance(self.start, int) and not len(items) and self.start >= max(count, 1):
            raise PlanError(f"farthest-first: the start row {self.start} is beyond the {count} rows there are.")
        return _Traversal(self, held(features), items)


class _Traversal(Taking):
    """scores (N,): squared distances to the nearest that was seen; infinite while nothing was."""

    def __init__(self, settings: FarthestFirst, values: Floats, items: Floats) -> None:
        super().__init__(len(values))
        self.settings, self.values = settings, values
        self.scores = np.full(len(values), np.inf)
        self.opening = not len(items)
        if len(items):
            began = time.perf_counter()
            self.scores = squared_to(values, items, nearest(values, items, 1))[:, 0]
            self.seconds += time.perf_counter() - began

    def peek(self) -> Choice | None:
        if self.opening:
            return self._first()
        best = highest(self.scores, self.free)
        return None if best is None or best[1] == 0.0 else Choice(*best)

    def learn(self, row: int) -> None:
        self.take(row)
        began = time.perf_counter()
        np.minimum(self.scores, _squared(self.values, self.values[row]), out=self.scores)
        self.opening = False
        self.seconds += time.perf_counter() - began

    def absorb(self, row: int) -> None:
        self.learn(row)

    def _first(self) -> Choice | None:
        """The first pick. It is always made: the first image of all is new."""
        if not self.free.any():
            return None
        start, count = self.settings.start, len(self.values)
        if start == "mean":
            best = highest(_squared(self.values, self.values.mean(axis=0)), self.free)
            return None if best is None else Choice(*best)
        if start == "random":
            start = int(np.random.default_rng(self.settings.seed).integers(count))
        assert isinstance(start, int)
        row = next(row for row in (*range(start, count), *range(start)) if self.free[row])
        return Choice(row, 0.0)


def _squared(values: Floats, to: Floats) -> Floats:
    """|x − y|² (N,) of rows (N, d) to one point (d,); literal, so that equal ones have 0."""
    squares = np.empty(len(values))
    for part in in_parts(len(values), values.shape[1]):
        z = values[part] - to
        squares[part] = np.einsum("nd,nd->n", z, z)
    return squares
