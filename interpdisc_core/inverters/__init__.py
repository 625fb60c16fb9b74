"""Inverters: features back to pictures.

To add one: write a frozen dataclass with a `kind` and `load`, in its own module, and name it in `Inverter` below.
Nothing else changes; `tests/contracts/test_inverters.py` finds it.
"""

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core.images import Pixels
from interpdisc_core.inverters.gradient import Gradient as Gradient
from interpdisc_core.inverters.refined import Refined as Refined
from interpdisc_core.inverters.upconv import UpConv as UpConv

Invert = Callable[[npt.NDArray[np.float64]], Pixels]
"""(n, d) -> (n, size, size, 3) uint8. The same batch gives the same pictures to the bit. A picture depends on its own
vector and not on its neighbours, but for rounding, which the many steps of an optimiser may amplify."""


class Inverts(Protocol):
    """What every inverter does."""

    @property
    def kind(self) -> str:
        """The name by which a plan chooses it."""

    def identity(self, representation: Any) -> str:
        """What beside its settings makes its pictures what they are: a digest of its weights; empty where it has none."""

    def load(self, representation: Any, normalise: str, report: Callable[[float], None] | None = None) -> Invert:
        """The function from vectors of `representation` (divided by their length if normalise is `l2`) to pictures.

        `report` is told the share done, 0 to 1. Raises PlanError where the representation cannot be inverted so.
        """


Inverter = Annotated[UpConv | Gradient | Refined, Field(discriminator="kind")]
