"""Feature transforms between the network and the selector: normalization, PCA, whitening."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.selectors.rows import l2_normalize
from interpdisc_core.settings import settings

NormalizationStep = Literal["none", "l2", "power", "power-l2"]


@settings
class FeatureTransform:
    """A transform of feature rows: normalization of each row, then PCA whitening, then unit length.

    Attributes:
        normalise: `l2`, each row is divided by its length; `power`, sign(x) √|x| (Perronnin et al. 2010); `power-l2`, one
            after the other; or `none`.
        whiten: Number of leading principal directions that are kept, fewer if there are fewer; 0 leaves the features.
        strength: Each kept direction is divided by its standard deviation to this power: 0 is PCA, 1 is whitening.
        unit: Whether each row is divided by its length at the end.

    Example:
        >>> FeatureTransform(normalise="power-l2").apply(np.array([[9.0, -16.0]]))
        array([[ 0.6, -0.8]])
    """

    kind: ClassVar[str] = "treatment"
    normalise: NormalizationStep = "none"
    whiten: Annotated[int, Field(ge=0)] = 0
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0
    unit: bool = False

    def apply(self, values: AnyArray) -> FloatArray:
        """Transform rows (n, d) to (n, d') float64, by the directions and deviations of these rows.

        d' is d, or at most `whiten` if that is not 0. `values` is not changed.
        """
        result = _normalize(np.asarray(values, dtype=np.float64), self.normalise)
        if self.whiten:
            result = _whiten(result, self.whiten, self.strength)
        return l2_normalize(result) if self.unit else result


def _normalize(values: FloatArray, step: NormalizationStep) -> FloatArray:
    if step.startswith("power"):
        values = np.sign(values) * np.sqrt(np.abs(values))
    return l2_normalize(values) if step.endswith("l2") else values


@single_blas_thread
def _whiten(values: FloatArray, directions: int, strength: float) -> FloatArray:
    """Coordinates of the rows about their mean along the leading principal directions, over deviation ** strength."""
    centered = values - values.mean(axis=0) if len(values) else values
    # By the smaller of the two products: a singular value below 1e-7 of the largest is lost in it, and dropped.
    n, d = centered.shape
    if n >= d:
        squares, axes = np.linalg.eigh(centered.T @ centered)
        squares, axes = squares[::-1], axes[:, ::-1]
    else:
        squares, left_vectors = np.linalg.eigh(centered @ centered.T)
        squares, left_vectors = squares[::-1], left_vectors[:, ::-1]
        axes = centered.T @ (left_vectors / np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny)))
    direction_count = (
        min(directions, int((squares > 1e-14 * squares[:1].max(initial=0.0)).sum())) if squares.size else 0
    )
    if not direction_count:
        return np.zeros((n, min(directions, d, 1)))
    # The sign of a direction is free: its largest entry is made positive, so that the same rows give the same features.
    axes = axes[:, :direction_count]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(direction_count)])
    deviation = np.sqrt(squares[:direction_count] / n)
    result: FloatArray = (centered @ axes) / deviation**strength
    return result
