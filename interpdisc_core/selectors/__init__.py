"""Selectors: which row of a feature matrix is next most novel, given what has been seen.

To add one: write a frozen dataclass with a `kind` and `open`, in its own module, and name it in `Selector` below.
Nothing else changes; `tests/contracts/test_selectors.py` finds it.
"""

from typing import Annotated, Protocol

from pydantic import Field

from interpdisc_core.selectors.choice import Choice as Choice
from interpdisc_core.selectors.choice import Features, Floats
from interpdisc_core.selectors.demud import Demud as Demud
from interpdisc_core.selectors.shuffle import Shuffle as Shuffle


class Selection(Protocol):
    """A selection in progress over fixed rows. Its state is the rows learned, in order: replaying them restores it."""

    def peek(self) -> Choice | None:
        """The next pick, or None where nothing is new any more. Changes nothing."""

    def learn(self, row: int) -> None:
        """Take `row` as seen. Raises ValueError for a row that was taken before."""


class Selects(Protocol):
    """What every selector does."""

    @property
    def kind(self) -> str:
        """The name by which a plan chooses it."""

    def open(self, features: Features, prior: Floats) -> Selection:
        """A selection over features (N, d), any float dtype, after prior (n0, d), n0 may be 0. Neither is changed."""


Selector = Annotated[Demud | Shuffle, Field(discriminator="kind")]
