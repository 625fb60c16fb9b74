"""Autoencoder: what a small network trained on the background cannot reproduce is new. Hawkins et al. 2002."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import FloatArray
from interpdisc_core.selectors._in_memory import canonical_order, score_unique_rows
from interpdisc_core.selectors._ranked import Ranking, RankOnce
from interpdisc_core.settings import settings

NetworkLayers = Sequence[tuple[FloatArray, FloatArray]]
"""Weights (inputs, outputs) and biases (outputs,) of each layer."""


@settings
class Autoencoder(RankOnce):
    """Score: |x − x̂|² in the units of the features, where x̂ is the network's reconstruction; ranks all rows once.

    A network d – hidden – rank – hidden – d with ReLUs, after Hawkins et al. 2002, "Outlier detection using replicator
    neural networks"; trained by Adam (Kingma & Ba 2015) on the mean squared error, on the items of the prior or, without
    one, on all rows. Its input is (x − μ) / σ, where μ (d,) is the mean of the training rows and σ one number, the
    standard deviation of all their features together, so that all errors keep one unit. Training runs in float32 on one
    thread with its own random numbers: the same rows in any order give the same network, to the bit. Needs PyTorch.

    Attributes:
        rank: Width of the code.
        hidden: Width of the layers around it.
        epochs: Passes over the training rows.
        batch: Rows in a minibatch.
        rate: Learning rate.
        seed: Of the initial weights and the order of rows.
    """

    kind: Literal["autoencoder"] = "autoencoder"
    rank: Annotated[int, Field(ge=1)] = 32
    hidden: Annotated[int, Field(ge=1)] = 128
    epochs: Annotated[int, Field(ge=1)] = 30
    batch: Annotated[int, Field(ge=1)] = 64
    rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def score_rows(self, values: FloatArray, items: FloatArray) -> Ranking:
        """See `RankOnce.score_rows`."""
        if not values.size:
            return Ranking(np.zeros(len(values)), _AutoencoderNetwork(np.zeros(values.shape[1]), 1.0, ()).explain)
        network = _train_network(self, items if len(items) else values)
        return Ranking(score_unique_rows(values, network.compute_scores), network.explain)


@dataclass(frozen=True, eq=False)
class _AutoencoderNetwork:
    """mean (d,), deviation: its input is (x − mean) / deviation."""

    mean: FloatArray
    deviation: float
    layers: NetworkLayers

    def compute_residuals(self, values: FloatArray) -> FloatArray:
        """x − x̂ (n, d) of rows (n, d), in float64."""
        inputs = (values - self.mean) / self.deviation
        outputs = inputs
        for number, (weights, biases) in enumerate(self.layers):
            outputs = outputs @ weights + biases
            if number % 2 == 0:  # no ReLU after the code, and none at the end
                outputs = np.maximum(outputs, 0.0)
        residuals: FloatArray = (inputs - outputs) * self.deviation
        return residuals

    def compute_scores(self, values: FloatArray) -> FloatArray:
        """|x − x̂|² (n,) of rows (n, d)."""
        residuals = self.compute_residuals(values)
        scores: FloatArray = np.einsum("nd,nd->n", residuals, residuals)
        return scores

    def explain(self, _row: int, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x̂, x − x̂ and μ (d,) of one row x (d,)."""
        residual = self.compute_residuals(x[None])[0]
        return x - residual, residual, self.mean


def _train_network(options: Autoencoder, items: FloatArray) -> _AutoencoderNetwork:
    from interpdisc_core.selectors import _autoencoder_training

    items = items[canonical_order(items)]
    mean = items.mean(axis=0)
    deviation = float(np.sqrt(items.var(axis=0).mean())) or 1.0
    layers = _autoencoder_training.train_autoencoder(
        ((items - mean) / deviation).astype(np.float32),
        (options.hidden, options.rank, options.hidden),
        options.epochs,
        options.batch,
        options.rate,
        options.seed,
    )
    return _AutoencoderNetwork(mean, deviation, layers)
