"""The layers of the generators, in PyTorch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interpdisc_core._types import AnyArray, PixelArray

LEAKY_SLOPE = 0.3
"""Of the leaky ReLUs, as in the paper."""


def build_paper_generator(dimension: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs in (dimension, 4096, 4096):
        layers += [nn.Linear(inputs, 4096), nn.LeakyReLU(LEAKY_SLOPE)]
    layers.append(nn.Unflatten(1, (256, 4, 4)))
    convolutions = (
        (256, 256, 4, 2),
        (256, 512, 3, 1),
        (512, 256, 4, 2),
        (256, 256, 3, 1),
        (256, 128, 4, 2),
        (128, 128, 3, 1),
        (128, 64, 4, 2),
        (64, 32, 4, 2),
        (32, 3, 4, 2),
    )
    for inputs, outputs, kernel, stride in convolutions:
        layers += [nn.ConvTranspose2d(inputs, outputs, kernel, stride, 1), nn.LeakyReLU(LEAKY_SLOPE)]
    network = nn.Sequential(*layers[:-1])  # no activation after the last layer
    for layer in network:
        # He 2015: keeps the variance of the input through a dozen layers without normalization.
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=LEAKY_SLOPE)
        elif isinstance(layer, nn.ConvTranspose2d):
            fan = layer.in_channels * (layer.kernel_size[0] / layer.stride[0]) ** 2
            nn.init.normal_(layer.weight, std=(2 / (1 + LEAKY_SLOPE**2) / fan) ** 0.5)
    for layer in network:
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    last = network[-1]
    assert isinstance(last, nn.ConvTranspose2d)
    assert last.bias is not None
    nn.init.normal_(last.weight, std=0.01)
    nn.init.constant_(last.bias, 0.5)  # gray
    return network


class _LightNetwork(nn.Module):
    """Cells -> convolutions with about five doublings of the side; the last one shuffles channels into pixels."""

    def __init__(self, dimension: int, cells: int, size: int) -> None:
        super().__init__()
        self.cells = cells
        channels = dimension // cells**2
        self.start = 4 if cells <= 4 else 8
        self.spread: nn.Module
        if cells == 1:
            channels = 160
            self.spread = nn.Sequential(
                nn.Linear(dimension, 384),
                nn.LeakyReLU(LEAKY_SLOPE),
                nn.Linear(384, channels * 16),
                nn.Unflatten(1, (channels, 4, 4)),
                nn.LeakyReLU(LEAKY_SLOPE),
            )
        else:
            self.spread = nn.Identity()
        widths = {4: 320 if cells == 1 else 384, 8: 256, 16: 160, 32: 96, 64: 64, 128: 32}
        layers: list[nn.Module] = [_conv_block(channels, widths[self.start])]
        side, width = self.start, widths[self.start]
        while side < size // 2:
            side *= 2
            layers.append(_upsample_block(width, widths[side]))
            width = widths[side]
            if side <= 16:
                layers.append(_conv_block(width, width))
        layers += [nn.Conv2d(width, 12, 3, 1, 1), nn.PixelShuffle(2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        if self.cells == 1:
            cells = self.spread(codes)
        else:
            cells = codes.view(len(codes), self.cells, self.cells, codes.shape[1] // self.cells**2).permute(0, 3, 1, 2)
            if self.cells != self.start:
                cells = F.interpolate(cells, self.start, mode="bilinear", align_corners=False)
        pictures: Tensor = self.layers(cells.contiguous(memory_format=torch.channels_last))
        return pictures + 0.5


def _conv_block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(LEAKY_SLOPE)
    )


def _upsample_block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(LEAKY_SLOPE)
    )


def build_light_generator(dimension: int, cells: int, size: int) -> nn.Module:
    return _LightNetwork(dimension, cells, size).to(memory_format=torch.channels_last)


def render_pictures(
    network: nn.Module, codes: AnyArray, minibatch_size: int, report: Callable[[float], None] | None = None
) -> PixelArray:
    """Pictures (n, s, s, 3) uint8 of codes (n, d), on the device of the network; `report` gets the share done."""
    device, pictures = next(network.parameters()).device, []
    with torch.inference_mode():
        for first in range(
            0, max(len(codes), 1), minibatch_size
        ):  # also for no codes: no pictures, but of the right size
            minibatch = torch.from_numpy(codes[first : first + minibatch_size].astype(np.float32, copy=False)).to(
                device
            )
            pictures.append(
                (network(minibatch).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            )
            if report is not None:
                report(min(first + minibatch_size, len(codes)) / len(codes) if len(codes) else 1.0)
    return np.concatenate(pictures)


class StandardizedGenerator(nn.Module):
    """A generator for codes of any range: standardizes each feature; mean (d,) and spread (d,) are stored with the weights.

    Features that hardly vary are divided by a tenth of the overall spread, so that rounding does not become signal.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, generator: nn.Module, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def forward(self, codes: Tensor) -> Tensor:
        pictures: Tensor = self.generator((codes - self.mean) / self.spread)
        return pictures
