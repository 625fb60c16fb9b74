"""The oracle: it knows the classes, so no selector discovers them sooner."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import Choice, Features, Floats
from interpdisc_core.selectors.ranking import Taking, highest
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.selectors.screen import Means
from interpdisc_core.selectors.seen import Seen


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Each pick is the lowest row of a class of which none was learned; when there is no such class, the rest in order.

    Score: 1 for a new class, 0 otherwise. A row without a label is of no class. Nothing is known of a prior's
    classes. Only labels are looked at; nothing is expected.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["oracle"] = "oracle"

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> "_Knowing":  # fmt: skip
        """See `Selects.open`. labels (N,). Raises PlanError without them, or where they are not N."""
        if labels is None:
            raise PlanError("oracle: it needs labels; give a class for each image (--labels).")
        if len(labels) != features.shape[0]:
            raise PlanError(f"oracle: there are {len(labels)} labels for {features.shape[0]} rows.")
        return _Knowing(labels)


class _Knowing(Taking):
    """classes (N,): the number of each row's class, −1 for none. scores (N,): 1 where it is a class not learned yet."""

    def __init__(self, labels: Sequence[str | None]) -> None:
        super().__init__(len(labels))
        numbers: dict[str, int] = {}
        self.classes = np.array([numbers.setdefault(label, len(numbers)) if label else -1 for label in labels], np.intp)
        self.scores = (self.classes >= 0).astype(np.float64)

    def peek(self) -> Choice | None:
        best = highest(self.scores, self.free)
        return None if best is None else Choice(*best)

    def learn(self, row: int) -> None:
        self.take(row)
        if self.classes[row] >= 0:
            self.scores[self.classes == self.classes[row]] = 0.0

    def absorb(self, row: int) -> None:
        self.learn(row)
