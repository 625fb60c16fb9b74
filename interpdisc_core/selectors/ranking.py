"""Selections that take rows by a score which they have of each: given once and for all, or brought up to date."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from interpdisc_core.selectors.choice import Choice
from interpdisc_core.selectors.rows import Floats

Explain = Callable[[int], tuple[Floats, Floats, Floats]]
"""A row's number to x̂, x − x̂ and μ (d,)."""


def highest(scores: Floats, free: npt.NDArray[np.bool_]) -> tuple[int, float, int] | None:
    """The free row of largest score, the lowest of those that are equal; its score; how many further free rows equal it.

    scores (N,), free (N,). None where no row is free.
    """
    if not free.any():
        return None
    left = np.where(free, scores, -np.inf)
    row = int(left.argmax())
    return row, float(scores[row]), int((left == left[row]).sum()) - 1


class Taking:
    """Which rows are free (N,). What selectors share that hold their rows."""

    def __init__(self, count: int) -> None:
        self.free = np.ones(count, dtype=bool)
        self.seconds = 0.0

    def take(self, row: int) -> None:
        """A row is taken. Raises ValueError where it was before, or where there is none of that number."""
        if not 0 <= row < len(self.free):
            raise ValueError(f"row {row} is not one of the {len(self.free)} there are")
        if not self.free[row]:
            raise ValueError(f"row {row} was already taken")
        self.free[row] = False

    def skip(self, row: int) -> None:
        """See `Selection.skip`."""
        self.take(row)

    def counters(self) -> dict[str, Any]:
        """rows: that it holds; seconds: spent on scores."""
        return {"rows": len(self.free), "seconds": {"score": round(self.seconds, 4)}}


class Ranked(Taking):
    """A selection that ranks all rows once, by falling score; equal ones by their number. What is learned changes nothing.

    All rows are proposed, those of no novelty last: a score that is not updated does not tell when nothing is new.
    count: N. score: makes the scores (N,), finite and not negative, when the first is asked for, on one thread.
    explain: for selectors that expect something.
    """

    def __init__(self, count: int, score: Callable[[], Floats], explain: Explain | None = None) -> None:
        super().__init__(count)
        self._score, self._explain = score, explain
        self._scores: Floats | None = None

    @property
    def scores(self) -> Floats:
        """Of all rows (N,)."""
        if self._scores is None:
            began = time.perf_counter()
            # Sums over several threads differ in the last bits, and so would picks that are made elsewhere.
            with threadpool_limits(limits=1):
                self._scores = self._score()
            self.seconds += time.perf_counter() - began
        return self._scores

    def peek(self) -> Choice | None:
        """See `Selection.peek`."""
        best = highest(self.scores, self.free)
        if best is None:
            return None
        return Choice(*best, *self._explain(best[0])) if self._explain else Choice(*best)

    def learn(self, row: int) -> None:
        """See `Selection.learn`."""
        self.take(row)

    def absorb(self, row: int) -> None:
        """See `Selection.absorb`."""
        self.take(row)
