"""What an expectation is made of: the weight of every image seen in it.

x̂ is an affine combination of the n items seen, s with mean μ:  x̂ = Σ w(s) s,  Σ w(s) = 1.

* DEMUD: with C the centered items, V and S their k leading right singular vectors and values,

      w(s) = 1/n + (s − μ)·z,   z = V S⁻² Vᵀ (x − μ),

  because Cᵀ C V = V S² makes Σ (s − μ) ((s − μ)·z) = V Vᵀ (x − μ) = x̂ − μ, and centered items sum to 0. So one vector
  z per pick, its direction of weights, gives the weight of any item by one product. A model that forgets (`incremental`)
  has no singular vectors of the items; its z is (CᵀC)⁺ (x̂ − μ), the weights of least squares.
* farthest-first: the nearest item has weight 1. Nearest neighbors: the k nearest have 1/k each.

Other selectors have no expectation that is made of items. The same combination of any other features f of the same items,
Σ w(s) f(s), is the expectation in those features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.selectors.demud import Demud
from interpdisc_core.selectors.farthest_first import FarthestFirst
from interpdisc_core.selectors.nearest_neighbours import NearestNeighbours
from interpdisc_core.selectors.neighbors import compute_pairwise_distances

if TYPE_CHECKING:
    from interpdisc_core.selectors import Selector

SUM_RTOL = 1e-6
"""Largest |Σ w s − x̂| over Σ |w| · max |s|, and largest |Σ w − 1| over Σ |w|, if the items are the right ones."""

ExpectationSource = Literal["all rows", "prior", "prior and learned rows"]


@dataclass(frozen=True, slots=True)
class PickExpectation:
    """A pick and how its expectation follows from items.

    Attributes:
        x: Its features (d,).
        expected: x̂ (d,).
        mean: μ (d,).
        direction: z (d,), or None.
        neighbors: Number of items nearest to x of which x̂ is the mean; None if x̂ follows from the direction.
        count: n, the number of items.
    """

    x: FloatArray
    expected: FloatArray
    mean: FloatArray
    direction: FloatArray | None
    neighbors: int | None
    count: int


class RankedItem(NamedTuple):
    """An item by its number, from 0 in the order in which items were added, with its weight or its distance."""

    number: int
    value: float


@dataclass(frozen=True, slots=True)
class SeenWeights:
    """What an expectation is made of.

    Attributes:
        strongest: The items of largest |w| with their weights, the largest first; equal ones by number.
        total: Σ |w| over all items, at least 1. 1 is an average of items; above it, items are also taken away.
        share: The part of `total` that the strongest have, from 0 to 1.
        nearest: The items nearest to x̂ with their Euclidean distances, nearest first; equal ones by number.
    """

    strongest: tuple[RankedItem, ...]
    total: float
    share: float
    nearest: tuple[RankedItem, ...]


class SeenWeightsSum:
    """Collects the weights of expectations from the items that they are made of, which are added in pieces.

    Example:
        >>> items = np.array([[0.0, 0.0], [4.0, 0.0]])
        >>> x, expected, mean, direction = np.array([[1.0, 3.0], [1.0, 0.0], [2.0, 0.0], [-0.125, 0.0]])
        >>> total = SeenWeightsSum([PickExpectation(x, expected, mean, direction, None, 2)], keep=2)
        >>> total.add(items, first=0)
        >>> total.finish()[0].strongest
        (RankedItem(number=0, value=0.75), RankedItem(number=1, value=0.25))
    """

    def __init__(self, picks: Sequence[PickExpectation], keep: int) -> None:
        """keep: how many of the strongest and of the nearest items of each pick are kept."""
        self._picks, self._keep = picks, keep
        self._x, self._expected, self._mean = (
            np.array([getattr(pick, name) for pick in picks]) for name in ("x", "expected", "mean")
        )
        self._direction = np.array(
            [np.zeros_like(pick.x) if pick.direction is None else pick.direction for pick in picks]
        )
        # About this point products lose less to rounding.
        self._origin = self._mean.mean(axis=0)
        self._offset = 1.0 / np.array([pick.count for pick in picks]) - np.einsum(
            "pd,pd->p", self._mean - self._origin, self._direction
        )
        self._combination = np.zeros_like(self._expected)
        self._sums = [_PickSum() for _ in picks]

    @single_blas_thread
    def add(self, items: AnyArray, first: int, only: int | None = None) -> None:
        """Add items (m, d), numbered from `first`, to all picks, or to the one of index `only`."""
        if not len(items):
            return
        values = items.astype(np.float64, copy=False)
        chosen = slice(None) if only is None else slice(only, only + 1)
        centered = values - self._origin
        weights = (centered @ self._direction[chosen].T + self._offset[chosen]).T
        self._combination[chosen] += weights @ values
        largest = float(np.abs(values).max())
        squares = np.einsum("md,md->m", centered, centered)
        for index, pick_weights in zip(range(len(self._picks))[chosen], weights, strict=True):
            pick, total = self._picks[index], self._sums[index]
            total.count += len(values)
            total.largest = max(total.largest, largest)
            total.near_expected = _keep_nearest(
                total.near_expected, self._expected[index], self._origin, values, centered, squares, first, self._keep
            )
            if pick.neighbors is not None:
                total.near_x = _keep_nearest(
                    total.near_x, self._x[index], self._origin, values, centered, squares, first, pick.neighbors
                )
                continue
            sizes = np.abs(pick_weights)
            total.weight_sum += float(pick_weights.sum())
            total.size_sum += float(sizes.sum())
            found = [RankedItem(first + row, float(pick_weights[row])) for row in _find_smallest(-sizes, self._keep)]
            total.strongest = sorted([*total.strongest, *found], key=lambda item: (-abs(item.value), item.number))[
                : self._keep
            ]

    def finish(self) -> list[SeenWeights | None]:
        """The weights of each pick; None if the items added are not those that its expectation is made of."""
        return [self._finish_pick(index) for index in range(len(self._picks))]

    def _finish_pick(self, index: int) -> SeenWeights | None:
        pick, total = self._picks[index], self._sums[index]
        if total.count != pick.count or not total.count:
            return None
        nearest = tuple(total.near_expected)
        if pick.neighbors is not None:
            weight = 1.0 / len(total.near_x)
            strongest = tuple(RankedItem(item.number, weight) for item in total.near_x[: self._keep])
            return SeenWeights(strongest, 1.0, len(strongest) * weight, nearest)
        tolerance = SUM_RTOL * total.size_sum
        error = float(np.abs(self._combination[index] - pick.expected).max())
        # Written so that NaN fails too.
        if not (abs(total.weight_sum - 1.0) <= tolerance and error <= tolerance * total.largest):
            return None
        share = min(sum(abs(item.value) for item in total.strongest) / total.size_sum, 1.0)
        return SeenWeights(tuple(total.strongest), total.size_sum, share, nearest)


@dataclass(slots=True)
class _PickSum:
    """What is known of one pick's items so far; `largest` is their largest |value|."""

    count: int = 0
    weight_sum: float = 0.0
    size_sum: float = 0.0
    largest: float = 0.0
    strongest: list[RankedItem] = field(default_factory=list)
    near_x: list[RankedItem] = field(default_factory=list)
    near_expected: list[RankedItem] = field(default_factory=list)


def _keep_nearest(
    nearest: list[RankedItem],
    point: FloatArray,
    origin: FloatArray,
    values: FloatArray,
    centered: FloatArray,
    squares: FloatArray,
    first: int,
    keep: int,
) -> list[RankedItem]:
    """The `keep` items nearest to a point (d,), of those so far and of values (m, d), whose numbers begin at `first`.

    centered (m, d) and squares (m,) are the values less the origin, and their squared lengths.
    """
    rows = _find_smallest(squares - 2 * (centered @ (point - origin)), keep)
    distances = compute_pairwise_distances(point[None], values[rows])[0]
    found = [RankedItem(first + row, float(distance)) for row, distance in zip(rows, distances, strict=True)]
    return sorted([*nearest, *found], key=lambda item: (item.value, item.number))[:keep]


def _find_smallest(keys: FloatArray, count: int) -> list[int]:
    """Indices of the smallest of keys (m,)."""
    rows = np.argpartition(keys, count)[:count] if count < len(keys) else np.arange(len(keys))
    return [int(row) for row in rows]


def count_expected_neighbors(selector: "Selector") -> int | None:
    """The number of nearest items of which a selector's expectation is the mean; None if it is made in another way."""
    match selector:
        case FarthestFirst():
            return 1
        case NearestNeighbours():
            return selector.k
        case _:
            return None


def find_expectation_source(selector: "Selector", prior_count: int, learned_count: int) -> ExpectationSource:
    """What the expectation of a pick is made of.

    Args:
        selector: The settings.
        prior_count: Items seen before the selection began.
        learned_count: Rows learned before the pick.
    """
    is_static = isinstance(selector, NearestNeighbours) or (isinstance(selector, Demud) and selector.method == "static")
    if not prior_count and (is_static or not learned_count):
        return "all rows"
    return "prior" if is_static else "prior and learned rows"
