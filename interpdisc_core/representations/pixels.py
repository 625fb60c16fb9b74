"""Pixel values as features: the paper's simplest representation. Needs no network."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels, square, window


@dataclass(frozen=True, kw_only=True)
class PixelValues:
    """RGB values in 0…1 of the central square, `side` x `side` pixels; d = 3 side²."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["pixels"] = "pixels"
    side: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.side <= 256:
            raise PlanError(f"pixels: side must be 1 to 256 pixels, not {self.side}.")

    def prepare(self, image: Pixels) -> Pixels:
        """See `Represents.prepare`."""
        return square(image, crop=self.side, of=self.side)

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """See `Represents.window`."""
        return window(width, height, crop=self.side, of=self.side)

    def load(self, device: str = "auto") -> Any:
        """See `Represents.load`."""
        return _values

    def network(self) -> Any:
        """See `Represents.network`."""
        import torch

        class Values(torch.nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return (images.permute(0, 2, 3, 1) / 255.0).flatten(1)

        return Values()

    @property
    def manner(self) -> Literal["energy"]:
        """See `Represents.manner`."""
        return "energy"

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64]:
        """The energy of the residual at each pixel; exact."""
        energy: npt.NDArray[np.float64] = (residual.reshape(self.side, self.side, 3) ** 2).sum(axis=2)
        return energy


def _values(images: Pixels) -> npt.NDArray[np.float32]:
    return (images.reshape(len(images), -1) / np.float32(255.0)).astype(np.float32)
