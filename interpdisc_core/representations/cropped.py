"""What representations share that run a network on the central square of an image, and those that average a layer over its cells."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.images import Pixels, square, window


class Cropped(ABC):
    """A network that looks at the central square of an image whose short side was resized."""

    @property
    @abstractmethod
    def cut(self) -> tuple[int, int]:
        """Pixels: the side of the central square, and the short side that it is cut from."""

    @property
    def side(self) -> int:
        """See `Represents.side`."""
        return self.cut[0]

    def prepare(self, image: Pixels) -> Pixels:
        """See `Represents.prepare`."""
        crop, of = self.cut
        return square(image, crop=crop, of=of)

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """See `Represents.window`."""
        crop, of = self.cut
        return window(width, height, crop=crop, of=of)

    def load(self, device: str = "auto") -> Any:
        """See `Represents.load`."""
        from interpdisc_core.representations import runtime

        return runtime.embedder(self, device)


class MeanOfCells(Cropped):
    """One whose features are the mean of a layer's cells, so that its score splits over them exactly."""

    @abstractmethod
    def module(self, *, cells: bool) -> Any:
        """From images (n, 3, side, side) in 0…255 to the cells (n, d, gy, gx), or to their mean (n, d).

        Two modules: the runtime may move the mean to a GPU, and `where` runs on the CPU. Raises WeightsError where
        there are no weights, or others.
        """

    def network(self) -> Any:
        """See `Represents.network`. Raises as `module` does."""
        return self.module(cells=False)

    @property
    def manner(self) -> Literal["split"]:
        """See `Represents.manner`."""
        return "split"

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64]:
        """Σ_g rᵀ(f_g/scale − μ)/G, signed, exact because x is the mean of the cells' features f_g."""
        from interpdisc_core.representations import _layers

        return _layers.split(self.module(cells=True), image, residual, mean, scale)
