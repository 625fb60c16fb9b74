"""Quadratic forms that carry the bounds of scores from one model to a later one; see `shard` for D and D'."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpstrf

from interpdisc_core._types import Float32Array, FloatArray
from interpdisc_core.selectors.decision import Subspace

_F32 = float(np.finfo(np.float32).eps) / 2
_FACTOR_TOLERANCE = 1e-10
"""Largest part of a form, in each variable, that its factor leaves out; rounding is far below."""


@dataclass(frozen=True, slots=True)
class BoundForm:
    """D and D' for the rows of one epoch, as factors F of forms: √D ≤ |(p, m) F| + slack · |(p, m)|, m = mean_distance.

    Attributes:
        factor: F of D (k + 1, r).
        orthogonal_factor: F of D' (k + 1, r').
        mean_distance: |μ_s − μ|, the last variable.
        slack: Of √D.
        orthogonal_slack: Of √D'.
    """

    factor: Float32Array
    orthogonal_factor: Float32Array
    mean_distance: float
    slack: float
    orthogonal_slack: float


def build_bound_form(old_model: Subspace, new_model: Subspace) -> BoundForm:
    """The form that carries the bounds of rows from one model to a later one."""
    across, along_new, along_old, mean_distance = old_model.compare(new_model)
    q = len(across)
    unit = 1.0 / mean_distance if mean_distance > 0 else 0.0
    gram = np.eye(q + 1)  # Gram matrix of U_s and the unit vector along μ_s − μ
    gram[q, :q] = gram[:q, q] = along_old * unit
    gram[q, q] = 1.0 if mean_distance > 0 else 0.0
    inside = np.vstack([across, along_new * unit])  # their products with U
    outside = gram - inside @ inside.T
    in_old_axes = gram[:, :q] - inside @ across.T  # the part of (I − P) of them that lies in U_s
    factor, slack = _factor(outside)
    orthogonal_factor, orthogonal_slack = _factor(outside - in_old_axes @ in_old_axes.T)
    return BoundForm(factor, orthogonal_factor, mean_distance, slack, orthogonal_slack)


def _factor(matrix: FloatArray) -> tuple[Float32Array, float]:
    """F (n, r) and slack with xᵀ matrix x ≤ (|x F| + slack |x|)²; by pivoted Cholesky, which is cheap."""
    size = len(matrix)
    lower, pivots, rank, _ = dpstrf(matrix, tol=_FACTOR_TOLERANCE, lower=1)
    factor = np.zeros((size, rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    # The remainder has no diagonal entry above the tolerance; it consists of differences of numbers about 1.
    slack = float(np.sqrt((size - rank) * _FACTOR_TOLERANCE + 1e-11))
    # Plus the error of a product with it in float32 (Higham 2002, 3.1).
    return factor.astype(np.float32), slack + 1.1 * (size + 4) * _F32 * float(np.linalg.norm(factor)) + 1e-6
