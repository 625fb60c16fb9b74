"""Farthest-first traversal: the next pick is the row farthest from everything seen. Gonzalez 1985."""

import time
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors._in_memory import chunk_slices, load_prior_items, load_rows
from interpdisc_core.selectors._ranked import InMemorySelection, find_highest
from interpdisc_core.selectors.compute import ComputeOptions
from interpdisc_core.selectors.decision import Choice
from interpdisc_core.selectors.neighbors import compute_squared_distances, find_neighbors
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.settings import settings


@settings
class FarthestFirst:
    """Score: min |x − s|² over all s seen, i.e. the prior and earlier picks; the lowest row among equal ones.

    What is expected of a row is the nearest item seen.

    Gonzalez 1985, "Clustering to minimize the maximum intercluster distance". It stops when every row left equals one
    that was seen. Loads all rows into memory, N x d float64, and compares all of them with each pick.

    Attributes:
        start: The first pick if there is no prior: `mean`, the row farthest from the mean of all rows; `random`, drawn
            by `seed`; or the number of a row.
        seed: Of a random start.
    """

    kind: Literal["farthest-first"] = "farthest-first"
    start: Literal["mean", "random"] | Annotated[int, Field(ge=0)] = "mean"
    seed: int = 0

    def open(
        self,
        features: AnyArray | Rows,
        prior: FloatArray | Prior,
        labels: Sequence[str | None] | None = None,
        compute_options: ComputeOptions | None = None,
    ) -> "_FarthestFirstSelection":
        """See `SelectorLike.open`.

        Raises:
            PlanError: If the start row does not exist, or as `load_rows` and `load_prior_items` do.
        """
        count, dimension = features.shape
        items = load_prior_items(prior, dimension, self.kind)
        if isinstance(self.start, int) and not len(items) and self.start >= max(count, 1):
            raise PlanError(f"farthest-first: the start row {self.start} is beyond the {count} rows.")
        return _FarthestFirstSelection(self, load_rows(features), items)


class _FarthestFirstSelection(InMemorySelection):
    """scores (N,): squared distances to the nearest item seen; infinite while none was.

    nearest (N,): that item, as an index into the prior's items (n0, d) and behind them the rows.
    """

    def __init__(self, options: FarthestFirst, values: FloatArray, items: FloatArray) -> None:
        super().__init__(len(values))
        self.options, self.values, self.items = options, values, items
        self.scores, self.nearest = np.full(len(values), np.inf), np.zeros(len(values), dtype=np.intp)
        self.is_first = not len(items)
        if len(items):
            start_time = time.perf_counter()
            neighbors = find_neighbors(values, items, 1)
            self.scores, self.nearest = compute_squared_distances(values, items, neighbors)[:, 0], neighbors[:, 0]
            self.seconds += time.perf_counter() - start_time

    def peek(self) -> Choice | None:
        if self.is_first:
            return self._choose_first()
        best = find_highest(self.scores, self.is_free)
        return None if best is None or best[1] == 0.0 else Choice(*best, *self._explain(best[0]))

    def learn(self, row: int) -> None:
        self.take(row)
        start_time = time.perf_counter()
        squares = _squared_distances_to(self.values, self.values[row])
        self.nearest[squares < self.scores] = len(self.items) + row
        np.minimum(self.scores, squares, out=self.scores)
        self.is_first = False
        self.seconds += time.perf_counter() - start_time

    def absorb(self, row: int) -> None:
        self.learn(row)

    def _explain(self, row: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x̂, x − x̂ and μ (d,) of a row: x̂ and μ are the nearest item seen."""
        nearest = int(self.nearest[row])
        item = self.items[nearest] if nearest < len(self.items) else self.values[nearest - len(self.items)]
        return item, self.values[row] - item, item

    def _choose_first(self) -> Choice | None:
        """The first pick. It is always made: if nothing was seen, the first image is new."""
        if not self.is_free.any():
            return None
        start, count = self.options.start, len(self.values)
        if start == "mean":
            best = find_highest(_squared_distances_to(self.values, self.values.mean(axis=0)), self.is_free)
            return None if best is None else Choice(*best)
        if start == "random":
            start = int(np.random.default_rng(self.options.seed).integers(count))
        assert isinstance(start, int)
        row = next(row for row in (*range(start, count), *range(start)) if self.is_free[row])
        return Choice(row, 0.0)


def _squared_distances_to(values: FloatArray, point: FloatArray) -> FloatArray:
    """|x − y|² (N,) of rows (N, d) to one point (d,), from differences, so that equal rows have 0."""
    squares = np.empty(len(values))
    for chunk in chunk_slices(len(values), values.shape[1]):
        z = values[chunk] - point
        squares[chunk] = np.einsum("nd,nd->n", z, z)
    return squares
