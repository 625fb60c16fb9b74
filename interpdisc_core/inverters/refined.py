"""The up-convolutional network's picture, refined by optimization.

The network gives large shapes and colors at once; a few steps of the `gradient` inverter from there add the detail that the
features contain, at a fraction of the cost of starting from noise.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any, Literal

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.inverters.checkpoint import CheckpointMetadata
from interpdisc_core.inverters.gradient import Gradient
from interpdisc_core.inverters.upconv import UpConv
from interpdisc_core.settings import settings


@settings
class Refined:
    """The picture of `upconv`, refined by `gradient`.

    Attributes:
        start: The network whose picture is refined.
        refine: The optimization; its `size` is that of the pictures.
    """

    kind: Literal["refined"] = "refined"
    start: UpConv = field(default_factory=UpConv)
    refine: Gradient = field(default_factory=lambda: Gradient(steps=30))

    def load_metadata(self, representation: Any) -> CheckpointMetadata:
        """The metadata of the network's checkpoint."""
        return self.start.load_metadata(representation)

    def digest_weights(self, representation: Any) -> str:
        """See `InverterLike.digest_weights`."""
        return self.start.digest_weights(representation)

    def load(self, representation: Any, normalize: str, report: Callable[[float], None] | None = None) -> Any:
        """See `InverterLike.load`. Raises what `UpConv.load` and `Gradient.load` do."""
        render = self.start.load(representation, normalize)
        refine = self.refine.load_refiner(representation, normalize, report)

        def invert(vectors: FloatArray) -> PixelArray:
            return refine(vectors, render(vectors))

        return invert
