"""Batch normalization folded into convolutions: a network that is faster to differentiate in its input on a CPU.

In PyTorch the backward pass of an evaluated batch normalization is the most expensive step of a small network. Here each
is folded into the convolution before it, or is one multiply-add if there is none. The network itself is not changed, hooks
included: a few functions of PyTorch behave differently while it is called from here.

`torch.fx.experimental.optimization.fuse` is as fast where it works, but it can neither trace the padding of the default
backbone nor the hook of `TorchvisionLayer`, and folds twice if a network is called twice, as by `Crops`.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

NetworkFunction = Callable[[Tensor], Tensor]

FUSION_RTOL = (1e-4, 2e-2)
"""Largest difference of features and of gradients, relative to their length, at which the fused network is used.

Rounding switches some of a million ReLUs, which moves a gradient by about 0.3 percent and features not at all.
"""
_ACTIVATIONS = (F.relu, F.relu6, F.hardtanh)


class _NormRecorder(TorchFunctionMode):
    """Records which convolution each batch normalization follows."""

    def __init__(self) -> None:
        super().__init__()
        # Holds the outputs, so that no id is reused.
        self.conv_outputs: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        self.pairs: list[tuple[Tensor, Tensor | None, _BatchNorm]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        norm = _match_batch_norm(func, args, kwargs)
        if norm is not None and id(norm.images) in self.conv_outputs:
            _, weight, bias = self.conv_outputs[id(norm.images)]
            self.pairs.append((weight, bias, norm))
        out = func(*args, **(kwargs or {}))
        if func is torch.conv2d and len(args) == 7:
            self.conv_outputs[id(out)] = (out, args[1], args[2])
        return out


class _FusedMode(TorchFunctionMode):
    """Runs the pairs of `_NormRecorder` fused. Weights are recognized by identity, so the order of calls does not matter."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor | None, "_BatchNorm"]]) -> None:
        super().__init__()
        self.weights: dict[int, tuple[Tensor, Tensor]] = {}
        self.folded_norms: set[int] = set()
        self.affine: dict[int, tuple[Tensor, Tensor]] = {}
        self.last_output: Tensor | None = None  # of a convolution, until its activation
        for weight, bias, norm in pairs:
            scale, shift = norm.scale_and_shift()
            fused_weight = (weight * scale.view(-1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
            self.weights[id(weight)] = fused_weight, shift if bias is None else shift + bias * scale
            self.folded_norms.add(id(norm.mean))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and len(args) == 7 and id(args[1]) in self.weights:
            self.last_output = _convolve(*args[:1], *self.weights[id(args[1])], *args[3:])
            return self.last_output
        if func in _ACTIVATIONS and args[0] is self.last_output:
            # Nothing else has used this tensor yet, so it may be overwritten: the pass is bound by memory.
            self.last_output = None
            bound_args = inspect.signature(func).bind(*args, **(kwargs or {}))
            bound_args.arguments["inplace"] = True
            return func(*bound_args.args, **bound_args.kwargs)
        norm = _match_batch_norm(func, args, kwargs)
        if norm is None:
            return func(*args, **(kwargs or {}))
        if id(norm.mean) in self.folded_norms:
            return norm.images
        if id(norm.mean) not in self.affine:
            self.affine[id(norm.mean)] = norm.scale_and_shift()
        scale, shift = (a.view(-1, *[1] * (norm.images.ndim - 2)) for a in self.affine[id(norm.mean)])
        return torch.addcmul(shift, norm.images, scale)


class _BatchNorm(NamedTuple):
    """A call of a batch normalization in evaluation mode: its input, statistics and weights, each (channels,)."""

    images: Tensor
    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    @torch.no_grad()
    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """scale and shift (channels,), so that the output is images · scale + shift."""
        scale = torch.rsqrt(self.variance + self.eps) * (1.0 if self.weight is None else self.weight)
        return scale, -self.mean * scale + (0.0 if self.bias is None else self.bias)


def _match_batch_norm(func: Any, args: Any, kwargs: Any) -> _BatchNorm | None:
    """A call as a batch normalization in evaluation mode, or None if it is something else."""
    if func is not F.batch_norm:
        return None
    bound_args = inspect.signature(func).bind(*args, **(kwargs or {}))
    bound_args.apply_defaults()
    images, mean, variance, weight, bias, training, _, eps = bound_args.arguments.values()
    return (
        None if training or mean is None or variance is None else _BatchNorm(images, mean, variance, weight, bias, eps)
    )


def _convolve(images: Tensor, weight: Tensor, bias: Tensor, stride: Any, padding: Any, *dilation_groups: Any) -> Tensor:
    """`torch.conv2d`; one of 1 x 1 pixels as a matrix product, which takes fewer copies."""
    dilation, groups = dilation_groups
    if weight.shape[2:] != (1, 1) or groups != 1 or tuple(stride) != (1, 1) or padding not in ((0, 0), "valid"):
        return torch.conv2d(images, weight, bias, stride, padding, dilation, groups)
    pointwise: Tensor = _PointwiseConvolution.apply(images, weight[:, :, 0, 0], bias)
    return pointwise


class _PointwiseConvolution(torch.autograd.Function):
    """A 1 x 1 convolution of images (n, c, h, w) with frozen weights (k, c) and bias (k,)."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        n, _, height, width = images.shape
        shape = (n, len(weight), height, width)
        out = torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
        # Written in place: if it were a view, the ReLU after it could not overwrite it cheaply.
        torch.addmm(bias, _flatten_pixels(images), weight.T, out=_flatten_pixels(out))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        n, _, height, width = gradient.shape
        return (_flatten_pixels(gradient) @ weight).view(n, height, width, -1).permute(0, 3, 1, 2), None, None


def _flatten_pixels(images: Tensor) -> Tensor:
    """(n, c, h, w) as (n · h · w, c), without a copy if the channels are last in memory."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def fuse_network(network: NetworkFunction, example: Tensor) -> NetworkFunction:
    """A function equal to `network` up to rounding and faster to differentiate in its input.

    Args:
        network: In evaluation mode. Its weights must not change afterwards, nor move to another device.
        example: Images (n, 3, side, side) on which features and gradients of the two are compared.

    Returns:
        The function, or `network` itself if it cannot be fused or differs by more than FUSION_RTOL.
    """
    with torch.no_grad():
        with _NormRecorder() as recorder:
            network(example)
        fused_mode = _FusedMode(recorder.pairs)

    def run_fused(images: Tensor) -> Tensor:
        with fused_mode:
            features = network(images.contiguous(memory_format=torch.channels_last))
        fused_mode.last_output = None
        return features

    try:
        ours, theirs = _compute_with_gradient(run_fused, example), _compute_with_gradient(network, example)
    except RuntimeError:  # a tensor that was overwritten is used again
        return network
    gaps = ((a - b).norm() / b.norm().clamp(min=1e-30) for a, b in zip(ours, theirs, strict=True))
    return run_fused if all(gap <= tolerance for gap, tolerance in zip(gaps, FUSION_RTOL, strict=True)) else network


def _compute_with_gradient(network: NetworkFunction, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features of images, and the gradient of half their squared length in the images."""
    images = images.clone().requires_grad_(True)
    features = network(images)
    return features.detach(), torch.autograd.grad((features**2).sum() / 2, images)[0]
