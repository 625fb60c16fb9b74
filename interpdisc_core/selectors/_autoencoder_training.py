"""The training of the autoencoder, in PyTorch."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from interpdisc_core._types import FloatArray


def train_autoencoder(
    items: npt.NDArray[np.float32],
    widths: Sequence[int],
    epochs: int,
    minibatch_size: int,
    learning_rate: float,
    seed: int,
) -> list[tuple[FloatArray, FloatArray]]:
    """Layers d – widths – d trained to reproduce items (n, d): weights (inputs, outputs) and biases of each, float64."""
    thread_count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.enable_grad():
            layers = _fit_layers(torch.from_numpy(items), widths, epochs, minibatch_size, learning_rate, seed)
    finally:
        torch.set_num_threads(thread_count)
    return [(w.detach().numpy().T.astype(np.float64), b.detach().numpy().astype(np.float64)) for w, b in layers]


def _fit_layers(
    items: Tensor, widths: Sequence[int], epochs: int, minibatch_size: int, learning_rate: float, seed: int
) -> list[tuple[Tensor, Tensor]]:
    # Its own generator: PyTorch's global random state is neither used nor changed.
    generator = torch.Generator().manual_seed(seed)
    layers = _init_layers([items.shape[1], *widths, items.shape[1]], generator)
    optimizer = torch.optim.Adam([tensor for layer in layers for tensor in layer], lr=learning_rate)
    for _ in range(epochs):
        order = torch.randperm(len(items), generator=generator)
        for first in range(0, len(items), minibatch_size):
            x = items[order[first : first + minibatch_size]]
            optimizer.zero_grad()
            F.mse_loss(_forward(layers, x), x).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return layers


def _init_layers(widths: Sequence[int], generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        # He 2015 before a ReLU; the last layer starts small, so that the first reconstruction is about the mean.
        variance_gain = 2.0 if number % 2 == 0 else 1.0
        deviation = (variance_gain / inputs) ** 0.5 * (0.1 if number == len(widths) - 2 else 1.0)
        weights = torch.empty(outputs, inputs).normal_(0.0, deviation, generator=generator)
        layers.append((weights.requires_grad_(), torch.zeros(outputs).requires_grad_()))
    return layers


def _forward(layers: Sequence[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    for number, (weights, biases) in enumerate(layers):
        x = F.linear(x, weights, biases)
        if number % 2 == 0:
            x = F.relu(x)
    return x
