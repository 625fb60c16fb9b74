"""The oracle: it knows the classes, so no selector discovers them sooner."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors._ranked import InMemorySelection, find_highest
from interpdisc_core.selectors.compute import ComputeOptions
from interpdisc_core.selectors.decision import Choice
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.settings import settings


@settings
class Oracle:
    """Picks the first row of each class that was not learned yet, then the remaining rows in order.

    Score: 1 for a new class, 0 otherwise. A row without a label belongs to no class. The classes of a prior are
    unknown, so it is ignored. Reads labels only; picks have no expectation.
    """

    kind: Literal["oracle"] = "oracle"

    def open(
        self,
        features: AnyArray | Rows,
        prior: FloatArray | Prior,
        labels: Sequence[str | None] | None = None,
        compute_options: ComputeOptions | None = None,
    ) -> "_OracleSelection":
        """See `SelectorLike.open`. Raises PlanError if labels (N,) are missing, or if their number is not N."""
        if labels is None:
            raise PlanError("oracle: it needs labels; give a class for each image (--labels).")
        if len(labels) != features.shape[0]:
            raise PlanError(f"oracle: there are {len(labels)} labels for {features.shape[0]} rows.")
        return _OracleSelection(labels)


class _OracleSelection(InMemorySelection):
    """classes (N,): the number of each row's class, −1 for none. scores (N,): 1 if its class was not learned yet."""

    def __init__(self, labels: Sequence[str | None]) -> None:
        super().__init__(len(labels))
        class_numbers: dict[str, int] = {}
        self.classes = np.array(
            [class_numbers.setdefault(label, len(class_numbers)) if label else -1 for label in labels], np.intp
        )
        self.scores = (self.classes >= 0).astype(np.float64)

    def peek(self) -> Choice | None:
        best = find_highest(self.scores, self.is_free)
        return None if best is None else Choice(*best)

    def learn(self, row: int) -> None:
        self.take(row)
        if self.classes[row] >= 0:
            self.scores[self.classes == self.classes[row]] = 0.0

    def absorb(self, row: int) -> None:
        self.learn(row)
