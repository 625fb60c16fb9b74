"""Pixel values as features: the simplest representation of Wagstaff & Lee 2018. Needs no network."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import Float32Array, FloatArray, PixelArray
from interpdisc_core.representations._descriptors import SquareDescriptor, cell_energy
from interpdisc_core.settings import settings


@settings
class PixelValues(SquareDescriptor):
    """RGB values in 0…1 of the central square, `side` x `side` pixels; d = 3 side².

    Example:
        >>> embed = PixelValues(side=2).load()
        >>> embed(np.full((1, 2, 2, 3), 51, dtype=np.uint8)).shape
        (1, 12)
    """

    kind: Literal["pixels"] = "pixels"
    side: Annotated[int, Field(ge=1, le=256)] = 32

    def load(self, device: str = "auto") -> Any:
        """See `RepresentationLike.load`. Runs on the CPU, whatever the device."""
        return _scale_pixels

    def build_network(self) -> Any:
        """See `RepresentationLike.build_network`."""
        import torch

        class Values(torch.nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return (images.permute(0, 2, 3, 1) / 255.0).flatten(1)

        return Values()

    def attribution_map(self, image: PixelArray, residual: FloatArray, mean: FloatArray, scale: float) -> FloatArray:
        """The energy of the residual at each pixel, (side, side); exact."""
        return cell_energy(residual, self.side)

    def describe(self, image: PixelArray) -> Float32Array:
        """See `SquareDescriptor.describe`."""
        features: Float32Array = _scale_pixels(image[None])[0]
        return features


def _scale_pixels(images: PixelArray) -> Float32Array:
    return (images.reshape(len(images), -1) / np.float32(255.0)).astype(np.float32)
