"""Nearest neighbors: a row is as new as its neighbors are far. Ramaswamy, Rastogi & Shim 2000."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import FloatArray
from interpdisc_core.selectors._in_memory import canonical_order
from interpdisc_core.selectors._ranked import Ranking, RankOnce
from interpdisc_core.selectors.neighbors import compute_squared_distances, find_neighbors
from interpdisc_core.settings import settings


@settings
class NearestNeighbours(RankOnce):
    """Score: Euclidean distance to the k-th nearest neighbor, or the mean distance to the k nearest; ranks all rows once.

    `kth` is the score of Ramaswamy, Rastogi & Shim 2000, "Efficient algorithms for mining outliers from large data
    sets"; `mean` that of Angiulli & Pizzuti 2002. Neighbors are the items of the prior or, without one, all other rows.
    If there are fewer than k, all of them count; a row without any has score 0. What is expected of a row is the mean of
    its neighbors.

    Attributes:
        k: Neighbors that count.
        of: `kth` or `mean`.
    """

    kind: Literal["nearest-neighbours"] = "nearest-neighbours"
    k: Annotated[int, Field(ge=1)] = 5
    of: Literal["kth", "mean"] = "kth"

    def score_rows(self, values: FloatArray, items: FloatArray) -> Ranking:
        """See `RankOnce.score_rows`."""
        reference = items if len(items) else None
        neighbors = find_neighbors(values, reference, self.k)
        if not neighbors.shape[1]:
            return Ranking(np.zeros(len(values)))
        items = values if reference is None else reference
        squares = compute_squared_distances(values, items, neighbors)
        # Sorted, since the order in which the search returns them is up to rounding, and a sum depends on the order.
        distances = np.sort(np.sqrt(squares), axis=1)

        def explain(row: int, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            nearest = items[neighbors[row]]
            expected = nearest[canonical_order(nearest)].mean(axis=0)
            return expected, x - expected, expected

        return Ranking(distances[:, -1] if self.of == "kth" else distances.mean(axis=1), explain)
