"""The SVD of a factor that grows by rows, updated instead of redone.

One more row f turns the squared singular values d² into the eigenvalues of diag(d²) + z zᵀ, with z the row in the
axes' coordinates: a secular equation, one root between each two d. This is the merging step of LAPACK's
divide-and-conquer SVD (dlasd2 to dlasd4) without the left vectors. It costs one matrix multiplication and O(t²). No
root is taken of a square: every difference d² − σ² is computed as a product.
"""

import numpy as np
from scipy.linalg.lapack import dlasd4

from interpdisc_core._types import FloatArray, IndexArray

MACHINE_EPS = float(np.finfo(np.float64).eps)
OUTSIDE_RTOL = 16 * MACHINE_EPS  # · |row|: a part that short outside the axes' span is rounding
EQUAL_RTOL = 4 * MACHINE_EPS  # · largest: LAPACK's 8 ε (its ε is half of ours)


def append_row(values: FloatArray, axes: FloatArray, row: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The SVD of a factor with one more row.

    Args:
        values: Singular values (q,), falling, at least 0.
        axes: Right singular vectors (q, t), orthonormal rows.
        row: What to append (t,).

    Returns:
        Singular values (q',), falling, and right singular vectors (q', t). q' is q + 1 if the row has a part outside
        the axes' span, which may get the value 0 if it is below the rounding of the largest; otherwise q' is q.
    """
    # Scaled by a power of 2, so that squares neither overflow nor vanish and no bit changes.
    scale = float(np.exp2(np.frexp(max(values.max(initial=0.0), np.abs(row).max(initial=0.0)))[1] - 1.0))
    d, z, basis = _extend_factor(values / scale, axes, row / scale)
    largest = max(d.max(initial=0.0), np.abs(z).max(initial=0.0))
    tolerance = EQUAL_RTOL * largest
    rising = np.argsort(d, kind="stable")
    moving = _deflate(d, z, basis, rising[np.abs(z[rising]) > tolerance], tolerance)
    if len(moving):
        d[moving], rotation = _solve_secular(d[moving], z[moving])
        basis[moving] = rotation @ basis[moving]
    falling = np.argsort(-d, kind="stable")
    return d[falling] * scale, basis[falling]


def _extend_factor(values: FloatArray, axes: FloatArray, row: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Values d (q',), row z (q',) and axes (q', t) with the row's own direction added, of value 0, if it has one."""
    coordinates, rest = np.zeros(len(values)), row
    for _ in range(2):  # once would leave the rounding of |row| in the rest, which may be much shorter
        part = axes @ rest
        coordinates, rest = coordinates + part, rest - part @ axes
    outside = float(np.linalg.norm(rest))
    # If there are as many axes as dimensions, nothing is outside, whatever rounding says.
    if len(axes) == len(row) or outside <= OUTSIDE_RTOL * np.linalg.norm(row):
        return values.copy(), coordinates, axes.copy()
    return np.append(values, 0.0), np.append(coordinates, outside), np.vstack([axes, rest / outside])


def _deflate(d: FloatArray, z: FloatArray, basis: FloatArray, moving: IndexArray, tolerance: float) -> IndexArray:
    """The subset of `moving`, rising in d, that is left when each run of equal d meets the row in one axis only.

    Axes of equal values may be rotated freely: a reflection, in place in `basis`, puts all of their z into the first.
    """
    if not (np.diff(d[moving]) <= tolerance).any():
        return moving
    starts: list[int] = []
    for position in range(len(moving)):
        # Compared with the first of the run, not the one before: a run is never wider than the tolerance.
        if not starts or d[moving[position]] - d[moving[starts[-1]]] > tolerance:
            starts.append(position)
    for start, stop in zip(starts, [*starts[1:], len(moving)], strict=True):
        if stop - start > 1:
            run = moving[start:stop]
            normal = z[run]
            length = -np.copysign(np.linalg.norm(normal), normal[0])  # away from z, or the difference cancels
            normal[0] -= length
            normal /= np.linalg.norm(normal)
            basis[run] -= np.outer(2 * normal, normal @ basis[run])
            z[run] = 0.0
            z[run[0]] = length
    return moving[starts]


def _solve_secular(d: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Roots σ (k,) and eigenvectors (k, k), as rows, of diag(d²) + z zᵀ. d rises strictly, no z is 0."""
    if len(d) == 1:  # for which dlasd4 gives no differences
        return np.hypot(d, z), np.ones((1, 1))
    size, length = len(d), float(np.linalg.norm(z))
    unit, roots, nearest, steps = z / length, np.empty(size), np.arange(size), np.empty(size)
    for i in range(size):
        below, roots[i], _, failed = dlasd4(i, d, unit, length**2)
        if failed:  # which has never been observed
            return _solve_dense(d, z)
        if i + 1 < size and below[i + 1] < -below[i]:
            nearest[i] = i + 1
        steps[i] = below[nearest[i]]
    # d² − σ² without cancellation, from the step to the nearest d. LAPACK's own differences are summed up over its
    # iterations, the first of which may be far longer than the last where d spans many decades.
    pole, step = d[nearest][:, None], steps[:, None]
    gaps = (d - pole) + step
    gaps *= (d + pole) - step
    if not gaps.all():  # dlasd4 put a root on its d: there z is negligible compared with the larger ones
        return _solve_dense(d, z)
    # Gu and Eisenstat 1994: the roots are exact for a slightly different z, whose vectors are orthogonal to the last
    # digits however close the roots are; those of the given z are not. No ratio is larger than 1.
    poles = d[:, None] - d
    poles *= d[:, None] + d
    ratios = np.where(np.tri(size - 1, size, dtype=bool), poles[1:], poles[:-1])
    np.divide(gaps[:-1], ratios, out=ratios)
    exact = np.copysign(np.sqrt(np.abs(ratios.prod(axis=0) * gaps[-1])), z)
    # In place: allocating fresh memory would take a third of the total time.
    vectors = np.divide(exact, gaps, out=gaps)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return roots, vectors


def _solve_dense(d: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same by a dense SVD of the small problem, which is slower and always right."""
    _, roots, vectors = np.linalg.svd(np.vstack([np.diag(d), z]), full_matrices=False)
    return roots, vectors
