"""Representations: an image as a vector of features.

To add one: write a frozen dataclass with a `kind` and the methods of `Represents` in its own module, and name it in
`Representation` below. Nothing else changes; `tests/contracts/test_representations.py` finds it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core import digest
from interpdisc_core.images import Pixels
from interpdisc_core.representations.lite0 import EfficientNetLite0 as EfficientNetLite0
from interpdisc_core.representations.mobilenet_v2 import MobileNetV2 as MobileNetV2
from interpdisc_core.representations.pixels import PixelValues as PixelValues
from interpdisc_core.representations.torchvision_layer import TorchvisionLayer as TorchvisionLayer

Manner = Literal["split", "energy"]
Embed = Callable[[Pixels], npt.NDArray[np.float32]]
"""(n, side, side, 3) uint8 -> (n, d) float32. A row depends on its own image only, to the last bit."""


class Represents(Protocol):
    """What every representation does."""

    @property
    def kind(self) -> str:
        """The name by which a plan chooses it."""

    @property
    def side(self) -> int:
        """Pixels: images are given to `load()`'s function as (n, side, side, 3) uint8."""

    def prepare(self, image: Pixels) -> Pixels:
        """(h, w, 3) uint8 of any size -> (side, side, 3) uint8."""

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part (left, top, right, bottom; pixels) of a `width` x `height` image that is looked at."""

    def load(self, device: str = "auto") -> Embed:
        """The function from prepared images to features. `device`: auto, cpu or cuda. Raises WeightsError."""

    def network(self) -> Any | None:
        """The same function as a torch module, float (n, 3, side, side) in 0…255 -> (n, d), or None: no gradient."""

    @property
    def manner(self) -> Manner | None:
        """How `where` divides the score: `split`, signed, or `energy` of the residual, never negative; None: not at all."""

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64] | None:
        """How the score of one prepared image splits over the cells of a grid, or None where it does not.

        residual (d,): x − x̂; mean (d,): μ of the model; scale: what x was divided by (1 where it was not).
        Returns (gy, gx) float64 whose sum is the score |residual|², up to the rounding of the features.
        """


Representation = Annotated[
    EfficientNetLite0 | MobileNetV2 | TorchvisionLayer | PixelValues, Field(discriminator="kind")
]
Normalisation = Literal["none", "l2"]


def features_of(representation: Any) -> str:
    """The digest that names a representation's features, in an archive and in an inverter's checkpoint.

    Weights that are given as a file count by their content, so a changed file is another representation.
    """
    weights = getattr(representation, "weights", "")
    content = digest.of_file(weights) if weights and Path(weights).is_file() else ""
    return digest.of_json([digest.of_settings(representation), content])
