"""Isolation forest: what random cuts soon separate from the rest is new. Liu, Ting & Zhou 2008."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import FloatArray
from interpdisc_core.selectors._in_memory import canonical_order, score_unique_rows
from interpdisc_core.selectors._ranked import Ranking, RankOnce
from interpdisc_core.settings import settings


@settings
class IsolationForest(RankOnce):
    """Score: 2^(−E h(x) / c), above 0 and at most 1, where h is the depth at which x is alone; ranks all rows once.

    Liu, Ting & Zhou 2008, "Isolation forest", equation 2, by scikit-learn. The forest is grown on the items of the
    prior or, without one, on all rows, and is the same in whatever order these are given. Cuts are in float32.

    Attributes:
        trees: How many.
        sample: Rows that each tree is grown on; all if there are fewer.
        seed: Of the samples and the cuts.
    """

    kind: Literal["isolation-forest"] = "isolation-forest"
    trees: Annotated[int, Field(ge=1)] = 100
    sample: Annotated[int, Field(ge=2)] = 256
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def score_rows(self, values: FloatArray, items: FloatArray) -> Ranking:
        """See `RankOnce.score_rows`."""
        from sklearn import ensemble

        if not values.size:
            return Ranking(np.zeros(len(values)))
        training_rows = items if len(items) else values
        forest = ensemble.IsolationForest(
            n_estimators=self.trees, max_samples=min(self.sample, len(training_rows)), random_state=self.seed
        ).fit(training_rows[canonical_order(training_rows)])
        return Ranking(score_unique_rows(values, lambda rows: -forest.score_samples(rows)))
