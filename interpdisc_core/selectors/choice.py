"""What a selector answers, and how it decides among rows that are close."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[Any]

TIED = 1e-12
"""Rows whose scores lie within TIED · (largest |x − μ|²) of the maximum are tied: the lowest row wins."""
NOTHING = 1e-20
"""A score of at most NOTHING · (largest |x − μ|²) is 0: the row holds nothing new, only rounding."""
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

    def residual(self, x: Floats) -> Floats:
        """x − x̂ for one row x (d,), where x̂ = U Uᵀ(x − μ) + μ. Wagstaff & Lee 2018, equation 2."""
        z = x - self.mean
        residual: Floats = z - self.axes.T @ (self.axes @ z)
        return residual


def decide(
    features: Features, model: Subspace, screen: Floats, slack: float, scale: float, free: npt.NDArray[np.bool_]
) -> Choice | None:
    """The free row of largest |x − x̂|², decided on the literal residual in float64.

    screen (N,): approximate scores, each within `slack` of the exact one. scale: largest |x − μ|².
    Only rows that can be the maximum or tied with it are read, so the answer does not depend on how the screening
    was computed. None where no row is free. A score that is only rounding is returned as 0.
    """
    if not free.any():
        return None
    reach = np.where(free, screen, -np.inf)
    near = np.flatnonzero(reach >= reach.max() - 2 * slack - TIED * scale)
    residuals = {int(row): model.residual(features[row].astype(np.float64)) for row in near}
    scores = {row: float(r @ r) for row, r in residuals.items()}
    best = max(scores.values())
    tied = [row for row, score in scores.items() if score >= best - TIED * scale]
    row = min(tied)
    x = features[row].astype(np.float64)
    # What subtracting the mean loses to rounding holds nothing new either, even where all rows lie at the mean.
    rounding = (8 * np.finfo(np.float64).eps) ** 2 * float(x @ x + model.mean @ model.mean)
    score = scores[row] if scores[row] > max(NOTHING * scale, rounding) else 0.0
    return Choice(row, score, len(tied) - 1, x - residuals[row], residuals[row], model.mean)
