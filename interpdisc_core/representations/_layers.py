"""What networks on images share: preprocessing, the mean over the cells of a layer, and the split of a score."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from interpdisc_core._types import PixelArray

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)


class ImageNetNormalization(torch.nn.Module):
    """Images (n, 3, h, w) in 0…255, less ImageNet's mean over its standard deviation."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1) * 255)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


class CaffePreprocessing(torch.nn.Module):
    """Images (n, 3, h, w) in 0…255, RGB, as networks of Caffe take them: BGR less the means of the channels."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_CAFFE_MEAN).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flip(1) - self.mean


class MeanPooledNetwork(torch.nn.Module):
    """Images (n, 3, h, w) in 0…255 to the mean (n, d) of the features of cells, or to these themselves, (n, d, gy, gx)."""

    def __init__(self, preprocess: torch.nn.Module, layers: torch.nn.Module, *, return_cells: bool) -> None:
        super().__init__()
        self.preprocess, self.layers, self.return_cells = preprocess, layers, return_cells

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells: torch.Tensor = self.layers(self.preprocess(images))
        return cells if self.return_cells else cells.mean((2, 3))


def split_score(
    network: Any, image: PixelArray, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
) -> npt.NDArray[np.float64]:
    """Σ_g rᵀ(f_g/scale − μ)/G by cell, (gy, gx), of a representation that is the mean of the features f_g of its cells.

    Args:
        network: One image (1, 3, side, side) in 0…255 to its cells (1, d, gy, gx), on the CPU.
        image: See `RepresentationLike.attribution_map`, as the following.
        residual: x − x̂ (d,).
        mean: μ (d,).
        scale: What the features were divided by.
    """
    with torch.inference_mode():
        cells = network(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float())[0]
    features = cells.permute(1, 2, 0).double().numpy()
    cell_scores: npt.NDArray[np.float64] = (
        (features / scale - mean) @ residual / (features.shape[0] * features.shape[1])
    )
    return cell_scores
