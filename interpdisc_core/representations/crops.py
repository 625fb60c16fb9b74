"""Several looks at one image: the mean of another representation's features over crops of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels, square, window
from interpdisc_core.representations.lite0 import EfficientNetLite0
from interpdisc_core.representations.mobilenet_v2 import MobileNetV2
from interpdisc_core.representations.squeezenet import SqueezeNet
from interpdisc_core.representations.torchvision_layer import TorchvisionLayer
from interpdisc_core.representations.vgg19 import VGG19

Network = Annotated[
    EfficientNetLite0 | MobileNetV2 | SqueezeNet | VGG19 | TorchvisionLayer, Field(discriminator="kind")
]


@dataclass(frozen=True, kw_only=True)
class Crops:
    """The mean of the features of `crops` crops, as Krizhevsky et al. (2012) averaged predictions; d is that of `of`.

    of: a network. Crops of its side are cut from the central square of the image, resized to `side`, which is 8/7 of
    it. crops: 5, the centre and the four corners, or 1, the centre alone. mirrored: and the mirror image of each. It
    takes as many times as long as there are crops.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["crops"] = "crops"
    of: Network = field(default_factory=EfficientNetLite0)
    crops: Literal[1, 5] = 5
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.crops not in (1, 5):
            raise PlanError(f"crops: crops must be 1 or 5, not {self.crops}.")

    @property
    def side(self) -> int:
        """See `Represents.side`: 8/7 of that of `of`, as 256 is of 224."""
        return round(self.of.side * 8 / 7)

    @property
    def weights(self) -> str:
        """The file of weights that `of` names, if it does: its content counts."""
        return str(getattr(self.of, "weights", ""))

    def prepare(self, image: Pixels) -> Pixels:
        """See `Represents.prepare`."""
        return square(image, crop=self.side, of=self.side)

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """See `Represents.window`."""
        return window(width, height, crop=self.side, of=self.side)

    def load(self, device: str = "auto") -> Any:
        """See `Represents.load`."""
        return _Mean(self, device)

    def network(self) -> Any:
        """See `Represents.network`."""
        import torch

        spec = self

        class Mean(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = spec.of.network()

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                crops = [images[:, :, rows, columns] for rows, columns in spec.places()]
                if spec.mirrored:
                    crops += [crop.flip(3) for crop in crops]
                return torch.stack([self.network(crop) for crop in crops]).mean(0)

        return Mean().eval()

    @property
    def manner(self) -> None:
        """See `Represents.manner`."""
        return

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> None:
        """None: the crops overlap, and their cells do not lie on one grid."""
        return

    def places(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each crop in a prepared image: the centre, then the corners, row by row."""
        inner = self.of.side
        last = self.side - inner
        corners = [(0, 0), (0, last), (last, 0), (last, last)]
        starts = [(last // 2, last // 2), *corners][: self.crops]
        return [(slice(top, top + inner), slice(left, left + inner)) for top, left in starts]


class _Mean:
    """The function of `Crops.load`."""

    def __init__(self, spec: Crops, device: str) -> None:
        from interpdisc_core.representations import runtime

        self.spec, self.embed = spec, spec.of.load(device)
        self.runtime = runtime.describe(self.embed)

    def __call__(self, images: Pixels) -> npt.NDArray[np.float32]:
        total = [self.embed(crop).astype(np.float64) for crop in self._crops(images)]
        mean: npt.NDArray[np.float64] = sum(total[1:], start=total[0]) / len(total)
        return mean.astype(np.float32)

    def _crops(self, images: Pixels) -> Iterator[Pixels]:
        for rows, columns in self.spec.places():
            crop = images[:, rows, columns]
            yield np.ascontiguousarray(crop)
            if self.spec.mirrored:
                yield np.ascontiguousarray(crop[:, :, ::-1])
