"""The up-convolutional network's picture, brought nearer to the features by optimisation.

The network gives large forms and colours at once; a few steps of the `gradient` inverter from there on add the detail
that features ask for, at a fraction of the cost of starting from noise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.images import Pixels
from interpdisc_core.inverters.checkpoint import Card
from interpdisc_core.inverters.gradient import Gradient
from interpdisc_core.inverters.upconv import UpConv


@dataclass(frozen=True, kw_only=True)
class Refined:
    """start: the network whose picture is refined. refine: how; its `size` is that of the pictures."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["refined"] = "refined"
    start: UpConv = field(default_factory=UpConv)
    refine: Gradient = field(default_factory=lambda: Gradient(steps=30))

    def card(self, representation: Any) -> Card:
        """The card of the network's checkpoint."""
        return self.start.card(representation)

    def identity(self, representation: Any) -> str:
        """See `Inverts.identity`."""
        return self.start.identity(representation)

    def load(self, representation: Any, normalise: str, report: Callable[[float], None] | None = None) -> Any:
        """See `Inverts.load`. Raises what `UpConv.load` and `Gradient.load` do."""
        first = self.start.load(representation, normalise)
        second = self.refine.refiner(representation, normalise, report)

        def invert(vectors: npt.NDArray[np.float64]) -> Pixels:
            return second(vectors, first(vectors))

        return invert
