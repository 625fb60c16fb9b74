"""Selectors: which row of a feature matrix is next most novel, given what has been seen.

To add one: write a frozen dataclass with a `kind` and `open`, in its own module, and name it in `Selector` below.
Nothing else changes; `tests/contracts/test_selectors.py` finds it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from pydantic import Field

from interpdisc_core.selectors.autoencoder import Autoencoder as Autoencoder
from interpdisc_core.selectors.choice import Choice as Choice
from interpdisc_core.selectors.choice import Features, Floats
from interpdisc_core.selectors.demud import Demud as Demud
from interpdisc_core.selectors.farthest import FarthestFirst as FarthestFirst
from interpdisc_core.selectors.forest import IsolationForest as IsolationForest
from interpdisc_core.selectors.mahalanobis import LocalRx as LocalRx
from interpdisc_core.selectors.mahalanobis import Rx as Rx
from interpdisc_core.selectors.neighbours import NearestNeighbours as NearestNeighbours
from interpdisc_core.selectors.oracle import Oracle as Oracle
from interpdisc_core.selectors.rows import Rows as Rows
from interpdisc_core.selectors.screen import Means as Means
from interpdisc_core.selectors.seen import Seen as Seen
from interpdisc_core.selectors.shuffle import Shuffle as Shuffle


class Selection(Protocol):
    """A selection in progress over fixed rows. Its state is the rows taken, in order: replaying them restores it."""

    def peek(self) -> Choice | None:
        """The next pick, or None where nothing is new any more. Changes nothing."""

    def learn(self, row: int) -> None:
        """Take `row` as seen. Raises ValueError for a row that was taken before."""

    def absorb(self, row: int) -> None:
        """Take `row` as known, whatever settings say of its class. Raises ValueError for a row taken before."""

    def skip(self, row: int) -> None:
        """Take `row` without learning it. Raises ValueError for a row that was taken before."""

    def counters(self) -> dict[str, Any]:
        """What the selection cost so far, as JSON; what there is of it depends on the selector."""


class Selects(Protocol):
    """What every selector does."""

    @property
    def kind(self) -> str:
        """The name by which a plan chooses it."""

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> Selection:  # fmt: skip
        """A selection over features (N, d) after what was seen before: prior (n0, d), n0 may be 0, or its summary.

        labels (N,): classes, where a setting asks for them. means: with what it is computed, which changes no pick.
        Neither features nor prior is changed.
        """


Selector = Annotated[
    Demud | Shuffle | FarthestFirst | NearestNeighbours | IsolationForest | Rx | LocalRx | Autoencoder | Oracle,
    Field(discriminator="kind"),
]
