"""Inversion by an up-convolutional network: features to a picture in one forward pass (Dosovitskiy & Brox 2016).

The network is trained once for a representation (`interpdisc train-inverter`); those for the default backbone ship
with the package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels
from interpdisc_core.inverters import checkpoint as checkpoints

Floats = npt.NDArray[np.float64]

BATCH = 64
"""Vectors that go through the network at a time."""


@dataclass(frozen=True, kw_only=True)
class UpConv:
    """checkpoint: a file or s3:// address that `interpdisc train-inverter` wrote; empty for the one that ships."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["upconv"] = "upconv"
    checkpoint: str = ""

    def path(self, representation: Any) -> str:
        """Where the checkpoint for a representation lies. Raises PlanError where none ships and none is named."""
        if self.checkpoint:
            return self.checkpoint
        found = checkpoints.found_for(representation)
        if found is None:
            raise PlanError(
                f"upconv: no network ships that inverts these features of {representation.kind}: train one with "
                "`interpdisc train-inverter` and name its checkpoint, or choose the inverter gradient."
            )
        return str(found)

    def card(self, representation: Any) -> checkpoints.Card:
        """The card of the checkpoint. Raises PlanError and WeightsError as `load` does."""
        return checkpoints.fitting(self.path(representation), representation)[1]

    def identity(self, representation: Any) -> str:
        """The content of the checkpoint, which settings alone do not name."""
        return checkpoints.content(self.path(representation))

    def load(self, representation: Any, normalise: str, report: Callable[[float], None] | None = None) -> Any:
        """See `Inverts.load`. Raises WeightsError too, for a checkpoint that is damaged or for other features."""
        from interpdisc_core.inverters._layers import painted

        network, length = _loaded(self.path(representation), self.identity(representation), representation)

        def invert(vectors: Floats) -> Pixels:
            codes = np.asarray(vectors, dtype=np.float32)
            if normalise == "l2":  # how long the features were is not known any more: as long as most
                codes = codes * np.float32(length)
            return painted(network, codes, BATCH, report)

        return invert


@lru_cache(maxsize=2)
def _loaded(path: str, identity: str, representation: Any) -> tuple[Any, float]:
    """The network of a checkpoint, on a GPU where there is one, and the length of the codes it was trained on."""
    import torch

    data, card = checkpoints.fitting(path, representation)
    network = checkpoints.network(data, card, path)
    return network.to("cuda" if torch.cuda.is_available() else "cpu"), card.length
