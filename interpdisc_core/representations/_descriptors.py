"""What handmade descriptors share: gray pixels, a function of one image applied to many, the energy of a residual."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from PIL import Image

from interpdisc_core._types import Float32Array, FloatArray, PixelArray
from interpdisc_core.representations._center_crop import WholeSquareRepresentation


class SquareDescriptor(WholeSquareRepresentation):
    """A descriptor of the central square that is computed without a network, on the CPU; its map is the residual's energy."""

    @abstractmethod
    def describe(self, image: PixelArray) -> Float32Array:
        """The features (d,) of one prepared image."""

    def load(self, device: str = "auto") -> Any:
        """See `RepresentationLike.load`. Runs on the CPU, whatever the device."""
        return embed_each(self.describe)

    def build_network(self) -> Any | None:
        """None: it has no gradient."""
        return None

    @property
    def attribution_kind(self) -> Literal["energy"]:
        """See `RepresentationLike.attribution_kind`."""
        return "energy"


def embed_each(describe: Callable[[PixelArray], Float32Array]) -> Callable[[PixelArray], Float32Array]:
    """A function of one image applied to each of several.

    Args:
        describe: (side, side, 3) uint8 -> (d,) float32.

    Returns:
        (n, side, side, 3) uint8, n at least 1 -> (n, d) float32.
    """

    def embed(images: PixelArray) -> Float32Array:
        return np.stack([describe(image) for image in images]).astype(np.float32, copy=False)

    return embed


def convert_to_gray(image: PixelArray) -> PixelArray:
    """(h, w, 3) uint8 -> (h, w) uint8: the luma of ITU-R 601."""
    return np.asarray(Image.fromarray(image).convert("L"))


def cell_energy(residual: FloatArray, cells: int) -> FloatArray:
    """Σ r² (cells, cells) of a residual whose features are listed cell by cell, row by row."""
    energy: FloatArray = (residual.reshape(cells, cells, -1) ** 2).sum(axis=2)
    return energy
