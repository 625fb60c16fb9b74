"""Representations: an image as a vector of features.

To add one: write a frozen dataclass with a `kind` and the methods of `Represents` in its own module, and name it in
`Representation` below. Nothing else changes; `tests/contracts/test_representations.py` finds it.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core import digest
from interpdisc_core.images import Pixels
from interpdisc_core.representations.crops import Crops as Crops
from interpdisc_core.representations.learned_network import LearnedNetwork as LearnedNetwork
from interpdisc_core.representations.lite0 import EfficientNetLite0 as EfficientNetLite0
from interpdisc_core.representations.local_binary_patterns import LocalBinaryPatterns as LocalBinaryPatterns
from interpdisc_core.representations.mobilenet_v2 import MobileNetV2 as MobileNetV2
from interpdisc_core.representations.oriented_gradients import OrientedGradients as OrientedGradients
from interpdisc_core.representations.pixels import PixelValues as PixelValues
from interpdisc_core.representations.sift_words import SiftWords as SiftWords
from interpdisc_core.representations.squeezenet import SqueezeNet as SqueezeNet
from interpdisc_core.representations.torchvision_layer import TorchvisionLayer as TorchvisionLayer
from interpdisc_core.representations.vgg19 import VGG19 as VGG19
from interpdisc_core.representations.weights import content_of, named
from interpdisc_core.storage import Place

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


@runtime_checkable
class Learns(Protocol):
    """What a representation does besides, whose weights come from the collection itself."""

    @property
    def learned(self) -> str:
        """The address of the file of weights, a local path or s3://; empty: not learned yet."""

    @property
    def sample(self) -> int:
        """At most so many images are learned from."""

    def learn(self, images: Pixels, place: Place, report: Callable[[float], None]) -> bytes:
        """The content of a safetensors file of weights, learned from prepared images.

        images: (n, side, side, 3) uint8, n at least 1. place: keeps checkpoints, so that a call that was interrupted
        goes on from there, to the same bytes. report: is called with the share that is done, 0…1, never less than
        before. Raises PlanError where nothing can be learned from these images.
        """

    def having(self, address: str) -> Self:
        """The same representation with its weights at `address`; `learned` of it is `address`.

        The settings of one with none, `having("")`, and the content of the file name its features. `load()` and
        `network()` of one that has not learned raise WeightsError.
        """


Representation = Annotated[
    EfficientNetLite0
    | MobileNetV2
    | SqueezeNet
    | VGG19
    | TorchvisionLayer
    | Crops
    | SiftWords
    | LocalBinaryPatterns
    | OrientedGradients
    | PixelValues
    | LearnedNetwork,
    Field(discriminator="kind"),
]
Normalisation = Literal["none", "l2"]


def features_of(representation: Any) -> str:
    """The digest that names a representation's features, in an archive and in an inverter's checkpoint.

    Weights that are given as a file count by their content, so a changed file is another representation; of weights
    that were learned the content alone counts, wherever the file is. Raises WeightsError where such a file is named
    and is not there.
    """
    return digest.of_json([digest.of_settings(named(representation)), content_of(representation)])
