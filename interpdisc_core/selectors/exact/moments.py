"""The leading subspace of all rows, from second moments summed block by block; no dense SVD of the matrix.

A second-moment matrix squares the singular values: those below about 1e-8 of the largest are rounding, and directions
above that are off by eps · (S_max / S)². So only directions well above are taken from it; the others are taken from the
moments of the residuals, until every direction above RANK_RTOL · S_max is found or enough are. Flat spectra, as of real
features, take one pass. Rows too wide for such a matrix take several (`lanczos`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.decision import RANK_RTOL, Subspace
from interpdisc_core.selectors.exact.lanczos import (
    CLEAR_RATIO,
    Spectrum,
    bound_rounding,
    largest_eigenpairs,
    run_block_lanczos,
    subtract_model,
)
from interpdisc_core.selectors.rows import BLOCK_ROWS, Rows, gather_float64, iter_blocks

MAX_DENSE_FEATURES = 5000
"""Features above which second moments (d, d) are not formed; as few rows are decomposed by their products instead.

At this width their decomposition takes 8 CPU seconds, growing with the cube, and summing them as long as 12 passes.
"""
MAX_DIRECTIONS = 512
"""Maximum number of directions of wider rows if a part of Σ S² is asked for."""
_MAX_GROUPS = 32


@dataclass(frozen=True, slots=True)
class Moments:
    """Of n rows about a center c: sum (d,) of x − c; scatter (d, d) Σ (x − c)(x − c)ᵀ, or (0, 0) if not asked for."""

    count: int
    sum: FloatArray
    scatter: FloatArray

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.sum + other.sum, self.scatter + other.scatter)


def split_groups(count: int) -> list[tuple[int, int]]:
    """[start, stop) of the groups, at most 32, in which moments of `count` rows are summed.

    Sums go block by block within a group and group by group over all, wherever each is computed: always the same bits.
    """
    step = BLOCK_ROWS * max(1, -(-count // (BLOCK_ROWS * _MAX_GROUPS)))
    return [(start, min(start + step, count)) for start in range(0, count, step)]


@single_blas_thread
def sum_moments(
    rows: Rows,
    start: int,
    stop: int,
    center: FloatArray,
    scatter: bool,
    on_block: Callable[[slice, AnyArray], None] | None = None,
) -> Moments:
    """Moments of rows [start, stop) about a center.

    Args:
        rows: Rows (N, d).
        start: First row.
        stop: Row after the last.
        center: (d,).
        scatter: Whether to compute the scatter.
        on_block: Called with the slice and the values of every block that is read.
    """
    d = len(center)
    total = Moments(0, np.zeros(d), np.zeros((d, d) if scatter else (0, 0)))
    for block_slice, values in iter_blocks(rows, start, stop):
        if on_block is not None:
            on_block(block_slice, values)
        values = np.ascontiguousarray(values)  # sums of rows in another memory order differ in bits
        missing = np.isnan(values)
        if scatter or missing.any():
            z = values.astype(np.float64) - center
            z[missing] = 0  # a missing value counts as the center
            total.sum[:] += z.sum(axis=0)
            if scatter:
                total.scatter[:] += z.T @ z
        else:
            total.sum[:] += values.sum(axis=0, dtype=np.float64) - len(values) * center
        total = Moments(total.count + len(values), total.sum, total.scatter)
    return total


@single_blas_thread
def fit_leading_subspace(
    rows: Rows, moments_about_center: Moments, center: FloatArray, rank: int, variance: float | None = None
) -> tuple[Subspace, float]:
    """The truncated SVD model of all rows, and the sine of the angle by which its axes may be off.

    Args:
        rows: Rows (N, d).
        moments_about_center: Moments of all rows about `center`.
        center: (d,).
        rank: Directions of the model.
        variance: Instead of `rank`, the least number of directions that hold this part of Σ S².

    Raises:
        PlanError: If those are more than MAX_DIRECTIONS, with both rows and features more than MAX_DENSE_FEATURES.
    """
    count, dimension = rows.shape
    mean = center + moments_about_center.sum / max(count, 1)
    model = Subspace(mean, np.empty((0, dimension)), singular_values=np.empty(0))
    limit = min(dimension, count) if variance is not None else min(rank, dimension, count)
    if not limit or (rank == 0 and variance is None):
        return model, 0.0
    largest, squared_values, error, next_value, is_rank_certain = 0.0, np.empty(0), np.empty(0), 0.0, True
    shift = moments_about_center.sum / count
    residual_scatter = (
        moments_about_center.scatter - count * np.outer(shift, shift) if moments_about_center.scatter.size else None
    )
    while len(model.axes) < limit:
        needed = limit - len(model.axes)
        if min(count, dimension) <= MAX_DENSE_FEATURES:
            spectrum, residual_scatter = _compute_spectrum(rows, model, needed, largest, residual_scatter), None
        elif variance is not None and not len(model.axes):
            spectrum = _find_spectrum_of_variance(rows, model, variance)
        else:
            spectrum = run_block_lanczos(rows, model, needed, largest)
        squares = spectrum.singular_values**2
        largest = max(largest, spectrum.singular_values[0])
        if variance is not None and not len(model.axes):
            energy, energy_target = np.cumsum(squares), variance * spectrum.total_energy * (1 - 1e-12)
            limit = needed = int(np.searchsorted(energy, energy_target)) + 1
            # The computed energy is at most the true one, and below it by no more than the residuals. (If all of it is
            # asked for, directions without energy do not matter.)
            is_rank_certain = (
                limit == 1
                or variance == 1
                or energy[limit - 2] + spectrum.residual_bound[: limit - 1].sum() < energy_target
            )
        is_kept = spectrum.singular_values > max(RANK_RTOL * largest, CLEAR_RATIO * spectrum.singular_values[0])
        is_kept[needed:] = False
        new_count = int(is_kept.sum())
        next_value = squares[new_count] + spectrum.residual_bound[new_count] if new_count < len(squares) else 0.0
        if not new_count:
            break
        squared_values, error = (
            np.append(squared_values, squares[:new_count]),
            np.append(error, spectrum.residual_bound[:new_count]),
        )
        new_axes = spectrum.axes[:new_count]
        new_axes = new_axes - (new_axes @ model.axes.T) @ model.axes
        values = np.sqrt(squared_values)
        model = Subspace(mean, np.vstack([model.axes, np.linalg.qr(new_axes.T)[0].T]), singular_values=values)
        if CLEAR_RATIO * spectrum.singular_values[0] <= RANK_RTOL * largest:
            break  # the directions left out are null
    # Davis & Kahan 1970, direction by direction: residual over the gap to the values behind the last.
    gaps = squared_values - next_value
    axis_error = float(np.linalg.norm(error / gaps)) if is_rank_certain and (gaps > 0).all() else 1.0
    return model, min(axis_error, 1.0)


def _compute_spectrum(
    rows: Rows, model: Subspace, needed: int, largest: float, residual_scatter: FloatArray | None
) -> Spectrum:
    """The spectrum of the residuals under `model`, by their second moments (`residual_scatter`, if known already).

    It has one direction more than needed, if there is one, so that the gap behind the last is known.
    """
    count, dimension = rows.shape
    if count <= dimension:
        residuals = subtract_model(gather_float64(rows, np.arange(count)), model)
        second_moments = residuals @ residuals.T
        squares, vectors = largest_eigenpairs(second_moments, needed + 1)
        axes = vectors.T @ residuals
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        axes = axes / np.where(lengths > 0, lengths, 1.0)
    else:
        if residual_scatter is None:
            residual_scatter = np.zeros((dimension, dimension))
            for _, block in iter_blocks(rows):
                residuals = subtract_model(block, model)
                residual_scatter += residuals.T @ residuals
        second_moments = residual_scatter
        squares, vectors = largest_eigenpairs(second_moments, needed + 1)
        axes = vectors.T
    values = np.sqrt(squares)
    error = np.full(len(values), bound_rounding(dimension, largest, values[0]))
    return Spectrum(values, axes, error, float(np.trace(second_moments)))


def _find_spectrum_of_variance(rows: Rows, model: Subspace, variance: float) -> Spectrum:
    """The leading directions that hold this part of Σ S², and one more. Raises PlanError if MAX_DIRECTIONS do not."""
    estimate = run_block_lanczos(rows, model, 64, passes=3)  # as many of the true directions hold at least as much
    estimated_count = (
        int(np.searchsorted(np.cumsum(estimate.singular_values**2), variance * estimate.total_energy * (1 - 1e-12))) + 1
    )
    for direction_count in (
        (estimated_count, MAX_DIRECTIONS)
        if estimated_count <= min(len(estimate.singular_values), MAX_DIRECTIONS)
        else (MAX_DIRECTIONS,)
    ):
        spectrum = run_block_lanczos(rows, model, direction_count)
        energy = float((spectrum.singular_values[:direction_count] ** 2).sum())
        if energy >= variance * spectrum.total_energy * (1 - 1e-12):
            return spectrum
    raise PlanError(
        f"{variance:g} of the variance of {rows.shape[0]} rows of {rows.shape[1]} features needs more than {MAX_DIRECTIONS} "
        f"directions (these hold {energy / spectrum.total_energy:.3g}): ask for less variance, or for a rank (-k)."
    )


def needs_scatter(rows: Rows) -> bool:
    """Whether the model needs the scatter of `rows`: of few rows the matrix of their own products is smaller."""
    count, dimension = rows.shape
    return dimension < count and dimension <= MAX_DENSE_FEATURES
