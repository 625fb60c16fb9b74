"""DEMUD: novelty is what a low-rank model of everything seen so far cannot reconstruct.

Wagstaff et al. 2013; Wagstaff & Lee 2018, equations 1 and 2. The definition that is computed here, exactly:

    seen items S with mean μ; U: the leading rank-k left singular vectors of the centred seen items, null directions
    dropped; x̂ = U Uᵀ(x − μ) + μ; score = |x − x̂|²; the next pick is the row of largest score, the lowest row among
    ties; then it is learned.

All models live in the span of the seen items, so a pick costs one product of the matrix with one vector (`span`)
and a small problem in the span's coordinates (`models`); the rows near the top are then decided on the literal
residual in float64 (`choice`).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import NULL, Choice, Features, Floats, Subspace, decide
from interpdisc_core.selectors.models import Full, Incremental
from interpdisc_core.selectors.span import Span, leading_subspace, screen_against

Method = Literal["full", "incremental", "static"]


@dataclass(frozen=True, kw_only=True)
class Demud:
    """Settings of DEMUD.

    method: `full`, the exact rank-k SVD of everything seen, after each pick (the 2018 paper); `incremental`, a
    one-item update of the truncated SVD (Ross et al. 2008 with exact weights), bounded state; `static`, one SVD of
    the whole set (or of the prior), which ranks all rows once (the paper's batch "SVD").
    rank: k ≥ 1; a model keeps fewer directions where there are fewer.
    start: how the first pick is made where there is no prior: `svd`, largest error against the rank-k SVD of the
    whole set; `mean`, farthest from the whole set's mean; `random`, by `seed`; or the number of a row.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["demud"] = "demud"
    method: Method = "full"
    rank: int = 50
    start: Literal["svd", "mean", "random"] | int = "svd"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise PlanError(f"demud: rank (-k) must be at least 1, not {self.rank}.")
        if isinstance(self.start, int) and self.start < 0:
            raise PlanError(f"demud: a start row must be 0 or more, not {self.start}.")

    def open(self, features: Features, prior: Floats) -> "_Ranked | _Greedy":
        """See `Selects.open`. Raises PlanError where the start row is beyond the rows."""
        if isinstance(self.start, int) and not len(prior) and self.start >= max(len(features), 1):
            raise PlanError(f"demud: the start row {self.start} is beyond the {len(features)} rows there are.")
        if self.method == "static":
            return _Ranked(self, features, prior)
        return _Greedy(self, features, prior)


def _prior_model(prior: Floats, rank: int) -> tuple[Subspace, Floats]:
    """Rank-`rank` model of prior items (n0, d), decided on the items; and its singular values (q,)."""
    mean = prior.mean(axis=0)
    _, values, axes = np.linalg.svd(prior - mean, full_matrices=False)
    kept = min(int((values > NULL * values[0]).sum()) if values.size and values[0] > 0 else 0, rank)
    return Subspace(mean, axes[:kept]), values[:kept]


class _Ranked:
    """`static`: every row against one model that never learns."""

    def __init__(self, settings: Demud, features: Features, prior: Floats) -> None:
        self.features, self.free = features, np.ones(len(features), dtype=bool)
        self.prior = len(prior) > 0
        if len(features):
            self.model = (
                _prior_model(prior, settings.rank)[0] if self.prior else leading_subspace(features, settings.rank)
            )
            self.screen = screen_against(features, self.model)

    def peek(self) -> Choice | None:
        if not self.free.any():
            return None
        choice = decide(self.features, self.model, *self.screen, self.free)
        # Without a prior, static ranks all there is, rows of no novelty last.
        return None if choice is not None and choice.score == 0.0 and self.prior else choice

    def learn(self, row: int) -> None:
        _take(self.free, row)


class _Greedy:
    """`full` and `incremental`: the model learns each pick."""

    def __init__(self, settings: Demud, features: Features, prior: Floats) -> None:
        self.settings, self.features = settings, features
        self.free = np.ones(len(features), dtype=bool)
        self.total, self.seen = np.zeros(features.shape[1]), 0
        self.span: Span | None = None
        self.model: Full | Incremental = (
            Full(settings.rank) if settings.method == "full" else Incremental(settings.rank)
        )
        if len(prior):
            every = prior.shape[1] if settings.method == "full" else settings.rank
            known, values = _prior_model(prior, every)
            self.span = Span(features, known.mean, known.axes)
            self.model.begin(values, len(prior))
            self.total, self.seen = prior.sum(axis=0), len(prior)

    def peek(self) -> Choice | None:
        if not self.free.any():
            return None
        if self.span is None:
            return self._opening()
        mean, within = self.model.fit(self.span.rank)
        screen, slack, scale = self.span.screen(mean, within)
        exact = Subspace(self.total / self.seen, within @ self.span.axes)
        choice = decide(self.features, exact, screen, slack, scale, self.free)
        return None if choice is None or choice.score == 0.0 else choice

    def _opening(self) -> Choice | None:
        """The first pick, where nothing was seen before. It is always made: the first image of all is new."""
        start, rows = self.settings.start, self.features
        if start == "random":
            start = int(np.random.default_rng(self.settings.seed).integers(len(rows)))
        if isinstance(start, int):
            x = rows[start].astype(np.float64)
            return Choice(start, 0.0, 0, x, np.zeros_like(x), x)
        model = leading_subspace(rows, self.settings.rank if start == "svd" else 0)
        return decide(rows, model, *screen_against(rows, model), self.free)

    def learn(self, row: int) -> None:
        _take(self.free, row)
        x = self.features[row].astype(np.float64)
        if self.span is None:
            self.span = Span(self.features, x, np.empty((0, len(x))))
        self.total, self.seen = self.total + x, self.seen + 1
        self.model.learn(self.span.include(x, NULL * self.model.largest))


def _take(free: np.ndarray, row: int) -> None:
    if not free[row]:
        raise ValueError(f"row {row} was already taken")
    free[row] = False
