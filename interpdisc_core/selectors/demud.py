"""DEMUD: novelty is what a low-rank model of everything seen so far cannot reconstruct.

Wagstaff et al. 2013; Wagstaff & Lee 2018, equations 1 and 2. The definition that is computed here, exactly:

    seen items S with mean μ; U: the leading rank-k left singular vectors of the centred seen items, null directions
    dropped; x̂ = U Uᵀ(x − μ) + μ; score = |x − x̂|²; the next pick is the row of largest score, the lowest row among
    ties; then it is learned.

All models live in the span of the seen items (`basis`) and are small problems there (`models`, `eigen`). Which rows can
be the next pick is told by bounds that hardly read any (`screen`, `shard`); among those the literal residual in float64
decides (`choice`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.basis import Basis
from interpdisc_core.selectors.choice import NULL, Choice, Features, Floats, Measure, Subspace, decide
from interpdisc_core.selectors.leading import leading
from interpdisc_core.selectors.models import Model
from interpdisc_core.selectors.rows import Rows, as_rows
from interpdisc_core.selectors.screen import Means, Screen
from interpdisc_core.selectors.seen import Seen

Method = Literal["full", "incremental", "static"]


@dataclass(frozen=True, kw_only=True)
class Demud:
    """Settings of DEMUD.

    method: `full`, the exact rank-k SVD of everything seen, after each pick (the 2018 paper); `incremental`, a
    one-item update of the truncated SVD (Ross et al. 2008 with exact weights), bounded state; `static`, one SVD of
    the whole set (or of the prior), which ranks all rows once (the paper's batch "SVD").
    rank: k ≥ 1; a model keeps fewer directions where there are fewer.
    variance: instead of `rank`, as few directions as hold that part (0 to 1) of Σ S² of the whole set, or of the prior.
    start: how the first pick is made where there is no prior: `svd`, largest error against the rank-k SVD of the
    whole set; `mean`, farthest from the whole set's mean; `random`, by `seed`; or the number of a row.
    sign: which residuals count in a score: `both`, `low` (below what was expected) or `high`.
    weights: how much each feature's residual counts in a score: a file of d numbers, `boostlow` (w_i = i^(−1/log2 d)),
    `boosthigh` (the reverse), or empty. Scores are Σ (w r)²; the model does not see the weights.
    interest, action: a pick whose label contains `interest` is not absorbed (`keep`), and with `seek` the next pick is
    the row nearest to it.
    missing: what a missing value (NaN) is: `refuse`, an error; `zero`, 0; `ignore`, as expected: it counts as the
    model's mean, has no residual, and is filled with the mean at the time when its row is learned (before anything
    is seen, with the mean of the rows that have it).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["demud"] = "demud"
    method: Method = "full"
    rank: int = 50
    variance: float | None = None
    start: Literal["svd", "mean", "random"] | int = "svd"
    seed: int = 0
    sign: Literal["both", "low", "high"] = "both"
    weights: str = ""
    interest: str = ""
    action: Literal["keep", "seek"] = "keep"
    missing: Literal["refuse", "zero", "ignore"] = "refuse"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise PlanError(f"demud: rank (-k) must be at least 1, not {self.rank}.")
        if self.variance is not None and not 0 < self.variance <= 1:
            raise PlanError(f"demud: variance must be above 0 and at most 1, not {self.variance}.")
        if isinstance(self.start, int) and self.start < 0:
            raise PlanError(f"demud: a start row must be 0 or more, not {self.start}.")

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> "Selection":  # fmt: skip
        """See `Selects.open`. labels (N,): for `interest`. means: with what it is computed; no pick depends on them.

        Raises PlanError where the start row is beyond the rows, or a class of interest is asked for without labels.
        """
        rows = as_rows(features)
        seen = prior if isinstance(prior, Seen) else Seen.of(np.asarray(prior, dtype=np.float64))
        if isinstance(self.start, int) and not seen.count and self.start >= max(rows.shape[0], 1):
            raise PlanError(f"demud: the start row {self.start} is beyond the {rows.shape[0]} rows there are.")
        if self.interest and labels is None:
            raise PlanError("demud: a class of interest needs labels.")
        if seen.count and seen.axes.shape[1] != rows.shape[1]:
            raise PlanError(f"the background has {seen.axes.shape[1]} features, the rows {rows.shape[1]}.")
        return Selection(self, rows, seen, labels or [], means or Means())

    def measure(self, dimension: int) -> Measure:
        """What counts in a score of d features. Raises PlanError for weights that are not d numbers, 0 or more."""
        if not self.weights:
            return Measure(self.sign)
        if self.weights in ("boostlow", "boosthigh"):
            weights = np.arange(1, dimension + 1) ** (-1.0 / max(np.log2(max(dimension, 2)), 1.0))
            return Measure(self.sign, weights if self.weights == "boostlow" else weights[::-1].copy())
        try:
            weights = np.loadtxt(Path(self.weights), ndmin=2)[:, -1]
        except (OSError, ValueError) as error:
            raise PlanError(f"{self.weights}: weights cannot be read ({error}).") from error
        if len(weights) != dimension or not (weights >= 0).all():
            raise PlanError(
                f"{self.weights}: weights must be {dimension} numbers, 0 or more; there are {len(weights)}."
            )
        return Measure(self.sign, weights)


class Selection:
    """A selection in progress. Its state is the rows learned and skipped, in order."""

    def __init__(
        self, settings: Demud, rows: Rows, seen: Seen, labels: Sequence[str | None], means: Means
    ) -> None:  # fmt: skip
        self.settings, self.labels = settings, labels
        self.screen = Screen(rows, settings.rank, settings.measure(rows.shape[1]), settings.missing, means)
        self.rows, self.rank = self.screen.rows, settings.rank
        self.prior, self.total, self.count = seen, seen.mean * seen.count, seen.count
        self.basis: Basis | None = None
        self._fixed: Subspace | None = None
        self._all: tuple[Subspace, float] | None = None
        self._choice: Choice | None = None
        self._known = False  # whether _choice is the next pick
        self._sought: int | None = None
        self._learning = 0.0
        if settings.variance is not None and seen.count:
            energy = np.cumsum(seen.values**2)
            part = settings.variance * energy.max(initial=0.0) * (1 - 1e-12)
            self.rank = max(1, int(np.searchsorted(energy, part)) + 1)
        keep = self.rank if settings.method == "incremental" else None
        self.model = Model(keep)
        if seen.count:
            seen = Seen(seen.count, seen.mean, seen.values[:keep], seen.axes[:keep])
            self.basis = Basis(seen.mean, seen.axes)
            self.model.begin(seen)

    def peek(self) -> Choice | None:
        """The next pick, or None where nothing is new any more. Changes nothing."""
        if not self._known:
            self._choice, self._known = self._next(), True
        return self._choice

    def learn(self, row: int) -> None:
        """Take `row` and absorb it; a row of the class of interest is only taken. Raises ValueError if it was taken."""
        if self.settings.interest and self.settings.interest in (self.labels[row] or ""):
            self.skip(row)
            self._sought = row if self.settings.action == "seek" else None
        else:
            self.absorb(row)

    def absorb(self, row: int) -> None:
        """Take `row` and absorb it, of whatever class it is: it is known. Raises as `learn` does."""
        self.screen.drop(row)
        self._known, self._sought = False, None
        if self.settings.method == "static":
            return
        if self.settings.variance is not None and not self.prior.count:
            self._whole()
        began = time.perf_counter()
        x = self.screen.row(row)
        if np.isnan(x).any():
            x = np.where(np.isnan(x), self.total / self.count if self.count else self.screen.mean(), x)
        if self.basis is None:
            self.basis = Basis(x, np.empty((0, len(x))))
        self.total, self.count = self.total + x, self.count + 1
        self.model.learn(self.basis.include(x, NULL * self.model.largest))
        self._learning += time.perf_counter() - began

    def skip(self, row: int) -> None:
        """Take `row` without absorbing it: it is interesting, and more like it may come. Raises as `learn` does."""
        self.screen.drop(row)
        self._known, self._sought = False, None

    def counters(self) -> dict[str, Any]:
        """What the selection cost so far; see `Screen.counters`. `seconds` by phase."""
        told = self.screen.counters()
        told["seconds"]["model"] += round(self._learning, 4)
        return told

    # -------------------------------------------------------------------------------------------------------------

    def _next(self) -> Choice | None:
        if not self.screen.left:
            return None
        if self._sought is not None:
            return self._near(self._sought)
        if self.settings.method == "static":
            choice = self.screen.best(self._static())
            # Without a prior, static ranks all there is, rows of no novelty last.
            return None if choice is not None and choice.score == 0.0 and self.prior.count else choice
        if self.basis is None:
            return self._opening()
        choice = self.screen.best(self._model(), basis=self.basis.axes)
        return None if choice is None or choice.score == 0.0 else choice

    def _model(self) -> Subspace:
        assert self.basis is not None
        if self.settings.variance is not None and not self.prior.count:
            self._whole()
        began = time.perf_counter()
        mean, within = self.model.fit(len(self.basis.axes), self.rank)
        model = Subspace(self.total / self.count, within @ self.basis.axes, (mean, within))
        self._learning += time.perf_counter() - began
        return model

    def _static(self) -> Subspace:
        if self._fixed is None:
            seen = self.prior
            self._fixed = Subspace(seen.mean, seen.axes[: self.rank]) if seen.count else self._whole()[0]
        return self._fixed

    def _whole(self) -> tuple[Subspace, float]:
        """The model of all rows, and how far its axes may be off; sets the rank where it is told by the variance."""
        if self._all is None:
            moments, read, began = self.screen.moments(scatter=True), self.rows.reads.rows, time.perf_counter()
            rank, variance = self.settings.rank, self.settings.variance
            self._all = leading(self.rows, moments, self.screen.centre, rank, variance)
            self.screen.passes += (self.rows.reads.rows - read) // max(self.rows.shape[0], 1)
            self._learning += time.perf_counter() - began
            if variance is not None:
                self.rank = max(1, len(self._all[0].axes))
                if self.settings.method == "incremental":
                    self.model.keep = self.rank
        return self._all

    def _opening(self) -> Choice | None:
        """The first pick, where nothing was seen before. It is always made: the first image of all is new."""
        start, count = self.settings.start, self.rows.shape[0]
        if start == "random":
            start = int(np.random.default_rng(self.settings.seed).integers(count))
        if isinstance(start, int):
            row = self.screen.free_from(start)
            x = self._known_part(row)
            return Choice(row, 0.0, 0, x, np.zeros_like(x), x)
        if start == "svd":
            return self.screen.best(*self._whole())
        return self.screen.best(Subspace(self.screen.mean(), np.empty((0, self.rows.shape[1]))))

    def _near(self, row: int) -> Choice | None:
        """The row nearest to one of interest, explained by the model as it is."""
        found = self.screen.nearest(row)
        model = self._static() if self.settings.method == "static" else self._model() if self.basis else None
        if model is None:
            x = self._known_part(found)
            return Choice(found, 0.0, 0, x, np.zeros_like(x), x)
        return decide({found: self.screen.row(found)}, model, self.screen.scale(model), self.screen.measure)

    def _known_part(self, row: int) -> Floats:
        """x (d,) of a row; what is missing, before anything was seen, is the mean of the rows that have it."""
        x = self.screen.row(row)
        return np.where(np.isnan(x), self.screen.mean(), x) if np.isnan(x).any() else x
