"""The random baseline: rows in a seeded order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from interpdisc_core.selectors.choice import Choice, Features, Floats
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.selectors.screen import Means
from interpdisc_core.selectors.seen import Seen


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """Rows in the order of a seeded permutation; scores are 0 and nothing is expected. The paper's baseline."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["random"] = "random"
    seed: int = 0

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> "_Shuffled":  # fmt: skip
        """See `Selects.open`."""
        return _Shuffled([int(row) for row in np.random.default_rng(self.seed).permutation(features.shape[0])])


class _Shuffled:
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

    def counters(self) -> dict[str, Any]:
        return {}
