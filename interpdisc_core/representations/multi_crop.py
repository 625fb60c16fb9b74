"""Several crops of one image: the mean of a network's features over them."""

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import Float32Array, FloatArray, PixelArray
from interpdisc_core.errors import PlanError
from interpdisc_core.representations._center_crop import WholeSquareRepresentation
from interpdisc_core.representations.efficientnet_lite0 import EfficientNetLite0
from interpdisc_core.representations.mobilenet_v2 import MobileNetV2
from interpdisc_core.representations.squeezenet import SqueezeNet
from interpdisc_core.representations.torchvision_layer import TorchvisionLayer
from interpdisc_core.representations.vgg19 import VGG19
from interpdisc_core.settings import settings

CropNetwork = Annotated[
    EfficientNetLite0 | MobileNetV2 | SqueezeNet | VGG19 | TorchvisionLayer, Field(discriminator="kind")
]


@settings
class Crops(WholeSquareRepresentation):
    """The mean of a network's features over crops of an image, as Krizhevsky et al. 2012 averaged predictions.

    Crops of the network's side are cut from the central square of the image, resized to 8/7 of that side. d is that of
    the network; the time is proportional to the number of crops.

    Attributes:
        of: The network.
        crops: 5, the center and the four corners, or 1, the center alone.
        mirrored: Whether to add the mirror image of each crop.
    """

    kind: Literal["crops"] = "crops"
    of: CropNetwork = field(default_factory=EfficientNetLite0)
    crops: Literal[1, 5] = 5
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.crops not in (1, 5):
            raise PlanError(f"crops: crops must be 1 or 5, not {self.crops}.")

    @property
    def side(self) -> int:
        """See `RepresentationLike.side`: 8/7 of the network's, as 256 is of 224."""
        return round(self.of.side * 8 / 7)

    @property
    def weights(self) -> str:
        """The file of weights of the network, if it names one: its content is part of the digest of the features."""
        return str(getattr(self.of, "weights", ""))

    def load(self, device: str = "auto") -> Any:
        """See `RepresentationLike.load`."""
        return _MeanEmbedder(self, device)

    def build_network(self) -> Any:
        """See `RepresentationLike.build_network`."""
        import torch

        spec = self

        class Mean(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = spec.of.build_network()

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                crops = [images[:, :, rows, columns] for rows, columns in spec.crop_slices()]
                if spec.mirrored:
                    crops += [crop.flip(3) for crop in crops]
                return torch.stack([self.network(crop) for crop in crops]).mean(0)

        return Mean().eval()

    @property
    def attribution_kind(self) -> None:
        """See `RepresentationLike.attribution_kind`."""
        return

    def attribution_map(self, image: PixelArray, residual: FloatArray, mean: FloatArray, scale: float) -> None:
        """None: the crops overlap, and their cells do not lie on one grid."""
        return

    def crop_slices(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each crop in a prepared image: the center, then the corners, row by row."""
        inner = self.of.side
        last = self.side - inner
        corners = [(0, 0), (0, last), (last, 0), (last, last)]
        starts = [(last // 2, last // 2), *corners][: self.crops]
        return [(slice(top, top + inner), slice(left, left + inner)) for top, left in starts]


class _MeanEmbedder:
    """The function of `Crops.load`."""

    def __init__(self, spec: Crops, device: str) -> None:
        from interpdisc_core.representations import runtime

        self.spec, self.embed = spec, spec.of.load(device)
        self.runtime = runtime.describe_runtime(self.embed)

    def __call__(self, images: PixelArray) -> Float32Array:
        features = [self.embed(crop).astype(np.float64) for crop in self._iter_crops(images)]
        mean: FloatArray = sum(features[1:], start=features[0]) / len(features)
        return mean.astype(np.float32)

    def _iter_crops(self, images: PixelArray) -> Iterator[PixelArray]:
        for rows, columns in self.spec.crop_slices():
            crop = images[:, rows, columns]
            yield np.ascontiguousarray(crop)
            if self.spec.mirrored:
                yield np.ascontiguousarray(crop[:, :, ::-1])
