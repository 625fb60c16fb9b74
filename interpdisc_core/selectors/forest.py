"""Isolation forest: what random cuts separate from the rest soon is new. Liu, Ting & Zhou 2008."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import Features, Floats
from interpdisc_core.selectors.held import by_value, held, items_of, ordered
from interpdisc_core.selectors.ranking import Ranked
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.selectors.screen import Means
from interpdisc_core.selectors.seen import Seen


@dataclass(frozen=True, kw_only=True)
class IsolationForest:
    """Score: 2^(−E h(x) / c), above 0 and at most 1, h being the depth at which x is alone; all rows ranked once.

    Liu, Ting & Zhou 2008, "Isolation forest", equation 2; scikit-learn's. It is grown on the items of the prior, or,
    without one, on all rows, and is the same in whatever order these come. Reads all rows into memory, N x d float64;
    cuts are in float32.

    trees: how many, sample: rows that each is grown on (all where there are fewer), seed: of rows and cuts.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["isolation-forest"] = "isolation-forest"
    trees: int = 100
    sample: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trees < 1:
            raise PlanError(f"isolation-forest: trees must be at least 1, not {self.trees}.")
        if self.sample < 2:
            raise PlanError(f"isolation-forest: sample must be at least 2 rows, not {self.sample}.")
        if not 0 <= self.seed < 2**32:
            raise PlanError(f"isolation-forest: seed must be from 0 to 2^32 − 1, not {self.seed}.")

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> Ranked:  # fmt: skip
        """See `Selects.open`. Raises PlanError as `items_of` does; the first `peek` as `held` does."""
        items = items_of(prior, features.shape[1], self.kind)

        def score() -> Floats:
            from sklearn import ensemble

            values = held(features)
            if not values.size:
                return np.zeros(len(values))
            grown_on = items if len(items) else values
            forest = ensemble.IsolationForest(
                n_estimators=self.trees, max_samples=min(self.sample, len(grown_on)), random_state=self.seed
            ).fit(grown_on[ordered(grown_on)])
            return by_value(values, lambda some: -forest.score_samples(some))

        return Ranked(features.shape[0], score)
