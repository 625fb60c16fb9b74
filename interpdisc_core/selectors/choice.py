"""What a selector answers, and how it decides among rows that are close."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interpdisc_core.selectors.rows import Features, Floats

__all__ = ["NOTHING", "NULL", "PLAIN", "TIED", "Choice", "Features", "Floats", "Measure", "Subspace", "decide"]

TIED = 1e-12
"""Rows whose scores lie within TIED · scale of the maximum are tied: the lowest row wins.

`scale` is the largest |x − μ|² of all rows, or up to 9 times as much: the square of the largest |x − c| plus |c − μ|,
for a c amid the rows, which is known without reading any.
"""
NOTHING = 1e-20
"""A score of at most NOTHING · scale is 0: the row holds nothing new, only rounding."""
NULL = 1e-10
"""A direction whose singular value is at most NULL · S_max is dropped from a model."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A pick and its explanation in feature space, against the model before the pick is learned.

    score: |x − x̂|², higher is newer; 0 for an opening row that was given. near_ties: further rows that were within
    the tie tolerance of it. expected: x̂ (d,), residual: x − x̂ (d,), mean: the model's μ (d,); None where the
    selector has no expectation.
    """

    row: int
    score: float
    near_ties: int = 0
    expected: Floats | None = None
    residual: Floats | None = None
    mean: Floats | None = None


@dataclass(frozen=True, slots=True)
class Subspace:
    """An affine model of what was seen: mean (d,) and orthonormal axes (q, d), q ≤ rank."""

    mean: Floats
    axes: Floats
    within: tuple[Floats, Floats] | None = None
    """The mean (t,) and the axes (q, t) in the coordinates of a common basis, where there is one."""

    def against(self, other: "Subspace") -> tuple[Floats, Floats, Floats, float]:
        """U U'ᵀ (q, q'), U'(μ − μ') (q',), U(μ − μ') (q,) and |μ − μ'|, primed being `other`'s."""
        if self.within is not None and other.within is not None:
            (mean, axes), (others, its) = self.within, other.within
        else:
            (mean, axes), (others, its) = (self.mean, self.axes), (other.mean, other.axes)
        step = np.zeros(max(len(mean), len(others)))  # the basis grows; who is older has 0 in what came later
        step[: len(mean)] += mean
        step[: len(others)] -= others
        size, now = axes.shape[1], its.shape[1]
        common = min(size, now)
        far = float(np.sqrt(step @ step))
        return axes[:, :common] @ its[:, :common].T, its @ step[:now], axes @ step[:size], far

    def residual(self, x: Floats) -> Floats:
        """x − x̂ for one row x (d,), where x̂ = U Uᵀ(x − μ) + μ. Wagstaff & Lee 2018, equation 2.

        A missing value (NaN) counts as μ there, and has no residual.
        """
        z = x - self.mean
        missing = np.isnan(z)
        z[missing] = 0.0
        residual: Floats = z - self.axes.T @ (self.axes @ z)
        residual[missing] = 0.0
        return residual

    def explain(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """x̂, x − x̂ and μ (d,) for one row x (d,); of a missing value x̂ is what the model expects."""
        residual = self.residual(x)
        missing = np.isnan(x)
        if not missing.any():
            return x - residual, residual, self.mean
        z = np.where(missing, 0.0, x - self.mean)
        return self.mean + self.axes.T @ (self.axes @ z), residual, self.mean


@dataclass(frozen=True, eq=False)
class Measure:
    """What of a residual counts. sign: `both`, all of it; `low`, where x is below what was expected; `high`, above.

    weights (d,): factors of the residual's features, after the sign. A score is Σ (w r)² over what counts.
    """

    sign: Literal["both", "low", "high"] = "both"
    weights: Floats | None = None

    @property
    def plain(self) -> bool:
        """Whether it is the squared length of the residual."""
        return self.sign == "both" and self.weights is None

    @property
    def most(self) -> float:
        """The square root of a score is at most so many times the length of the residual."""
        return 1.0 if self.weights is None else float(np.abs(self.weights).max(initial=0.0))

    def of(self, residuals: Floats) -> Floats:
        """Scores of residuals (..., d): (...,)."""
        if self.sign != "both":
            residuals = np.minimum(residuals, 0) if self.sign == "low" else np.maximum(residuals, 0)
        if self.weights is not None:
            residuals = residuals * self.weights
        scores: Floats = np.einsum("...d,...d->...", residuals, residuals)
        return scores


PLAIN = Measure()


def decide(
    values: Mapping[int, Floats], model: Subspace, scale: float, measure: Measure = PLAIN, doubt: float = 0.0
) -> Choice | None:  # fmt: skip
    """The row of largest score among rivals, decided on the literal residual in float64, row by row.

    values: x (d,) of every row that can be the maximum or tied with it; a missing value is as expected: it has no
    residual. scale: see TIED. doubt: how far the model's axes may be off, as a sine. None where there are no rivals.
    A score that is only rounding is returned as 0.
    """
    if not values:
        return None
    scores = {row: float(measure.of(model.residual(x))) for row, x in values.items()}
    best = max(scores.values())
    row = min(row for row, score in scores.items() if score >= best - TIED * scale)
    near = max(TIED * scale, doubt * (4 * np.sqrt(best * scale) + 2 * doubt * scale))
    near_ties = sum(bool(score >= best - near) for score in scores.values()) - 1
    x = values[row]
    return Choice(row, _worth(scores[row], x, model, scale), near_ties, *model.explain(x))


def _worth(score: float, x: Floats, model: Subspace, scale: float) -> float:
    """The score; 0 where it is rounding."""
    # What subtracting the mean loses to rounding holds nothing new either, even where all rows lie at the mean.
    known = x[~np.isnan(x)]
    rounding = (8 * np.finfo(np.float64).eps) ** 2 * float(known @ known + model.mean @ model.mean)
    return score if score > max(NOTHING * scale, rounding) else 0.0
