"""Local binary patterns: texture, whatever the brightness. Needs no network."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels, square, window
from interpdisc_core.representations.handmade import grey, one_by_one

_CIRCLES = ((8, 1), (16, 2), (24, 3))
"""Points on each circle around a pixel, and its radius in pixels."""
BINS = tuple(points + 2 for points, _ in _CIRCLES)


@dataclass(frozen=True, kw_only=True)
class LocalBinaryPatterns:
    """Histograms of uniform, rotation-invariant local binary patterns (Ojala, Pietikäinen & Mäenpää 2002).

    Grey, central square, `side` x `side` pixels, cut into `grid` x `grid` cells. In a cell, for 8 points at radius 1,
    16 at 2 and 24 at 3, how often each pattern occurs, which sums to 1: 10 + 18 + 26 numbers; d = 54 grid², cell by
    cell, row by row. Pixels beyond the border are its mirror image.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["local-binary-patterns"] = "local-binary-patterns"
    side: int = 128
    grid: int = 2

    def __post_init__(self) -> None:
        if not 8 <= self.side <= 1024:
            raise PlanError(f"local-binary-patterns: side must be 8 to 1024 pixels, not {self.side}.")
        if not 1 <= self.grid <= self.side // 8:
            raise PlanError(
                f"local-binary-patterns: grid must be 1 to {self.side // 8} cells a side (of 8 pixels or more), "
                f"not {self.grid}."
            )

    def prepare(self, image: Pixels) -> Pixels:
        """See `Represents.prepare`."""
        return square(image, crop=self.side, of=self.side)

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """See `Represents.window`."""
        return window(width, height, crop=self.side, of=self.side)

    def load(self, device: str = "auto") -> Any:
        """See `Represents.load`. It runs on the CPU whatever the device."""
        return one_by_one(self.describe)

    def network(self) -> None:
        """None: counting has no gradient."""
        return

    @property
    def manner(self) -> Literal["energy"]:
        """See `Represents.manner`."""
        return "energy"

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64]:
        """The energy of the residual in each cell, (grid, grid); exact."""
        energy: npt.NDArray[np.float64] = (residual.reshape(self.grid, self.grid, -1) ** 2).sum(axis=2)
        return energy

    def describe(self, image: Pixels) -> npt.NDArray[np.float32]:
        """The features (d,) of one prepared image."""
        from skimage.feature import local_binary_pattern

        pixels = grey(image)
        edges = np.linspace(0, self.side, self.grid + 1).round().astype(int)
        cell = np.repeat(np.arange(self.grid), np.diff(edges))
        number = (cell[:, None] * self.grid + cell).ravel()
        found = []
        for (points, radius), bins in zip(_CIRCLES, BINS, strict=True):
            padded = np.pad(pixels, radius, mode="reflect")  # beyond the border scikit-image sees black
            pattern = local_binary_pattern(padded, points, radius, method="uniform")
            inner = pattern[radius:-radius, radius:-radius].astype(np.intp).ravel()
            counts = np.bincount(number * bins + inner, minlength=self.grid**2 * bins).reshape(-1, bins)
            found.append(counts / counts.sum(axis=1, keepdims=True))
        return np.concatenate(found, axis=1).astype(np.float32).ravel()
