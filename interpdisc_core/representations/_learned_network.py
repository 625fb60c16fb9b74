"""The networks that are learned from a collection, and the file that they are kept in."""

import json
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from interpdisc_core.errors import WeightsError

FORMAT = 1
WIDTHS = (32, 32, 64, 128)
"""Channels of the residual network at 1/2, 1/4, 1/8 and 1/16 of the side; its last block has the dimensions asked for."""
LITE0 = 1280
_PAINTED = (128, 96, 64, 32)
_WIDEST = 1024


class Encoder(nn.Module):
    """Images (n, 3, s, s) in 0…255 -> features of their cells (n, d, s/16, s/16), of lite0 (n, d, s/32, s/32)."""

    def __init__(self, layers: nn.Sequential, stages: tuple[int, ...], dimensions: int) -> None:
        super().__init__()
        self.layers, self.stages, self.dimensions = layers, stages, dimensions

    def forward(self, images: Tensor) -> Tensor:
        cells: Tensor = self.layers((images - 127.0) / 128.0)
        return cells

    def staged(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        at, kept = (images - 127.0) / 128.0, []
        for number, layer in enumerate(self.layers):
            at = layer(at)
            if number in self.stages:
                kept.append(at)
        return at, kept


class Pooled(nn.Module):
    """The features of an image: the mean over the cells of an encoder."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images).mean((2, 3))

    def with_stages(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features, and what the inner layers make, from fine to coarse."""
        cells, stages = self.encoder.staged(images)
        return cells.mean((2, 3)), stages


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a short way round them (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolved(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.short(x))


def _convolved(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def fresh(start: str, dimensions: int) -> Encoder:
    """An encoder before it has learned; of `scratch`, its weights come from PyTorch's random state."""
    if start == "lite0":
        from interpdisc_core.representations import _lite0_network

        features = _lite0_network.build().features.requires_grad_(True)
        for module in features.modules():
            if type(module).__name__ == "StochasticDepth":
                module.p = 0.0  # it would draw from PyTorch's global random state
        return Encoder(features, (2, 3, 5, 7), LITE0)
    inputs = WIDTHS[0]
    layers: list[nn.Module] = [_convolved(3, inputs, 2)]
    for outputs, stride in (*((width, 2) for width in WIDTHS[1:]), (dimensions, 1)):
        layers.append(_Residual(inputs, outputs, stride))
        inputs = outputs
    return Encoder(nn.Sequential(*layers), (1, 2, 3, 4), dimensions)


def projector(dimensions: int) -> nn.Module:
    """Features (n, d) -> (n, 4 d), at most 1024: here views are compared, so what the loss discards may stay in features.

    The paper expands features four times, too.
    """
    wide = min(4 * dimensions, _WIDEST)
    return nn.Sequential(
        nn.Linear(dimensions, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, wide)
    )


def decoder(dimensions: int, side: int) -> nn.Module:
    """Features (n, d) -> pictures (n, 3, side, side) in about 0…1."""
    cells = side // 16
    layers: list[nn.Module] = [
        nn.Linear(dimensions, _PAINTED[0] * cells**2, bias=False),
        nn.Unflatten(1, (_PAINTED[0], cells, cells)), nn.BatchNorm2d(_PAINTED[0]), nn.ReLU(),
    ]  # fmt: skip
    for inputs, outputs in pairwise(_PAINTED):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    last = nn.Conv2d(_PAINTED[-1], 12, 3, 1, 1)
    assert last.bias is not None
    nn.init.constant_(last.bias, 0.5)  # grey
    return nn.Sequential(*layers, last, nn.PixelShuffle(2))


def vicreg(ours: Tensor, theirs: Tensor) -> Tensor:
    """The loss of two views' projections (n, d) each, n at least 2, as Bardes, Ponce & LeCun 2022 weigh it.

    25 · mean (z − z′)²  +  Σ over the two views of  25/2 · mean_j max(0, 1 − σ_j)  +  Σ_{i≠j} Cov_ij² / d.
    """
    invariance = F.mse_loss(ours, theirs)
    loss = 25.0 * invariance
    for view in (ours, theirs):
        centred = view - view.mean(0)
        deviation = (centred.square().sum(0) / (len(view) - 1) + 1e-4).sqrt()
        covariance = centred.T @ centred / (len(view) - 1)
        others = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + 25.0 * F.relu(1 - deviation).mean() / 2 + others / view.shape[1]
    return loss


def packed(encoder: Encoder, spec: Any, about: dict[str, Any]) -> bytes:
    """The content of a file of weights: safetensors, with the settings as metadata and what else there is to say."""
    card = {"format": FORMAT, "settings": asdict(spec), **about}
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    # One entry of metadata only: safetensors writes several in no fixed order.
    return save(tensors, metadata={"interpdisc": json.dumps(card, sort_keys=True)})


def unpacked(content: bytes, spec: Any) -> Encoder:
    """The encoder of a file's content, in evaluation mode, on the CPU.

    Raises WeightsError where the content is none of `packed`, or of other settings than `spec` where these matter.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        card = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["interpdisc"])
        version, settings = card["format"], card["settings"]
        if version != FORMAT:
            raise WeightsError(f"{spec.weights} is of version {version}; this program reads version {FORMAT}.")
        for name in ("kind", "objective", "start", "side", *(["dimensions"] if spec.start == "scratch" else [])):
            if settings[name] != getattr(spec, name):
                raise WeightsError(
                    f"{spec.weights} was learned with {name} {settings[name]}, not {getattr(spec, name)}: learn anew, or "
                    "change the setting."
                )
        with torch.random.fork_rng(devices=[]):  # the random weights that are overwritten leave no trace
            encoder = fresh(spec.start, spec.dimensions)
        encoder.load_state_dict(load(content), strict=True)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        why = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise WeightsError(f"{spec.weights} does not hold a learned network ({why}): learn it anew.") from error
    return encoder.requires_grad_(False).eval()
