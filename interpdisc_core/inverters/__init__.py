"""Inverters: features to pictures.

To add one: write a `@settings` class with a `kind`, `digest_weights` and `load` in its own module, and name it in `Inverter`
below. Nothing else changes; `tests/contracts/test_inverters.py` finds it.

The package may import representations, selectors and everything below them. It owns the checkpoint files of trained
inverters (`checkpoint`); those that ship lie in `checkpoints/`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core._types import PixelArray
from interpdisc_core.inverters.gradient import Gradient as Gradient
from interpdisc_core.inverters.refined import Refined as Refined
from interpdisc_core.inverters.upconv import UpConv as UpConv

InvertFunction = Callable[[npt.NDArray[np.float64]], PixelArray]
"""(n, d) -> (n, size, size, 3) uint8. The same batch gives the same pictures, to the bit. A picture depends on its own vector
only, except for rounding, which the many steps of an optimizer may amplify."""


class InverterLike(Protocol):
    """What every inverter does."""

    @property
    def kind(self) -> str:
        """The name by which a plan chooses it."""

    def digest_weights(self, representation: Any) -> str:
        """A digest of its weights, on which pictures depend in addition to the settings; empty if it has none."""

    def load(
        self, representation: Any, normalize: str, report: Callable[[float], None] | None = None
    ) -> InvertFunction:
        """The function from feature vectors to pictures.

        Args:
            representation: Of the vectors.
            normalize: `l2` if the vectors were divided by their length, or `none`.
            report: Called with the share that is done, 0 to 1.

        Raises:
            PlanError: If the representation cannot be inverted this way.
            WeightsError: If weights are missing or do not fit.
        """


Inverter = Annotated[UpConv | Gradient | Refined, Field(discriminator="kind")]
