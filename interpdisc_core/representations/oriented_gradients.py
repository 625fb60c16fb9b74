"""Histograms of oriented gradients: shape, by the edges in each cell. Needs no network."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import Float32Array, FloatArray, PixelArray
from interpdisc_core.errors import PlanError
from interpdisc_core.representations._descriptors import SquareDescriptor
from interpdisc_core.settings import settings

_BLOCK_CELLS = 2


@settings
class OrientedGradients(SquareDescriptor):
    """Histograms of oriented gradients (Dalal & Triggs 2005).

    The central square, `side` x `side` pixels, is cut into cells. Each has a histogram of its gradients' orientations
    (unsigned), weighted by their magnitude; at each pixel that of the color where it is greatest counts. Each block of
    2 x 2 cells is divided by its length, clipped at 0.2 and divided again (L2-Hys). d = 4 orientations (side/cell − 1)²,
    block by block, row by row; 1764 by default.

    Attributes:
        side: Pixels.
        cell: Pixels a side of a cell; divides `side` by 2 or more.
        orientations: Bins of a histogram.
    """

    kind: Literal["oriented-gradients"] = "oriented-gradients"
    side: Annotated[int, Field(ge=8, le=1024)] = 128
    cell: Annotated[int, Field(ge=2)] = 16
    orientations: Annotated[int, Field(ge=1, le=180)] = 9

    def __post_init__(self) -> None:
        if self.side % self.cell or self.side < _BLOCK_CELLS * self.cell:
            raise PlanError(
                f"oriented-gradients: cell must be a divisor of side ({self.side}), at most half of it, not {self.cell}."
            )

    def attribution_map(self, image: PixelArray, residual: FloatArray, mean: FloatArray, scale: float) -> FloatArray:
        """The energy of the residual in each cell, over the blocks that contain it: (side/cell, side/cell); exact."""
        cells = self.side // self.cell
        blocks = cells - _BLOCK_CELLS + 1
        energy = (residual.reshape(blocks, blocks, _BLOCK_CELLS, _BLOCK_CELLS, -1) ** 2).sum(axis=4)
        energy_by_cell = np.zeros((cells, cells))
        for down in range(_BLOCK_CELLS):
            for right in range(_BLOCK_CELLS):
                energy_by_cell[down : down + blocks, right : right + blocks] += energy[:, :, down, right]
        return energy_by_cell

    def describe(self, image: PixelArray) -> Float32Array:
        """See `SquareDescriptor.describe`."""
        from skimage.feature import hog

        descriptor = hog(
            image,
            orientations=self.orientations,
            pixels_per_cell=(self.cell, self.cell),
            cells_per_block=(_BLOCK_CELLS, _BLOCK_CELLS),
            block_norm="L2-Hys",
            channel_axis=-1,
        )
        features: Float32Array = descriptor.astype(np.float32)
        return features
