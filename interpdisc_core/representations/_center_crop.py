"""Bases of representations that read the central square of an image."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.images.resize import compute_crop_window, crop_center_square


class CenterCropRepresentation(ABC):
    """Resizes the short side of an image and cuts out the central square; by default runs a network on it."""

    @property
    @abstractmethod
    def crop_sizes(self) -> tuple[int, int]:
        """Pixels: the side of the central square, and the short side that it is cut from."""

    @property
    def side(self) -> int:
        """See `RepresentationLike.side`."""
        return self.crop_sizes[0]

    def prepare(self, image: PixelArray) -> PixelArray:
        """See `RepresentationLike.prepare`."""
        crop, short_side = self.crop_sizes
        return crop_center_square(image, crop=crop, short_side=short_side)

    def compute_window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """See `RepresentationLike.compute_window`."""
        crop, short_side = self.crop_sizes
        return compute_crop_window(width, height, crop=crop, short_side=short_side)

    def load(self, device: str = "auto") -> Any:
        """See `RepresentationLike.load`."""
        from interpdisc_core.representations import runtime

        return runtime.load_embedder(self, device)


class WholeSquareRepresentation(CenterCropRepresentation):
    """Reads all of the central square, resized to `side` pixels, which is a field or property of each class."""

    @property
    def crop_sizes(self) -> tuple[int, int]:
        """See `CenterCropRepresentation.crop_sizes`."""
        return self.side, self.side


class MeanPooledRepresentation(CenterCropRepresentation):
    """Features are the mean over the cells of a layer, so that a score splits over the cells exactly."""

    @abstractmethod
    def build_module(self, *, cells: bool) -> Any:
        """The network from images (n, 3, side, side) in 0…255 to features of the cells (n, d, gy, gx), or their mean (n, d).

        Two modules: the runtime may move that of the mean to a GPU, while `attribution_map` runs on the CPU.

        Raises:
            WeightsError: If the weights are missing or do not fit.
        """

    def build_network(self) -> Any:
        """See `RepresentationLike.build_network`. Raises as `build_module` does."""
        return self.build_module(cells=False)

    @property
    def attribution_kind(self) -> Literal["split"]:
        """See `RepresentationLike.attribution_kind`."""
        return "split"

    def attribution_map(
        self, image: PixelArray, residual: FloatArray, mean: FloatArray, scale: float
    ) -> npt.NDArray[np.float64]:
        """Σ_g rᵀ(f_g/scale − μ)/G, signed; exact because x is the mean of the features f_g of the G cells."""
        from interpdisc_core.representations import _layers

        return _layers.split_score(self.build_module(cells=True), image, residual, mean, scale)
