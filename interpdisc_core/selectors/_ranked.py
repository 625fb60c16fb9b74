"""Selections in memory: which rows are free, and the selectors that score all rows once and rank them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from interpdisc_core._types import AnyArray, BoolArray, FloatArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.selectors._in_memory import load_prior_items, load_rows
from interpdisc_core.selectors.compute import ComputeOptions
from interpdisc_core.selectors.decision import Choice
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import Rows, as_rows, gather_float64

ExplainFunction = Callable[[int, FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
"""A row's index and its values x (d,) to x̂, x − x̂ and μ (d,)."""


class Ranking(NamedTuple):
    """Scores of all rows (N,), finite, at least 0, higher is newer; and how a row is explained, if it can be."""

    scores: FloatArray
    explain: ExplainFunction | None = None


def find_highest(scores: FloatArray, is_free: BoolArray) -> tuple[int, float, int] | None:
    """The free row of highest score, the lowest index among equal ones; its score; how many other free rows equal it.

    scores (N,), is_free (N,). None if no row is free.
    """
    if not is_free.any():
        return None
    free_scores = np.where(is_free, scores, -np.inf)
    row = int(free_scores.argmax())
    return row, float(scores[row]), int((free_scores == free_scores[row]).sum()) - 1


class InMemorySelection:
    """Base of selections that hold their rows: keeps which rows are free, (N,)."""

    def __init__(self, count: int) -> None:
        self.is_free = np.ones(count, dtype=bool)
        self.seconds = 0.0

    def take(self, row: int) -> None:
        """Mark `row` as taken. Raises ValueError if it is taken already, or if there is no such row."""
        if not 0 <= row < len(self.is_free):
            raise ValueError(f"row {row} is not one of the {len(self.is_free)} rows")
        if not self.is_free[row]:
            raise ValueError(f"row {row} was already taken")
        self.is_free[row] = False

    def skip(self, row: int) -> None:
        """See `Selection.skip`."""
        self.take(row)

    def compute_weight_direction(self, choice: Choice) -> FloatArray | None:
        """See `Selection.compute_weight_direction`."""
        return choice.weight_direction

    def counters(self) -> dict[str, Any]:
        """rows: how many it holds; seconds: spent on scores."""
        return {"rows": len(self.is_free), "seconds": {"score": round(self.seconds, 4)}}


class RankedSelection(InMemorySelection):
    """Proposes all rows by falling score, equal ones by index. What is learned changes nothing.

    Rows of score 0 are proposed too, last: a score that is not updated cannot tell when nothing is new.
    """

    def __init__(self, rows: Rows, rank: Callable[[FloatArray], Ranking]) -> None:
        """rank: values (N, d) to their ranking; called once, on one thread, when a pick is first asked for."""
        super().__init__(rows.shape[0])
        self._rows, self._rank = rows, rank
        self._ranking: Ranking | None = None

    @property
    def ranking(self) -> Ranking:
        """Of all rows. Raises PlanError if a value is not finite."""
        if self._ranking is None:
            start_time = time.perf_counter()
            with single_blas_thread, threadpool_limits(limits=1, user_api="openmp"):
                self._ranking = self._rank(load_rows(self._rows))
            self.seconds += time.perf_counter() - start_time
        return self._ranking

    @single_blas_thread
    def peek(self) -> Choice | None:
        """See `Selection.peek`."""
        scores, explain = self.ranking
        best = find_highest(scores, self.is_free)
        if best is None:
            return None
        if explain is None:
            return Choice(*best)
        return Choice(*best, *explain(best[0], gather_float64(self._rows, np.array([best[0]]))[0]))

    def learn(self, row: int) -> None:
        """See `Selection.learn`."""
        self.take(row)

    def absorb(self, row: int) -> None:
        """See `Selection.absorb`."""
        self.take(row)


class RankOnce(ABC):
    """Base of selectors that score all rows once, compared with the prior or, without one, with each other.

    All rows are loaded into memory, N x d float64.
    """

    kind: str

    @abstractmethod
    def score_rows(self, values: FloatArray, items: FloatArray) -> Ranking:
        """The ranking of rows (N, d) after the prior's items (n0, d); n0 may be 0."""

    def open(
        self,
        features: AnyArray | Rows,
        prior: FloatArray | Prior,
        labels: Sequence[str | None] | None = None,
        compute_options: ComputeOptions | None = None,
    ) -> RankedSelection:
        """See `SelectorLike.open`; raises PlanError as `load_prior_items` does, the first `peek` as `load_rows` does."""
        rows = as_rows(features)
        items = load_prior_items(prior, rows.shape[1], self.kind)
        return RankedSelection(rows, lambda values: self.score_rows(values, items))
