"""A network that only its input is differentiated in, run faster on a CPU and with the same numbers.

In PyTorch the backward pass of an evaluated batch normalisation is the dearest step of a small network. Here each is
folded into the convolution before it, or is one multiply-add where there is none. The network itself is left as it
is, hooks and all: what changes is what a few functions of PyTorch do while it is called from here.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Network = Callable[[Tensor], Tensor]

AGREEMENT = (1e-4, 2e-2)
"""Largest difference of features and of gradients, relative to their length, at which the faster form is used.

Rounding switches some of a million ReLUs, which moves a gradient by some 0.3 percent and features not at all.
"""
_CLIPS = (F.relu, F.relu6, F.hardtanh)


class _Watched(TorchFunctionMode):
    """Notes which convolution each batch normalisation follows."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}  # holds the outputs, so that no id comes twice
        self.pairs: list[tuple[Tensor, Tensor | None, _Norm]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        norm = _evaluated(func, args, kwargs)
        if norm is not None and id(norm.images) in self.made:
            _, weight, bias = self.made[id(norm.images)]
            self.pairs.append((weight, bias, norm))
        out = func(*args, **(kwargs or {}))
        if func is torch.conv2d and len(args) == 7:
            self.made[id(out)] = (out, args[1], args[2])
        return out


class _Folded(TorchFunctionMode):
    """Does what `_Watched` saw in fewer steps. Weights are known by identity, so the order of calls is free."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor | None, "_Norm"]]) -> None:
        super().__init__()
        self.weights: dict[int, tuple[Tensor, Tensor]] = {}
        self.done: set[int] = set()
        self.affine: dict[int, tuple[Tensor, Tensor]] = {}
        self.fresh: Tensor | None = None  # the last convolution's output, until it is clipped
        for weight, bias, norm in pairs:
            scale, shift = norm.scale_and_shift()
            folded = (weight * scale.view(-1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
            self.weights[id(weight)] = folded, shift if bias is None else shift + bias * scale
            self.done.add(id(norm.mean))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and len(args) == 7 and id(args[1]) in self.weights:
            self.fresh = _convolved(*args[:1], *self.weights[id(args[1])], *args[3:])
            return self.fresh
        if func in _CLIPS and args[0] is self.fresh:
            # Nothing else has had this tensor yet, so it may be overwritten: the pass is bound by memory.
            self.fresh = None
            given = inspect.signature(func).bind(*args, **(kwargs or {}))
            given.arguments["inplace"] = True
            return func(*given.args, **given.kwargs)
        norm = _evaluated(func, args, kwargs)
        if norm is None:
            return func(*args, **(kwargs or {}))
        if id(norm.mean) in self.done:
            return norm.images
        if id(norm.mean) not in self.affine:
            self.affine[id(norm.mean)] = norm.scale_and_shift()
        scale, shift = (a.view(-1, *[1] * (norm.images.ndim - 2)) for a in self.affine[id(norm.mean)])
        return torch.addcmul(shift, norm.images, scale)


class _Norm(NamedTuple):
    """An evaluated batch normalisation: what it was given, and its statistics and weights, each (channels,)."""

    images: Tensor
    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    @torch.no_grad()
    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The same as images · scale + shift, each (channels,)."""
        scale = torch.rsqrt(self.variance + self.eps) * (1.0 if self.weight is None else self.weight)
        return scale, -self.mean * scale + (0.0 if self.bias is None else self.bias)


def _evaluated(func: Any, args: Any, kwargs: Any) -> _Norm | None:
    """The call as an evaluated batch normalisation, or None where it is something else."""
    if func is not F.batch_norm:
        return None
    given = inspect.signature(func).bind(*args, **(kwargs or {}))
    given.apply_defaults()
    images, mean, variance, weight, bias, training, _, eps = given.arguments.values()
    return None if training or mean is None or variance is None else _Norm(images, mean, variance, weight, bias, eps)


def _convolved(images: Tensor, weight: Tensor, bias: Tensor, stride: Any, padding: Any, *more: Any) -> Tensor:
    """`torch.conv2d`; one of 1 x 1 pixels as the matrix product it is, which PyTorch does with fewer copies."""
    dilation, groups = more
    if weight.shape[2:] != (1, 1) or groups != 1 or tuple(stride) != (1, 1) or padding not in ((0, 0), "valid"):
        return torch.conv2d(images, weight, bias, stride, padding, dilation, groups)
    pointwise: Tensor = _Pointwise.apply(images, weight[:, :, 0, 0], bias)
    return pointwise


class _Pointwise(torch.autograd.Function):
    """A 1 x 1 convolution of images (n, c, h, w) with frozen weights (k, c) and bias (k,)."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        n, _, height, width = images.shape
        shape = (n, len(weight), height, width)
        out = torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
        # Written in place: were it a view, the ReLU after it could not overwrite it cheaply.
        torch.addmm(bias, _rows(images), weight.T, out=_rows(out))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        n, _, height, width = gradient.shape
        return (_rows(gradient) @ weight).view(n, height, width, -1).permute(0, 3, 1, 2), None, None


def _rows(images: Tensor) -> Tensor:
    """(n, c, h, w) as (n · h · w, c), without a copy where the channels are last in memory."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def quicken(network: Network, example: Tensor) -> Network:
    """A function equal to `network`, faster to differentiate in its input; `network` itself where there is none.

    example (n, 3, side, side): images on which the two are compared, features and gradients. The network's weights
    must not change afterwards, nor move to another device.
    """
    with torch.no_grad():
        with _Watched() as watched:
            network(example)
        mode = _Folded(watched.pairs)

    def quick(images: Tensor) -> Tensor:
        with mode:
            features = network(images.contiguous(memory_format=torch.channels_last))
        mode.fresh = None
        return features

    try:
        ours, theirs = _with_gradient(quick, example), _with_gradient(network, example)
    except RuntimeError:  # a tensor that was overwritten had another use
        return network
    gaps = ((a - b).norm() / b.norm().clamp(min=1e-30) for a, b in zip(ours, theirs, strict=True))
    return quick if all(gap <= most for gap, most in zip(gaps, AGREEMENT, strict=True)) else network


def _with_gradient(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features of images, and the gradient of half their squared length in the images."""
    images = images.clone().requires_grad_(True)
    features = network(images)
    return features.detach(), torch.autograd.grad((features**2).sum() / 2, images)[0]
