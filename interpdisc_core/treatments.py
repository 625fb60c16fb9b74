"""Treatments: what is done to feature rows between the network and the selector."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.rows import Features, unit

Floats = npt.NDArray[np.float64]
Step = Literal["none", "l2", "power", "power-l2"]


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """normalise, row by row: `l2`, divided by its length; `power`, sign(x) √|x| (Perronnin et al. 2010); or one after the other.

    whiten: then so many leading principal directions of the rows are kept, fewer where there are fewer; 0 for all
    features as they are. strength: each kept direction is divided by its standard deviation to this power, 0 for PCA
    alone, 1 for whitening proper. unit: at the end each row is divided by its length once more.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    normalise: Step = "none"
    whiten: int = 0
    strength: float = 1.0
    unit: bool = False

    def __post_init__(self) -> None:
        if self.whiten < 0:
            raise PlanError(f"treatment: whiten must be a number of directions, 0 for none, not {self.whiten}.")
        if not 0 <= self.strength <= 1:
            raise PlanError(f"treatment: strength must be between 0 and 1, not {self.strength}.")

    def of(self, values: Features) -> Floats:
        """Rows (n, d), treated: (n, d') float64. Directions and deviations are those of these rows.

        d' is d, or at most `whiten` where that is not 0. The rows given are not changed.
        """
        treated = _normalised(np.asarray(values, dtype=np.float64), self.normalise)
        if self.whiten:
            treated = _whitened(treated, self.whiten, self.strength)
        return unit(treated) if self.unit else treated


def _normalised(values: Floats, how: Step) -> Floats:
    if how.startswith("power"):
        values = np.sign(values) * np.sqrt(np.abs(values))
    return unit(values) if how.endswith("l2") else values


def _whitened(values: Floats, directions: int, strength: float) -> Floats:
    """Coordinates of the rows about their mean along the leading principal directions, over deviation ** strength."""
    centred = values - values.mean(axis=0) if len(values) else values
    # From the smaller of the two products: a singular value below 1e-7 of the largest is lost in it, and dropped.
    n, d = centred.shape
    if n >= d:
        squares, axes = np.linalg.eigh(centred.T @ centred)
        squares, axes = squares[::-1], axes[:, ::-1]
    else:
        squares, left = np.linalg.eigh(centred @ centred.T)
        squares, left = squares[::-1], left[:, ::-1]
        axes = centred.T @ (left / np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny)))
    kept = min(directions, int((squares > 1e-14 * squares[:1].max(initial=0.0)).sum())) if squares.size else 0
    if not kept:
        return np.zeros((n, min(directions, d, 1)))
    # The sign of a direction is free: its largest part is made positive, so that the same rows give the same features.
    axes = axes[:, :kept]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(kept)])
    deviation = np.sqrt(squares[:kept] / n)
    result: Floats = (centred @ axes) / deviation**strength
    return result
