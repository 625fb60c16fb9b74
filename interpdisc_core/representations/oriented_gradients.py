"""Histograms of oriented gradients: shape, by the edges in each cell. Needs no network."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels, square, window
from interpdisc_core.representations.handmade import one_by_one

_BLOCK = 2


@dataclass(frozen=True, kw_only=True)
class OrientedGradients:
    """Histograms of oriented gradients (Dalal & Triggs 2005).

    Central square, `side` x `side` pixels, in cells of `cell` x `cell`; each has a histogram of its gradients'
    orientations (unsigned, `orientations` bins), weighted by their magnitude, at each pixel that of the colour where
    it is greatest. Each block of 2 x 2 cells is divided by its length, cut at 0.2 and divided again (L2-Hys).
    d = 4 orientations (side/cell − 1)², block by block, row by row; 1764 as it is set.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["oriented-gradients"] = "oriented-gradients"
    side: int = 128
    cell: int = 16
    orientations: int = 9

    def __post_init__(self) -> None:
        if not 8 <= self.side <= 1024:
            raise PlanError(f"oriented-gradients: side must be 8 to 1024 pixels, not {self.side}.")
        if self.cell < 2 or self.side % self.cell or self.side < _BLOCK * self.cell:
            raise PlanError(
                f"oriented-gradients: cell must be 2 pixels or more and divide side ({self.side}) by 2 or more, "
                f"not {self.cell}."
            )
        if not 1 <= self.orientations <= 180:
            raise PlanError(f"oriented-gradients: orientations must be 1 to 180, not {self.orientations}.")

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
        """None: scikit-image has no gradient."""
        return

    @property
    def manner(self) -> Literal["energy"]:
        """See `Represents.manner`."""
        return "energy"

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64]:
        """The energy of the residual in each cell, over the blocks that it is in: (side/cell, side/cell); exact."""
        cells = self.side // self.cell
        blocks = cells - _BLOCK + 1
        energy = (residual.reshape(blocks, blocks, _BLOCK, _BLOCK, -1) ** 2).sum(axis=4)
        found = np.zeros((cells, cells))
        for down in range(_BLOCK):
            for right in range(_BLOCK):
                found[down : down + blocks, right : right + blocks] += energy[:, :, down, right]
        return found

    def describe(self, image: Pixels) -> npt.NDArray[np.float32]:
        """The features (d,) of one prepared image."""
        from skimage.feature import hog

        found = hog(
            image,
            orientations=self.orientations,
            pixels_per_cell=(self.cell, self.cell),
            cells_per_block=(_BLOCK, _BLOCK),
            block_norm="L2-Hys",
            channel_axis=-1,
        )
        features: npt.NDArray[np.float32] = found.astype(np.float32)
        return features
