"""What networks on images share: how they are given them, and the mean over a layer's cells and a score's split."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from interpdisc_core.images import Pixels

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE = (103.939, 116.779, 123.68)


class Normalised(torch.nn.Module):
    """Images (n, 3, h, w) in 0…255, less ImageNet's mean over its standard deviation."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1) * 255)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


class BlueGreenRed(torch.nn.Module):
    """Images (n, 3, h, w) in 0…255, RGB, as networks of Caffe take them: channels turned round, less their means."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_CAFFE).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flip(1) - self.mean


class Averaged(torch.nn.Module):
    """Images (n, 3, h, w) in 0…255 to the mean (n, d) of what `layers` makes of `given(images)` over its cells.

    cells: or to the cells themselves, (n, d, gy, gx).
    """

    def __init__(self, given: torch.nn.Module, layers: torch.nn.Module, *, cells: bool) -> None:
        super().__init__()
        self.given, self.layers, self.cells = given, layers, cells

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(self.given(images))
        return found if self.cells else found.mean((2, 3))


def split(
    network: Any, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
) -> npt.NDArray[np.float64]:
    """Σ_g rᵀ(f_g/scale − μ)/G by cell, (gy, gx), of a representation that is the mean of the cells' features f_g.

    network: one image (1, 3, side, side) in 0…255 to its cells (1, d, gy, gx), on the CPU. The rest as in
    `Represents.where`.
    """
    with torch.inference_mode():
        cells = network(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float())[0]
    features = cells.permute(1, 2, 0).double().numpy()
    found: npt.NDArray[np.float64] = (features / scale - mean) @ residual / (features.shape[0] * features.shape[1])
    return found
