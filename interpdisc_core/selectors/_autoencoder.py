"""The training of the autoencoder, in PyTorch."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from interpdisc_core.selectors.rows import Floats


def train(
    items: npt.NDArray[np.float32], widths: Sequence[int], epochs: int, batch: int, rate: float, seed: int
) -> list[tuple[Floats, Floats]]:  # fmt: skip
    """Layers d – widths – d trained to reproduce items (n, d): weights (inputs, outputs) and biases of each, float64."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.enable_grad():
            layers = _train(torch.from_numpy(items), widths, epochs, batch, rate, seed)
    finally:
        torch.set_num_threads(before)
    return [(w.detach().numpy().T.astype(np.float64), b.detach().numpy().astype(np.float64)) for w, b in layers]


def _train(
    items: Tensor, widths: Sequence[int], epochs: int, batch: int, rate: float, seed: int
) -> list[tuple[Tensor, Tensor]]:  # fmt: skip
    # PyTorch's own generator is neither used nor seeded: others' random numbers stay as they are.
    chance = torch.Generator().manual_seed(seed)
    layers = _layers([items.shape[1], *widths, items.shape[1]], chance)
    optimiser = torch.optim.Adam([tensor for layer in layers for tensor in layer], lr=rate)
    for _ in range(epochs):
        order = torch.randperm(len(items), generator=chance)
        for first in range(0, len(items), batch):
            x = items[order[first : first + batch]]
            optimiser.zero_grad()
            F.mse_loss(_through(layers, x), x).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return layers


def _layers(widths: Sequence[int], chance: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        # He 2015 before a ReLU; the last begins small, so that at first it says little more than the mean.
        gain = 2.0 if number % 2 == 0 else 1.0
        deviation = (gain / inputs) ** 0.5 * (0.1 if number == len(widths) - 2 else 1.0)
        weights = torch.empty(outputs, inputs).normal_(0.0, deviation, generator=chance)
        layers.append((weights.requires_grad_(), torch.zeros(outputs).requires_grad_()))
    return layers


def _through(layers: Sequence[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    for number, (weights, biases) in enumerate(layers):
        x = F.linear(x, weights, biases)
        if number % 2 == 0:
            x = F.relu(x)
    return x
