"""Nearest neighbours: a row is as new as its neighbours are far. Ramaswamy, Rastogi & Shim 2000."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import Features, Floats
from interpdisc_core.selectors.held import held, items_of, nearest, squared_to
from interpdisc_core.selectors.ranking import Ranked
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.selectors.screen import Means
from interpdisc_core.selectors.seen import Seen


@dataclass(frozen=True, kw_only=True)
class NearestNeighbours:
    """Score: the Euclidean distance to the k-th nearest, or the mean of those to the k nearest; all rows ranked once.

    `kth` is of Ramaswamy, Rastogi & Shim 2000, "Efficient algorithms for mining outliers from large data sets"; `mean`
    of Angiulli & Pizzuti 2002. Neighbours are the items of the prior, or, without one, all other rows. Where there
    are fewer than k all count, and a row that is alone has 0. Reads all rows into memory, N x d float64.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["nearest-neighbours"] = "nearest-neighbours"
    k: int = 5
    of: Literal["kth", "mean"] = "kth"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise PlanError(f"nearest-neighbours: k must be at least 1, not {self.k}.")

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> Ranked:  # fmt: skip
        """See `Selects.open`. Raises PlanError as `items_of` does; the first `peek` as `held` does."""
        items = items_of(prior, features.shape[1], self.kind)

        def score() -> Floats:
            values = held(features)
            among = items if len(items) else None
            which = nearest(values, among, self.k)
            if not which.shape[1]:
                return np.zeros(len(values))
            # Sorted, since which of two comes first is a matter of rounding there, and a sum is in order.
            distances = np.sort(np.sqrt(squared_to(values, values if among is None else among, which)), axis=1)
            found: Floats = distances[:, -1] if self.of == "kth" else distances.mean(axis=1)
            return found

        return Ranked(features.shape[0], score)
