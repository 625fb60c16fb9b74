"""Local binary patterns: texture, independent of brightness. Needs no network."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import Float32Array, FloatArray, PixelArray
from interpdisc_core.errors import PlanError
from interpdisc_core.representations._descriptors import SquareDescriptor, cell_energy, convert_to_gray
from interpdisc_core.settings import settings

_CIRCLES = ((8, 1), (16, 2), (24, 3))
"""Points on each circle around a pixel, and its radius in pixels."""
BINS_PER_CIRCLE = tuple(points + 2 for points, _ in _CIRCLES)


@settings
class LocalBinaryPatterns(SquareDescriptor):
    """Histograms of uniform, rotation-invariant local binary patterns (Ojala, Pietikäinen & Mäenpää 2002).

    The central square in gray, `side` x `side` pixels, is cut into `grid` x `grid` cells. The features of a cell are the
    relative frequencies of each pattern, for 8 points at radius 1, 16 at 2 and 24 at 3: 10 + 18 + 26 numbers, each group
    of sum 1. d = 54 grid², cell by cell, row by row. Beyond the border, pixels are mirrored.

    Attributes:
        side: Pixels.
        grid: Cells a side, of at least 8 pixels each.
    """

    kind: Literal["local-binary-patterns"] = "local-binary-patterns"
    side: Annotated[int, Field(ge=8, le=1024)] = 128
    grid: Annotated[int, Field(ge=1)] = 2

    def __post_init__(self) -> None:
        if self.grid > self.side // 8:
            raise PlanError(
                f"local-binary-patterns: grid must be at most {self.side // 8} for a side of {self.side} pixels (cells of "
                f"8 pixels or more), not {self.grid}."
            )

    def attribution_map(self, image: PixelArray, residual: FloatArray, mean: FloatArray, scale: float) -> FloatArray:
        """The energy of the residual in each cell, (grid, grid); exact."""
        return cell_energy(residual, self.grid)

    def describe(self, image: PixelArray) -> Float32Array:
        """See `SquareDescriptor.describe`."""
        from skimage.feature import local_binary_pattern

        pixels = convert_to_gray(image)
        edges = np.linspace(0, self.side, self.grid + 1).round().astype(int)
        cell = np.repeat(np.arange(self.grid), np.diff(edges))
        number = (cell[:, None] * self.grid + cell).ravel()
        histograms = []
        for (points, radius), bins in zip(_CIRCLES, BINS_PER_CIRCLE, strict=True):
            extended = np.pad(
                pixels, radius, mode="reflect"
            )  # scikit-image would take pixels beyond the border as black
            pattern = local_binary_pattern(extended, points, radius, method="uniform")
            inner = pattern[radius:-radius, radius:-radius].astype(np.intp).ravel()
            counts = np.bincount(number * bins + inner, minlength=self.grid**2 * bins).reshape(-1, bins)
            histograms.append(counts / counts.sum(axis=1, keepdims=True))
        return np.concatenate(histograms, axis=1).astype(np.float32).ravel()
