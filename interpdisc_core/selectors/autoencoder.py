"""Autoencoder: what a small network that was trained on the background cannot reproduce is new. Hawkins et al. 2002."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import Features, Floats
from interpdisc_core.selectors.held import by_value, held, items_of, ordered
from interpdisc_core.selectors.ranking import Ranked
from interpdisc_core.selectors.rows import Rows, as_rows, take
from interpdisc_core.selectors.screen import Means
from interpdisc_core.selectors.seen import Seen

Layers = Sequence[tuple[Floats, Floats]]
"""Weights (inputs, outputs) and biases (outputs,) of each layer."""


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """Score: |x − x̂|² in the units of the features, x̂ being the network's reconstruction; all rows ranked once.

    d – hidden – rank – hidden – d with ReLUs, after Hawkins et al. 2002, "Outlier detection using replicator neural
    networks"; trained by Adam (Kingma & Ba 2015) on the mean squared error, on the items of the prior, or, without one,
    on all rows. It sees (x − μ) / σ, μ (d,) being the mean of those and σ one number, the deviation of all their
    features together: so that all errors keep one unit. One thread, float32, and its own random numbers: the same
    rows in whatever order make the same network, to the bit, whatever else ran before. Reads all rows into memory, N x d
    float64. Needs PyTorch.

    epochs: times that it sees each item. batch: items that are learned from together. rate: of learning.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["autoencoder"] = "autoencoder"
    rank: int = 32
    hidden: int = 128
    epochs: int = 30
    batch: int = 64
    rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (
            ("rank (-k)", self.rank), ("hidden", self.hidden), ("epochs", self.epochs), ("batch", self.batch)
        ):  # fmt: skip
            if value < 1:
                raise PlanError(f"autoencoder: {name} must be at least 1, not {value}.")
        if not 0 < self.rate <= 1:
            raise PlanError(f"autoencoder: rate must be above 0 and at most 1, not {self.rate}.")
        if not 0 <= self.seed < 2**63:
            raise PlanError(f"autoencoder: seed must be from 0 to 2^63 − 1, not {self.seed}.")

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> Ranked:  # fmt: skip
        """See `Selects.open`. Raises PlanError as `items_of` does; the first `peek` as `held` does."""
        rows = as_rows(features)
        items = items_of(prior, rows.shape[1], self.kind)
        networks: list[_Network] = []

        def score() -> Floats:
            values = held(rows)
            if not values.size:
                networks.append(_Network(np.zeros(rows.shape[1]), 1.0, ()))
                return np.zeros(len(values))
            networks.append(_trained(self, items if len(items) else values))
            return by_value(values, networks[0].scores)

        def explain(row: int) -> tuple[Floats, Floats, Floats]:
            x, network = take(rows, np.array([row])), networks[0]
            residual = network.residuals(x)[0]
            return x[0] - residual, residual, network.mean

        return Ranked(rows.shape[0], score, explain)


@dataclass(frozen=True, eq=False)
class _Network:
    """mean (d,), deviation: what it sees is (x − mean) / deviation."""

    mean: Floats
    deviation: float
    layers: Layers

    def residuals(self, values: Floats) -> Floats:
        """x − x̂ (n, d) of rows (n, d), in float64."""
        seen = (values - self.mean) / self.deviation
        said = seen
        for number, (weights, biases) in enumerate(self.layers):
            said = said @ weights + biases
            if number % 2 == 0:  # none after the code, and none at the end
                said = np.maximum(said, 0.0)
        residuals: Floats = (seen - said) * self.deviation
        return residuals

    def scores(self, values: Floats) -> Floats:
        """|x − x̂|² (n,) of rows (n, d)."""
        residuals = self.residuals(values)
        scores: Floats = np.einsum("nd,nd->n", residuals, residuals)
        return scores


def _trained(settings: Autoencoder, items: Floats) -> _Network:
    from interpdisc_core.selectors import _autoencoder

    items = items[ordered(items)]
    mean = items.mean(axis=0)
    deviation = float(np.sqrt(items.var(axis=0).mean())) or 1.0
    layers = _autoencoder.train(
        ((items - mean) / deviation).astype(np.float32), (settings.hidden, settings.rank, settings.hidden),
        settings.epochs, settings.batch, settings.rate, settings.seed,
    )  # fmt: skip
    return _Network(mean, deviation, layers)
