"""The random baseline: rows in a seeded order."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.selectors.compute import ComputeOptions
from interpdisc_core.selectors.decision import Choice
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.settings import settings


@settings
class Shuffle:
    """Picks rows in the order of a random permutation drawn by `seed`. Scores are 0; picks have no expectation.

    The baseline of Wagstaff & Lee 2018.
    """

    kind: Literal["random"] = "random"
    seed: int = 0

    def open(
        self,
        features: AnyArray | Rows,
        prior: FloatArray | Prior,
        labels: Sequence[str | None] | None = None,
        compute_options: ComputeOptions | None = None,
    ) -> "_RandomSelection":
        """See `SelectorLike.open`."""
        return _RandomSelection([int(row) for row in np.random.default_rng(self.seed).permutation(features.shape[0])])


class _RandomSelection:
    def __init__(self, order: list[int]) -> None:
        self.order = order

    def peek(self) -> Choice | None:
        return Choice(self.order[0], 0.0) if self.order else None

    def learn(self, row: int) -> None:
        if row not in self.order:
            raise ValueError(f"row {row} was already taken")
        self.order.remove(row)

    def absorb(self, row: int) -> None:
        self.learn(row)

    def skip(self, row: int) -> None:
        self.learn(row)

    def compute_weight_direction(self, choice: Choice) -> FloatArray | None:
        return choice.weight_direction

    def counters(self) -> dict[str, Any]:
        return {}
