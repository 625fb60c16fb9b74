"""Representations: pixels to features. An image as a vector (d,).

To add one: write a `@settings` class with a `kind` and the methods of `RepresentationLike` in its own module, and name it in
`Representation` below; `_center_crop` and `_descriptors` have bases. Nothing else changes;
`tests/contracts/test_representations.py` finds it.

The package may import selectors and everything below them (images, storage). On disk it owns the files of learned weights,
the states of learning in the location given to `learn`, and the ONNX exports in the user's cache folder. Settings and the
content of weights name features (`digest_features`), in archives and in checkpoints of inverters.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core import digest
from interpdisc_core._types import PixelArray
from interpdisc_core.representations.efficientnet_lite0 import EfficientNetLite0 as EfficientNetLite0
from interpdisc_core.representations.learned_network import LearnedNetwork as LearnedNetwork
from interpdisc_core.representations.local_binary_patterns import LocalBinaryPatterns as LocalBinaryPatterns
from interpdisc_core.representations.mobilenet_v2 import MobileNetV2 as MobileNetV2
from interpdisc_core.representations.multi_crop import Crops as Crops
from interpdisc_core.representations.oriented_gradients import OrientedGradients as OrientedGradients
from interpdisc_core.representations.pixels import PixelValues as PixelValues
from interpdisc_core.representations.squeezenet import SqueezeNet as SqueezeNet
from interpdisc_core.representations.torchvision_layer import TorchvisionLayer as TorchvisionLayer
from interpdisc_core.representations.vgg19 import VGG19 as VGG19
from interpdisc_core.representations.visual_words import SiftWords as SiftWords
from interpdisc_core.representations.weights import digest_weights, strip_weights
from interpdisc_core.storage.location import Location

AttributionKind = Literal["split", "energy"]
EmbedFunction = Callable[[PixelArray], npt.NDArray[np.float32]]
"""(n, side, side, 3) uint8 -> (n, d) float32. A row depends on its own image only, to the bit."""


class RepresentationLike(Protocol):
    """What every representation does."""

    @property
    def kind(self) -> str:
        """The name by which a plan chooses it."""

    @property
    def side(self) -> int:
        """Pixels a side of the images that the function of `load` takes, (n, side, side, 3) uint8."""

    def prepare(self, image: PixelArray) -> PixelArray:
        """(h, w, 3) uint8 of any size -> (side, side, 3) uint8."""

    def compute_window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a `width` x `height` image that is used: left, top, right, bottom in pixels."""

    def load(self, device: str = "auto") -> EmbedFunction:
        """The function from prepared images to features.

        Args:
            device: `auto`, `cpu` or `cuda`.

        Raises:
            WeightsError: If weights are missing or do not fit.
        """

    def build_network(self) -> Any | None:
        """The same function as a torch module, float (n, 3, side, side) in 0…255 -> (n, d); None: it has no gradient."""

    @property
    def attribution_kind(self) -> AttributionKind | None:
        """How `attribution_map` divides a score: `split`, signed; `energy` of the residual, at least 0; None: it does not."""

    def attribution_map(
        self, image: PixelArray, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64] | None:
        """How the score of one image splits over the cells of a grid; None if it does not.

        Args:
            image: Prepared, (side, side, 3) uint8.
            residual: x − x̂ (d,).
            mean: μ (d,) of the model.
            scale: What the features were divided by; 1 if they were not normalized.

        Returns:
            (gy, gx), with the sum |residual|², the score, up to the rounding of the features.
        """


@runtime_checkable
class Trainable(Protocol):
    """What a representation does in addition if its weights are learned from the collection itself."""

    @property
    def learned_weights(self) -> str:
        """Address of the file of weights, a local path or s3://; empty if they were not learned yet."""

    @property
    def sample(self) -> int:
        """Maximum number of images to learn from."""

    def learn(self, images: PixelArray, location: Location, report: Callable[[float], None]) -> bytes:
        """The content of a safetensors file of weights, learned from prepared images.

        Args:
            images: (n, side, side, 3) uint8, n at least 1.
            location: Keeps checkpoints, so that an interrupted call resumes from there, to the same bytes.
            report: Called with the share that is done, 0…1, never less than before.

        Raises:
            PlanError: If nothing can be learned from these images.
        """

    def with_weights(self, address: str) -> Self:
        """The same representation with its weights at `address`, which becomes its `learned_weights`.

        Its features are named by `with_weights("")` and the content of the file. Without an address, `load()` and
        `build_network()` raise WeightsError.
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
Normalization = Literal["none", "l2"]


def digest_features(representation: Any) -> str:
    """The digest that names a representation's features, in an archive and in an inverter's checkpoint.

    Weights given as a file count by their content, so that a changed file is another representation; of learned weights
    only the content counts, wherever the file is.

    Raises:
        WeightsError: If a file of learned weights is named and cannot be read.

    Example:
        >>> digest_features(PixelValues())
        '4ab710068589'
    """
    return digest.digest_json([digest.digest_settings(strip_weights(representation)), digest_weights(representation)])
