"""A pick, the model that explains it, and how a selector decides among rows whose scores are close."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interpdisc_core._types import FloatArray

TIE_RTOL = 1e-12
"""Rows whose scores lie within TIE_RTOL · scale of the maximum are tied: the lowest row wins.

`scale` is the largest |x − μ|² of all rows, or up to 9 times as much: the square of (the largest |x − c|) + |c − μ|, for
a point c amid the rows, which is known without reading any row.
"""
ZERO_RTOL = 1e-20
"""A score of at most ZERO_RTOL · scale counts as 0: the row holds nothing new, only rounding."""
RANK_RTOL = 1e-10
"""A direction whose singular value is at most RANK_RTOL · S_max is dropped from a model."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A pick and its explanation in feature space, by the model before the pick is learned.

    Attributes:
        row: Index of the row.
        score: |x − x̂|² or what the selector defines, at least 0, higher is newer; 0 for a first row that was given.
        near_ties: Other rows within the tie tolerance of it.
        expected: x̂ (d,); None, as the next two, if the selector has no expectation.
        residual: x − x̂ (d,).
        mean: μ (d,) of the model.
        weight_direction: z (d,), if x̂ is made of n items seen of which the model is a fit: the weight of an item s in x̂
            is 1/n + (s − μ)·z. See `interpdisc_core.selectors.seen_weights`.
    """

    row: int
    score: float
    near_ties: int = 0
    expected: FloatArray | None = None
    residual: FloatArray | None = None
    mean: FloatArray | None = None
    weight_direction: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Subspace:
    """An affine model of the items seen: mean (d,) and orthonormal axes (q, d), q ≤ rank."""

    mean: FloatArray
    axes: FloatArray
    in_basis: tuple[FloatArray, FloatArray] | None = None
    """Mean (t,) and axes (q, t) in the coordinates of a common basis, if there is one."""
    singular_values: FloatArray | None = None
    """(q,), above 0, if the axes are singular vectors of the centered items seen; None if they are not, or not known."""

    def compare(self, other: "Subspace") -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """U U'ᵀ (q, q'), U'(μ − μ') (q',), U(μ − μ') (q,) and |μ − μ'|, where primed are `other`'s."""
        if self.in_basis is not None and other.in_basis is not None:
            (mean, axes), (other_mean, other_axes) = self.in_basis, other.in_basis
        else:
            (mean, axes), (other_mean, other_axes) = (self.mean, self.axes), (other.mean, other.axes)
        step = np.zeros(max(len(mean), len(other_mean)))  # the basis grows; an older model has 0 in later directions
        step[: len(mean)] += mean
        step[: len(other_mean)] -= other_mean
        size, other_size = axes.shape[1], other_axes.shape[1]
        common = min(size, other_size)
        distance = float(np.sqrt(step @ step))
        return axes[:, :common] @ other_axes[:, :common].T, other_axes @ step[:other_size], axes @ step[:size], distance

    def compute_residual(self, x: FloatArray) -> FloatArray:
        """x − x̂ (d,) of one row x (d,), where x̂ = U Uᵀ(x − μ) + μ. Wagstaff & Lee 2018, equation 2.

        A missing value (NaN) counts as μ and has residual 0.
        """
        z = x - self.mean
        missing = np.isnan(z)
        z[missing] = 0.0
        residual: FloatArray = z - self.axes.T @ (self.axes @ z)
        residual[missing] = 0.0
        return residual

    def explain(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray | None]:
        """x̂, x − x̂, μ and the direction of weights (d,) of one row x (d,); see `Choice`.

        At a missing value x̂ is what the model expects.
        """
        residual = self.compute_residual(x)
        missing = np.isnan(x)
        direction = self._compute_weight_direction(np.where(missing, 0.0, x - self.mean))
        if not missing.any():
            return x - residual, residual, self.mean, direction
        z = np.where(missing, 0.0, x - self.mean)
        return self.mean + self.axes.T @ (self.axes @ z), residual, self.mean, direction

    def _compute_weight_direction(self, z: FloatArray) -> FloatArray | None:
        """V S⁻² Vᵀ z (d,) of a centered row z (d,), for axes Vᵀ; None if there are no singular values."""
        if self.singular_values is None:
            return None
        # Divided twice: the square of a small value might not be a number that float64 holds.
        direction: FloatArray = self.axes.T @ (self.axes @ z / self.singular_values / self.singular_values)
        return direction


@dataclass(frozen=True, eq=False)
class ScoreFunction:
    """How a residual r (d,) becomes a score: Σ (w r)² over the features that count.

    Attributes:
        sign: `both`, all features count; `low`, those where x is below the expectation; `high`, above.
        weights: w (d,), at least 0; None for 1.
    """

    sign: Literal["both", "low", "high"] = "both"
    weights: FloatArray | None = None

    @property
    def is_plain(self) -> bool:
        """Whether a score is the squared length of the residual."""
        return self.sign == "both" and self.weights is None

    @property
    def max_gain(self) -> float:
        """Upper bound of (square root of a score) / (length of its residual)."""
        return 1.0 if self.weights is None else float(np.abs(self.weights).max(initial=0.0))

    def score(self, residuals: FloatArray) -> FloatArray:
        """Scores (...,) of residuals (..., d)."""
        if self.sign != "both":
            residuals = np.minimum(residuals, 0) if self.sign == "low" else np.maximum(residuals, 0)
        if self.weights is not None:
            residuals = residuals * self.weights
        scores: FloatArray = np.einsum("...d,...d->...", residuals, residuals)
        return scores


PLAIN_SCORE = ScoreFunction()


def select_best(
    values: Mapping[int, FloatArray],
    model: Subspace,
    scale: float,
    score_function: ScoreFunction = PLAIN_SCORE,
    axis_error: float = 0.0,
) -> Choice | None:
    """The row of highest score among candidates, decided by the literal residual in float64, row by row.

    Args:
        values: x (d,) of every row that can be the maximum or tied with it, by row. A missing value has no residual.
        model: Of the items seen.
        scale: See `TIE_RTOL`.
        score_function: Residuals to scores.
        axis_error: Sine of the angle by which the model's axes may be off; rows that this could put first are counted
            as near ties.

    Returns:
        The pick, with score 0 if its score is only rounding; None if there are no candidates.
    """
    if not values:
        return None
    scores = {row: float(score_function.score(model.compute_residual(x))) for row, x in values.items()}
    best = max(scores.values())
    row = min(row for row, score in scores.items() if score >= best - TIE_RTOL * scale)
    near_tie_width = max(TIE_RTOL * scale, axis_error * (4 * np.sqrt(best * scale) + 2 * axis_error * scale))
    near_ties = sum(bool(score >= best - near_tie_width) for score in scores.values()) - 1
    x = values[row]
    return Choice(row, _zero_if_rounding(scores[row], x, model, scale), near_ties, *model.explain(x))


def _zero_if_rounding(score: float, x: FloatArray, model: Subspace, scale: float) -> float:
    """The score; 0 if it is rounding."""
    # What subtracting the mean loses to rounding is nothing new either, even if all rows lie at the mean.
    present = x[~np.isnan(x)]
    rounding = (8 * np.finfo(np.float64).eps) ** 2 * float(present @ present + model.mean @ model.mean)
    return score if score > max(ZERO_RTOL * scale, rounding) else 0.0
