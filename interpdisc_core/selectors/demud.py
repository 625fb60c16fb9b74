"""DEMUD: novelty is what a low-rank model of everything seen so far cannot reconstruct.

Wagstaff et al. 2013; Wagstaff & Lee 2018, equations 1 and 2. The definition that is computed here, exactly:

    seen items S with mean μ; U: the leading rank-k left singular vectors of the centered seen items, null directions
    dropped; x̂ = U Uᵀ(x − μ) + μ; score = |x − x̂|²; the next pick is the row of highest score, the lowest row among
    ties; then it is learned.

All models live in the span of the seen items (`exact.basis`) and are small problems there (`exact.low_rank_model`,
`exact.svd_update`). Bounds that hardly read any row rule out those that cannot be the next pick (`exact.search`,
`exact.shard`); among the others the literal residual in float64 decides (`decision`).
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.compute import ComputeOptions
from interpdisc_core.selectors.decision import RANK_RTOL, Choice, ScoreFunction, Subspace, select_best
from interpdisc_core.selectors.exact.basis import Basis
from interpdisc_core.selectors.exact.low_rank_model import LowRankModel
from interpdisc_core.selectors.exact.moments import fit_leading_subspace
from interpdisc_core.selectors.exact.search import CandidateSearch
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import Rows, as_rows
from interpdisc_core.settings import settings

DemudMethod = Literal["full", "incremental", "static"]


@settings
class Demud:
    """Settings of DEMUD; see the module for the definition.

    Attributes:
        method: `full`, the exact rank-k SVD of everything seen, after each pick (the 2018 paper); `incremental`, a
            one-item update of the truncated SVD (Ross et al. 2008 with exact weights), bounded state; `static`, one SVD
            of all rows (or of the prior), which ranks all rows once (the paper's batch "SVD").
        rank: k; a model has fewer directions if there are fewer.
        variance: Instead of `rank`, the least number of directions that hold this part of Σ S² of all rows, or of the
            prior; above 0, at most 1.
        start: The first pick if there is no prior: `svd`, the highest score against the rank-k SVD of all rows; `mean`,
            the row farthest from the mean of all rows; `random`, drawn by `seed`; or the number of a row.
        seed: Of a random start.
        sign: Residuals that count in a score: `both`, `low` (below what was expected) or `high`.
        weights: How much each feature's residual counts in a score: path of a file of d numbers, `boostlow`
            (w_i = i^(−1/log2 d)), `boosthigh` (the reverse), or empty. Scores are Σ (w r)²; the model ignores weights.
        interest: A pick whose label contains this text is not learned; see `action`.
        action: After such a pick: `keep`, nothing else; `seek`, the next pick is the row nearest to it.
        missing: Meaning of a missing value (NaN): `refuse`, an error; `zero`, 0; `ignore`, it counts as the model's mean,
            has no residual, and is filled with the mean when its row is learned (before anything is seen, with the mean
            of the rows that have it).

    Example:
        >>> rows = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 5.0]])
        >>> selection = Demud(rank=1, start="mean").open(rows, np.empty((0, 2)))
        >>> selection.peek().row
        3
        >>> selection.learn(3)
        >>> selection.peek().row
        0
    """

    kind: Literal["demud"] = "demud"
    method: DemudMethod = "full"
    rank: Annotated[int, Field(ge=1)] = 50
    variance: Annotated[float, Field(gt=0, le=1)] | None = None
    start: Literal["svd", "mean", "random"] | Annotated[int, Field(ge=0)] = "svd"
    seed: int = 0
    sign: Literal["both", "low", "high"] = "both"
    weights: str = ""
    interest: str = ""
    action: Literal["keep", "seek"] = "keep"
    missing: Literal["refuse", "zero", "ignore"] = "refuse"

    def open(
        self,
        features: AnyArray | Rows,
        prior: FloatArray | Prior,
        labels: Sequence[str | None] | None = None,
        compute_options: ComputeOptions | None = None,
    ) -> "DemudSelection":
        """See `SelectorLike.open`.

        Args:
            features: Rows (N, d).
            prior: Items seen before (n0, d), or their summary.
            labels: (N,), for `interest`.
            compute_options: Threads, memory and device.

        Raises:
            PlanError: If the start row does not exist, the prior has another width, or `interest` is set without labels.
        """
        rows = as_rows(features)
        summary = prior if isinstance(prior, Prior) else Prior.from_items(np.asarray(prior, dtype=np.float64))
        if isinstance(self.start, int) and not summary.count and self.start >= max(rows.shape[0], 1):
            raise PlanError(f"demud: the start row {self.start} is beyond the {rows.shape[0]} rows.")
        if self.interest and labels is None:
            raise PlanError("demud: a class of interest needs labels.")
        if summary.count and summary.axes.shape[1] != rows.shape[1]:
            raise PlanError(f"the background has {summary.axes.shape[1]} features, the rows {rows.shape[1]}.")
        return DemudSelection(self, rows, summary, labels or [], compute_options or ComputeOptions())

    def build_score_function(self, dimension: int) -> ScoreFunction:
        """Residuals (d,) to scores. Raises PlanError if the file of weights has not d numbers of 0 or more."""
        if not self.weights:
            return ScoreFunction(self.sign)
        if self.weights in ("boostlow", "boosthigh"):
            weights = np.arange(1, dimension + 1) ** (-1.0 / max(np.log2(max(dimension, 2)), 1.0))
            return ScoreFunction(self.sign, weights if self.weights == "boostlow" else weights[::-1].copy())
        try:
            weights = np.loadtxt(Path(self.weights), ndmin=2)[:, -1]
        except (OSError, ValueError) as error:
            raise PlanError(f"{self.weights}: weights cannot be read ({error}).") from error
        if len(weights) != dimension or not (weights >= 0).all():
            raise PlanError(
                f"{self.weights}: weights must be {dimension} numbers, 0 or more; there are {len(weights)}."
            )
        return ScoreFunction(self.sign, weights)


class DemudSelection:
    """A selection in progress. Its state is the rows learned and skipped, in order."""

    def __init__(
        self, options: Demud, rows: Rows, summary: Prior, labels: Sequence[str | None], compute_options: ComputeOptions
    ) -> None:
        self.options, self.labels = options, labels
        self.search = CandidateSearch(
            rows, options.rank, options.build_score_function(rows.shape[1]), options.missing, compute_options
        )
        self.rows, self.rank = self.search.rows, options.rank
        self.prior, self.total, self.count = summary, summary.mean * summary.count, summary.count
        self.basis: Basis | None = None
        self._static_model: Subspace | None = None
        self._all_rows_model: tuple[Subspace, float] | None = None
        self._choice: Choice | None = None
        self._is_choice_current = False  # whether _choice is the next pick
        self._seek_row: int | None = None
        self._model_seconds = 0.0
        if options.variance is not None and summary.count:
            energy = np.cumsum(summary.values**2)
            energy_target = options.variance * energy.max(initial=0.0) * (1 - 1e-12)
            self.rank = max(1, int(np.searchsorted(energy, energy_target)) + 1)
        max_rank = self.rank if options.method == "incremental" else None
        self.model = LowRankModel(max_rank)
        self._seen_items = _SeenItems(summary) if options.method == "incremental" else None
        if summary.count:
            summary = Prior(summary.count, summary.mean, summary.values[:max_rank], summary.axes[:max_rank])
            self.basis = Basis(summary.mean, summary.axes)
            self.model.load_prior(summary)

    @single_blas_thread
    def peek(self) -> Choice | None:
        """The next pick, or None if nothing is new any more. Changes nothing."""
        if not self._is_choice_current:
            self._choice, self._is_choice_current = self._choose_next(), True
        return self._choice

    def learn(self, row: int) -> None:
        """Take `row` and learn it; a row of the class of interest is only taken. Raises ValueError if it was taken."""
        if self.options.interest and self.options.interest in (self.labels[row] or ""):
            self.skip(row)
            self._seek_row = row if self.options.action == "seek" else None
        else:
            self.absorb(row)

    @single_blas_thread
    def absorb(self, row: int) -> None:
        """Take `row` and learn it whatever its class: it is known. Raises ValueError if it was taken."""
        self.search.drop_row(row)
        self._is_choice_current, self._seek_row = False, None
        if self.options.method == "static":
            return
        if self.options.variance is not None and not self.prior.count:
            self._fit_all_rows()
        start_time = time.perf_counter()
        x = self.search.read_row(row)
        if np.isnan(x).any():
            x = np.where(np.isnan(x), self.total / self.count if self.count else self.search.compute_mean(), x)
        if self.basis is None:
            self.basis = Basis(x, np.empty((0, len(x))))
        self.total, self.count = self.total + x, self.count + 1
        if self._seen_items is not None:
            self._seen_items.add(x)
        self.model.learn(self.basis.extend(x, RANK_RTOL * self.model.max_singular_value))
        self._model_seconds += time.perf_counter() - start_time

    def skip(self, row: int) -> None:
        """Take `row` without learning it: similar rows stay new. Raises ValueError if it was taken."""
        self.search.drop_row(row)
        self._is_choice_current, self._seek_row = False, None

    @single_blas_thread
    def compute_weight_direction(self, choice: Choice) -> FloatArray | None:
        """See `Selection.compute_weight_direction`."""
        if choice.weight_direction is not None or self._seen_items is None or not self.count:
            return choice.weight_direction
        assert choice.expected is not None
        assert choice.mean is not None
        return self._seen_items.compute_weight_direction(choice.expected - choice.mean)

    def counters(self) -> dict[str, Any]:
        """What the selection cost so far; see `CandidateSearch.counters`."""
        counters = self.search.counters()
        counters["seconds"]["model"] += round(self._model_seconds, 4)
        return counters

    def _choose_next(self) -> Choice | None:
        if not self.search.free_count:
            return None
        if self._seek_row is not None:
            return self._choose_nearest(self._seek_row)
        if self.options.method == "static":
            choice = self.search.find_best(self._fit_static_model())
            # Without a prior, static ranks all rows, those of score 0 last.
            return None if choice is not None and choice.score == 0.0 and self.prior.count else choice
        if self.basis is None:
            return self._choose_first()
        choice = self.search.find_best(self._fit_model(), basis=self.basis.axes)
        return None if choice is None or choice.score == 0.0 else choice

    def _fit_model(self) -> Subspace:
        assert self.basis is not None
        if self.options.variance is not None and not self.prior.count:
            self._fit_all_rows()
        start_time = time.perf_counter()
        mean, axes, values = self.model.get_subspace(len(self.basis.axes), self.rank)
        # Those of a model that forgets are not singular vectors of the items.
        singular_values = values if self.options.method == "full" else None
        model = Subspace(self.total / self.count, axes @ self.basis.axes, (mean, axes), singular_values)
        self._model_seconds += time.perf_counter() - start_time
        return model

    def _fit_static_model(self) -> Subspace:
        if self._static_model is None:
            prior = self.prior
            self._static_model = (
                Subspace(prior.mean, prior.axes[: self.rank], singular_values=prior.values[: self.rank])
                if prior.count
                else self._fit_all_rows()[0]
            )
        return self._static_model

    def _fit_all_rows(self) -> tuple[Subspace, float]:
        """The model of all rows, and how far its axes may be off (sine); sets the rank if `variance` is set."""
        if self._all_rows_model is None:
            moments = self.search.sum_moments(scatter=True)
            rows_before, start_time = self.rows.read_stats.rows, time.perf_counter()
            rank, variance = self.options.rank, self.options.variance
            self._all_rows_model = fit_leading_subspace(self.rows, moments, self.search.center, rank, variance)
            self.search.passes += (self.rows.read_stats.rows - rows_before) // max(self.rows.shape[0], 1)
            self._model_seconds += time.perf_counter() - start_time
            if variance is not None:
                self.rank = max(1, len(self._all_rows_model[0].axes))
                if self.options.method == "incremental":
                    self.model.max_rank = self.rank
        return self._all_rows_model

    def _choose_first(self) -> Choice | None:
        """The first pick if nothing was seen before. It is always made: the very first image is new."""
        start, count = self.options.start, self.rows.shape[0]
        if start == "random":
            start = int(np.random.default_rng(self.options.seed).integers(count))
        if isinstance(start, int):
            row = self.search.find_free_row(start)
            x = self._fill_missing(row)
            return Choice(row, 0.0, 0, x, np.zeros_like(x), x)
        if start == "svd":
            return self.search.find_best(*self._fit_all_rows())
        axes = np.empty((0, self.rows.shape[1]))
        return self.search.find_best(Subspace(self.search.compute_mean(), axes, singular_values=np.empty(0)))

    def _choose_nearest(self, row: int) -> Choice | None:
        """The row nearest to `row`, which is of interest, explained by the present model."""
        nearest_row = self.search.find_nearest_row(row)
        model = (
            self._fit_static_model() if self.options.method == "static" else self._fit_model() if self.basis else None
        )
        if model is None:
            x = self._fill_missing(nearest_row)
            return Choice(nearest_row, 0.0, 0, x, np.zeros_like(x), x)
        return select_best(
            {nearest_row: self.search.read_row(nearest_row)},
            model,
            self.search.compute_scale(model),
            self.search.score_function,
        )

    def _fill_missing(self, row: int) -> FloatArray:
        """x (d,) of a row, with missing values replaced by the mean of the rows that have them."""
        x = self.search.read_row(row)
        return np.where(np.isnan(x), self.search.compute_mean(), x) if np.isnan(x).any() else x


class _SeenItems:
    """The SVD of everything seen, beside a model that forgets. It is brought up to date only when it is asked."""

    def __init__(self, prior: Prior) -> None:
        self._prior, self._pending = prior, list[FloatArray]()
        self._model: LowRankModel | None = None
        self._basis: Basis | None = None

    def add(self, x: FloatArray) -> None:
        """Add an item (d,)."""
        self._pending.append(x)

    def compute_weight_direction(self, deviation: FloatArray) -> FloatArray:
        """(CᵀC)⁺ (x̂ − μ) (d,) for the centered items C (n, d) and x̂ − μ (d,), a combination of them.

        The weights 1/n + (s − μ)·z are then those of least squares.
        """
        if self._model is None:
            self._model = LowRankModel(None)
            if self._prior.count:
                self._basis = Basis(self._prior.mean, self._prior.axes)
                self._model.load_prior(self._prior)
        for x in self._pending:
            if self._basis is None:
                self._basis = Basis(x, np.empty((0, len(x))))
            self._model.learn(self._basis.extend(x, RANK_RTOL * self._model.max_singular_value))
        self._pending.clear()
        assert self._basis is not None
        size = len(self._basis.axes)
        _, axes, values = self._model.get_subspace(size, size)
        coordinates = axes @ (self._basis.axes @ deviation)
        direction: FloatArray = self._basis.axes.T @ (axes.T @ (coordinates / values / values))
        return direction
