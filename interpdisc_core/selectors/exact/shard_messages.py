"""What goes to a shard for a pick and what comes back."""

from dataclasses import dataclass, fields

from interpdisc_core._types import FloatArray
from interpdisc_core.selectors.decision import Subspace
from interpdisc_core.selectors.exact.bound_form import BoundForm


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """What a shard needs for one pick.

    Attributes:
        number: Of the model; becomes the number of an epoch.
        model: Of the items seen.
        bound_forms: How to carry bounds to the model from each epoch.
        tie_width: Scores this close are tied.
        basis: Directions (t, d) of the model's coordinates, for pools that send those instead of the axes.
    """

    number: int
    model: Subspace
    bound_forms: dict[int, BoundForm]
    tie_width: float
    basis: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class ShardCandidates:
    """What a shard answers for a pick.

    Attributes:
        rows: Rows that can be the best, by index among all rows.
        upper_bounds: Of their scores.
        lower_bound: A score that some row of the shard surely has.
        epochs: Of the shard's rows by now.
    """

    rows: list[int]
    upper_bounds: list[float]
    lower_bound: float
    epochs: set[int]


@dataclass
class ShardCounters:
    """What shards did.

    Attributes:
        rows_screened: Rows scored by their copies.
        rows_read: Rows scored by reading them.
        bounds_evaluated: Bounds carried to a new model.
        refreshed: Times that a shard screened all its rows.
        copy_bytes: Size of the copies.
    """

    rows_screened: int = 0
    rows_read: int = 0
    bounds_evaluated: int = 0
    refreshed: int = 0
    copy_bytes: int = 0

    def __add__(self, other: "ShardCounters") -> "ShardCounters":
        return ShardCounters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
