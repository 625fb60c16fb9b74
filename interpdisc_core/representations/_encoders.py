"""The networks that are learned from a collection, and their file format."""

import json
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from interpdisc_core.errors import WeightsError, one_line

WEIGHTS_FORMAT = 1
CHANNELS = (32, 32, 64, 128)
"""Channels of the residual network at 1/2, 1/4, 1/8 and 1/16 of the side; its last block has `dimensions`."""
LITE0_DIMENSIONS = 1280
_DECODER_CHANNELS = (128, 96, 64, 32)
_MAX_PROJECTOR_WIDTH = 1024


class Encoder(nn.Module):
    """Images (n, 3, s, s) in 0…255 -> features of their cells (n, d, s/16, s/16); of lite0 (n, d, s/32, s/32)."""

    def __init__(self, layers: nn.Sequential, stages: tuple[int, ...], dimensions: int) -> None:
        super().__init__()
        self.layers, self.stages, self.dimensions = layers, stages, dimensions

    def forward(self, images: Tensor) -> Tensor:
        cells: Tensor = self.layers((images - 127.0) / 128.0)
        return cells

    def forward_stages(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        activations, stage_outputs = (images - 127.0) / 128.0, []
        for number, layer in enumerate(self.layers):
            activations = layer(activations)
            if number in self.stages:
                stage_outputs.append(activations)
        return activations, stage_outputs


class PooledEncoder(nn.Module):
    """The features of an image: the mean over the cells of an encoder."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images).mean((2, 3))

    def forward_with_stages(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features, and the activations of the inner stages, from fine to coarse."""
        cells, stages = self.encoder.forward_stages(images)
        return cells.mean((2, 3)), stages


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut around them (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_block(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.short(x))


def _conv_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def build_encoder(start: str, dimensions: int) -> Encoder:
    """An untrained encoder; the weights of `scratch` are drawn from PyTorch's global random state."""
    if start == "lite0":
        from interpdisc_core.representations import _efficientnet_lite0

        features = _efficientnet_lite0.build_lite0().features.requires_grad_(True)
        for module in features.modules():
            if type(module).__name__ == "StochasticDepth":
                module.p = 0.0  # otherwise it draws from PyTorch's global random state
        return Encoder(features, (2, 3, 5, 7), LITE0_DIMENSIONS)
    inputs = CHANNELS[0]
    layers: list[nn.Module] = [_conv_block(3, inputs, 2)]
    for outputs, stride in (*((width, 2) for width in CHANNELS[1:]), (dimensions, 1)):
        layers.append(_ResidualBlock(inputs, outputs, stride))
        inputs = outputs
    return Encoder(nn.Sequential(*layers), (1, 2, 3, 4), dimensions)


def build_projector(dimensions: int) -> nn.Module:
    """Features (n, d) -> (n, 4 d), at most 1024, where views are compared: what the loss discards may stay in the features.

    The paper expands features four times, too.
    """
    width = min(4 * dimensions, _MAX_PROJECTOR_WIDTH)
    return nn.Sequential(
        nn.Linear(dimensions, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
    )


def build_decoder(dimensions: int, side: int) -> nn.Module:
    """Features (n, d) -> pictures (n, 3, side, side) in about 0…1."""
    cells = side // 16
    layers: list[nn.Module] = [
        nn.Linear(dimensions, _DECODER_CHANNELS[0] * cells**2, bias=False),
        nn.Unflatten(1, (_DECODER_CHANNELS[0], cells, cells)),
        nn.BatchNorm2d(_DECODER_CHANNELS[0]),
        nn.ReLU(),
    ]
    for inputs, outputs in pairwise(_DECODER_CHANNELS):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    last = nn.Conv2d(_DECODER_CHANNELS[-1], 12, 3, 1, 1)
    assert last.bias is not None
    nn.init.constant_(last.bias, 0.5)  # gray
    return nn.Sequential(*layers, last, nn.PixelShuffle(2))


def compute_vicreg_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """VICReg of the projections (n, d) of two views, n at least 2, weighted as in Bardes, Ponce & LeCun 2022.

    25 · mean (z − z′)²  +  Σ over the two views of  25/2 · mean_j max(0, 1 − σ_j)  +  Σ_{i≠j} Cov_ij² / d.
    """
    invariance = F.mse_loss(ours, theirs)
    loss = 25.0 * invariance
    for view in (ours, theirs):
        centered = view - view.mean(0)
        deviation = (centered.square().sum(0) / (len(view) - 1) + 1e-4).sqrt()
        covariance = centered.T @ centered / (len(view) - 1)
        others = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + 25.0 * F.relu(1 - deviation).mean() / 2 + others / view.shape[1]
    return loss


def pack_encoder(encoder: Encoder, spec: Any, extra: dict[str, Any]) -> bytes:
    """The content of a file of weights: safetensors, with the settings and `extra` as metadata."""
    metadata = {"format": WEIGHTS_FORMAT, "settings": asdict(spec), **extra}
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    # A single entry of metadata: safetensors writes several in no fixed order.
    return save(tensors, metadata={"interpdisc": json.dumps(metadata, sort_keys=True)})


def load_encoder(content: bytes, spec: Any) -> Encoder:
    """The encoder in a file's content, in evaluation mode, on the CPU.

    Raises:
        WeightsError: If the content is not from `pack_encoder`, or has other settings than `spec` that matter.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["interpdisc"])
        version, settings = metadata["format"], metadata["settings"]
        if version != WEIGHTS_FORMAT:
            raise WeightsError(f"{spec.weights} is of version {version}; this program reads version {WEIGHTS_FORMAT}.")
        for name in ("kind", "objective", "start", "side", *(["dimensions"] if spec.start == "scratch" else [])):
            if settings[name] != getattr(spec, name):
                raise WeightsError(
                    f"{spec.weights} was learned with {name} {settings[name]}, not {getattr(spec, name)}: learn again, or "
                    "change the setting."
                )
        with torch.random.fork_rng(devices=[]):  # drawing the weights to be overwritten changes no global state
            encoder = build_encoder(spec.start, spec.dimensions)
        encoder.load_state_dict(load(content), strict=True)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{spec.weights} does not hold a learned network ({one_line(error)}): learn it again."
        ) from error
    return encoder.requires_grad_(False).eval()
