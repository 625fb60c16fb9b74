"""The leading directions of rows too wide for a matrix of second moments, with a bound on their error.

Block Lanczos from a random start (Golub & Underwood 1977; Musco & Musco 2015): each pass over the rows multiplies one
block of directions by A = Σ z zᵀ, without forming A, and the new part of the product is the next block. The best
directions within all blocks so far have residuals A u − θ u that cost nothing, and these bound the error. A direction to
which the random start happens to be orthogonal would be missed; that has probability 0.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.selectors.decision import RANK_RTOL, Subspace
from interpdisc_core.selectors.rows import Rows, iter_blocks

MAX_PASSES = 12
"""Maximum number of passes over the rows."""
SINE_TOLERANCE = 1e-9
"""Sine of the angle between computed and true directions at which iteration stops."""
CLEAR_RATIO = 1e-2
"""Directions above this share of the largest singular value are taken from one decomposition, which squares values."""
_EXTRA_DIRECTIONS = (10, 64)
"""Directions in a block in addition to those wanted: as many as wanted, within these limits."""
_MAX_COLUMNS, _MAX_BYTES = 2048, 1 << 30
"""Number of directions, and their bytes, above which the best of them replace all."""
_CHUNK_ROWS = 256
"""Rows multiplied at a time: wide as they are, a few copies of these in float64 fit into memory."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Leading singular values of rows about a mean, less what a model explains.

    Attributes:
        singular_values: S (m,), falling.
        axes: Their directions (m, d).
        residual_bound: Upper bound of |A u − S² u| of each direction (m,), rounding included.
        total_energy: Σ S² over all directions, also those not computed.
    """

    singular_values: FloatArray
    axes: FloatArray
    residual_bound: FloatArray
    total_energy: float


def bound_rounding(dimension: int, largest: float, value: float) -> float:
    """Bound of the norm of the rounding error in second moments (d, d) of rows with singular values up to `value`.

    largest: The largest singular value before a model was subtracted; its rounding stays in the remainder.
    """
    return float(16 * np.finfo(np.float64).eps * np.sqrt(dimension) * max(largest, value) * value)


def subtract_model(rows: AnyArray, model: Subspace) -> FloatArray:
    """Residuals (m, d) of rows (m, d) under `model`; those of missing values are 0."""
    z = rows.astype(np.float64, order="C") - model.mean  # products of rows in another memory order differ in bits
    np.nan_to_num(z, copy=False)
    if len(model.axes):
        z -= (z @ model.axes.T) @ model.axes
    return z


def run_block_lanczos(
    rows: Rows, model: Subspace, count: int, largest: float = 0.0, passes: int = MAX_PASSES
) -> Spectrum:
    """The leading directions of the residuals of the rows under `model`.

    Every number is a sum over the rows in their order, so that no chunking of the store changes a bit.

    Args:
        rows: Rows (N, d).
        model: What was found before.
        count: Directions wanted. At least one more is returned, so that the gap behind the last is known.
        largest: The largest singular value of the rows; if no more than its rounding is left, nothing is computed.
        passes: Maximum number of passes over the rows.
    """
    dimension = rows.shape[1]
    size = min(count + min(max(count, _EXTRA_DIRECTIONS[0]), _EXTRA_DIRECTIONS[1]), dimension - len(model.axes))
    max_columns = max(4 * size, min(_MAX_COLUMNS, _MAX_BYTES // (8 * dimension)))
    block = _orthonormalize(np.random.default_rng(0).normal(size=(dimension, size)), model.axes)
    basis, square = np.empty((dimension, 0)), np.empty((0, 0))
    for passes_left in reversed(range(passes)):
        old_size, basis = len(square), np.hstack([basis, block])
        image, total = _apply_scatter(rows, model, block)
        if total <= (RANK_RTOL * largest) ** 2:
            break
        projected_image = basis.T @ image
        image -= basis @ projected_image
        image -= basis @ (basis.T @ image)
        square = np.pad(square, (0, block.shape[1]))
        square[:, old_size:], square[old_size:] = projected_image, projected_image.T
        square[old_size:, old_size:] = (square[old_size:, old_size:] + square[old_size:, old_size:].T) / 2
        theta, vectors = largest_eigenpairs(square, max(2 * size, count + 1))
        directions, triangular = np.linalg.qr(image)
        rotation, lengths, _ = np.linalg.svd(triangular)
        error, rounding_error = (
            np.linalg.norm(triangular @ vectors[old_size:], axis=0),
            bound_rounding(dimension, largest, np.sqrt(theta[0])),
        )
        is_new = lengths > rounding_error
        if not passes_left or not is_new.any() or _is_converged(theta, error, rounding_error, count):
            return Spectrum(np.sqrt(theta), (basis @ vectors).T, error + rounding_error, total)
        block = _orthonormalize(directions @ rotation[:, is_new], model.axes, basis.T)
        if basis.shape[1] + block.shape[1] > max_columns:
            square, basis = np.diag(theta[: 2 * size]), basis @ vectors[:, : 2 * size]
    return Spectrum(np.full(1, np.sqrt(total)), np.zeros((1, dimension)), np.full(1, total), total)


def _is_converged(theta: FloatArray, error: FloatArray, rounding_error: float, count: int) -> bool:
    """Whether the directions that will be taken are accurate to SINE_TOLERANCE, or to rounding."""
    leading_count = max(int((theta[:count] > CLEAR_RATIO**2 * theta[0]).sum()), 1)
    gaps, next_value = theta[:leading_count], 0.0
    if len(theta) > count:
        gaps, next_value = theta[:leading_count] - theta[count], error[count]
    is_close = error[:leading_count] <= np.maximum(SINE_TOLERANCE / np.sqrt(leading_count) * gaps, rounding_error)
    return bool(is_close.all() and next_value <= max(gaps[-1] / 10, rounding_error))


def _apply_scatter(rows: Rows, model: Subspace, block: FloatArray) -> tuple[FloatArray, float]:
    """A times a block (d, b), and Σ |z|², in one pass over the rows."""
    image, total = np.zeros_like(block), 0.0
    for _, values in iter_blocks(rows):
        for start in range(0, len(values), _CHUNK_ROWS):
            z = subtract_model(values[start : start + _CHUNK_ROWS], model)
            image += z.T @ (z @ block)
            total += float(np.einsum("nd,nd->", z, z))
    return image, total


def largest_eigenpairs(matrix: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """The `count` largest eigenvalues (or all), falling, at least 0, and their eigenvectors as columns."""
    size, count = len(matrix), min(count, len(matrix))
    theta, vectors = scipy.linalg.eigh(matrix, subset_by_index=[size - count, size - 1])
    if len(theta) < count:  # if all are equal, LAPACK may find none of the last few
        theta, vectors = scipy.linalg.eigh(matrix, driver="evd")
    return np.maximum(theta[::-1][:count], 0.0), vectors[:, ::-1][:, :count]


def _orthonormalize(block: FloatArray, *others: FloatArray) -> FloatArray:
    """Orthonormal columns (d, b) that span `block` (d, b) less the span of the orthonormal rows of `others`."""
    for _ in range(2):
        for axes in others:
            block = block - axes.T @ (axes @ block)
        block = np.linalg.qr(block)[0]
    return block
