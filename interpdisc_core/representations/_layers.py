"""What networks on images share: the normalisation of ImageNet, and the split of a score over the cells of a layer."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from interpdisc_core.images import Pixels

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
