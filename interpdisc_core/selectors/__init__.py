"""Selectors: features to picks. Which row of a feature matrix is the most novel, given the rows seen so far.

To add one: write a `@settings` class with a `kind` and the method `open` in its own module (those that score all rows once
derive from `_ranked.RankOnce`), and name it in `Selector` below. Nothing else changes; `tests/contracts/test_selectors.py`
finds it.

`exact/` is DEMUD's search by bounds. The package may import `settings`, `digest`, `errors` and `_types`, not images or
representations. It owns nothing on disk; its settings are part of a plan, whose digest names runs.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from pydantic import Field

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.selectors.autoencoder import Autoencoder as Autoencoder
from interpdisc_core.selectors.compute import ComputeOptions as ComputeOptions
from interpdisc_core.selectors.decision import Choice as Choice
from interpdisc_core.selectors.demud import Demud as Demud
from interpdisc_core.selectors.farthest_first import FarthestFirst as FarthestFirst
from interpdisc_core.selectors.isolation_forest import IsolationForest as IsolationForest
from interpdisc_core.selectors.nearest_neighbours import NearestNeighbours as NearestNeighbours
from interpdisc_core.selectors.oracle import Oracle as Oracle
from interpdisc_core.selectors.prior import Prior as Prior
from interpdisc_core.selectors.random_order import Shuffle as Shuffle
from interpdisc_core.selectors.rows import Rows as Rows
from interpdisc_core.selectors.rx import LocalRx as LocalRx
from interpdisc_core.selectors.rx import Rx as Rx


class Selection(Protocol):
    """A selection in progress over fixed rows. Its state is the rows taken, in order: replaying them restores it."""

    def peek(self) -> Choice | None:
        """The next pick, or None if nothing is new any more. Changes nothing."""

    def learn(self, row: int) -> None:
        """Take `row` as seen. Raises ValueError if it was taken before."""

    def absorb(self, row: int) -> None:
        """Take `row` as known, whatever the settings say of its class. Raises ValueError if it was taken before."""

    def skip(self, row: int) -> None:
        """Take `row` without learning it. Raises ValueError if it was taken before."""

    def compute_weight_direction(self, choice: Choice) -> FloatArray | None:
        """The direction of weights of a choice that `peek` returned last; see `Choice`. None if it has none."""

    def counters(self) -> dict[str, Any]:
        """What the selection cost so far, as JSON; its fields depend on the selector."""


class SelectorLike(Protocol):
    """What every selector does."""

    @property
    def kind(self) -> str:
        """The name by which a plan chooses it."""

    def open(
        self,
        features: AnyArray | Rows,
        prior: FloatArray | Prior,
        labels: Sequence[str | None] | None = None,
        compute_options: ComputeOptions | None = None,
    ) -> Selection:
        """A selection over rows, given what was seen before. Changes neither features nor prior.

        Args:
            features: Rows (N, d) of numbers.
            prior: Items seen before (n0, d), float64, n0 may be 0; or their summary.
            labels: Class of each row (N,), None if it has none; for settings that need classes.
            compute_options: Threads, memory and device; no pick depends on them.

        Raises:
            PlanError: If the settings, the prior or the labels do not fit the rows.
        """


Selector = Annotated[
    Demud | Shuffle | FarthestFirst | NearestNeighbours | IsolationForest | Rx | LocalRx | Autoencoder | Oracle,
    Field(discriminator="kind"),
]
