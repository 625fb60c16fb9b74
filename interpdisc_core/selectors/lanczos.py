"""The leading directions of rows too wide for a matrix of second moments, with a bound of how far off they are.

Block Lanczos from a random start (Golub & Underwood 1977; Musco & Musco 2015): each pass over the rows multiplies one
block of directions by A = Σ z zᵀ, without A, and what is new in the product is the next block. The best directions
within all blocks so far have residuals A u − θ u that cost nothing, and these bound how far off they are. A direction
that the random start happens to be orthogonal to would be missed; the chance of that is nil.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from interpdisc_core.selectors.choice import NULL, Features, Floats, Subspace
from interpdisc_core.selectors.rows import Rows, blocks

PASSES = 12
"""Passes over the rows, at most."""
CERTAIN = 1e-9
"""The sine between found and true directions at which no more passes are made."""
CLEAR = 1e-2
"""Directions above this part of the largest singular value are taken from one decomposition; it squares them."""
_SPARE = (10, 64)
"""Directions in a block beyond those wanted: as many as wanted, within these."""
_COLUMNS, _BYTES = 2048, 1 << 30
"""Directions (and their bytes) beyond which the best of them replace all."""
_FEW = 256
"""Rows multiplied together: wide as they are, these fit in memory in float64 a few times."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Of rows about a mean, less a model: singular values S (m,), falling, their directions (m, d), and Σ S² of all.

    error (m,): |A u − S² u| of each direction, at most, rounding included.
    """

    values: Floats
    axes: Floats
    error: Floats
    total: float


def rounding(dimension: int, largest: float, value: float) -> float:
    """What rounding does to second moments (d, d) of rows with singular values up to `value`, in norm.

    largest: of the rows from which a model was taken off; its rounding stays in what is left.
    """
    return float(16 * np.finfo(np.float64).eps * np.sqrt(dimension) * max(largest, value) * value)


def less(rows: Features, model: Subspace) -> Floats:
    """What `model` leaves of rows (m, d); a missing value is as expected."""
    z = rows.astype(np.float64, order="C") - model.mean  # products of rows that lie otherwise differ in bits
    np.nan_to_num(z, copy=False)
    if len(model.axes):
        z -= (z @ model.axes.T) @ model.axes
    return z


def sweep(rows: Rows, model: Subspace, wanted: int, largest: float = 0.0, passes: int = PASSES) -> Spectrum:
    """The `wanted` leading directions, one more so that the gap is known, and further ones as they come.

    They are of what `model` leaves of the rows. largest: singular value of all; where no more than its rounding is
    left, nothing is looked for. Every number is a sum over the rows in their order: no chunking changes a bit.
    """
    dimension = rows.shape[1]
    size = min(wanted + min(max(wanted, _SPARE[0]), _SPARE[1]), dimension - len(model.axes))
    most = max(4 * size, min(_COLUMNS, _BYTES // (8 * dimension)))
    block = _orthonormal(np.random.default_rng(0).normal(size=(dimension, size)), model.axes)
    basis, square = np.empty((dimension, 0)), np.empty((0, 0))
    for left in reversed(range(passes)):
        have, basis = len(square), np.hstack([basis, block])
        image, total = _image(rows, model, block)
        if total <= (NULL * largest) ** 2:
            break
        within = basis.T @ image
        image -= basis @ within
        image -= basis @ (basis.T @ image)
        square = np.pad(square, (0, block.shape[1]))
        square[:, have:], square[have:] = within, within.T
        square[have:, have:] = (square[have:, have:] + square[have:, have:].T) / 2
        theta, vectors = topmost(square, max(2 * size, wanted + 1))
        fresh, part = np.linalg.qr(image)
        turn, lengths, _ = np.linalg.svd(part)
        error, lost = np.linalg.norm(part @ vectors[have:], axis=0), rounding(dimension, largest, np.sqrt(theta[0]))
        new = lengths > lost
        if not left or not new.any() or _settled(theta, error, lost, wanted):
            return Spectrum(np.sqrt(theta), (basis @ vectors).T, error + lost, total)
        block = _orthonormal(fresh @ turn[:, new], model.axes, basis.T)
        if basis.shape[1] + block.shape[1] > most:
            square, basis = np.diag(theta[: 2 * size]), basis @ vectors[:, : 2 * size]
    return Spectrum(np.full(1, np.sqrt(total)), np.zeros((1, dimension)), np.full(1, total), total)


def _settled(theta: Floats, error: Floats, lost: float, wanted: int) -> bool:
    """Whether the directions that will be taken are as certain as can be: to CERTAIN, or to rounding."""
    taken = max(int((theta[:wanted] > CLEAR**2 * theta[0]).sum()), 1)
    gaps, behind = theta[:taken], 0.0
    if len(theta) > wanted:
        gaps, behind = theta[:taken] - theta[wanted], error[wanted]
    close = error[:taken] <= np.maximum(CERTAIN / np.sqrt(taken) * gaps, lost)
    return bool(close.all() and behind <= max(gaps[-1] / 10, lost))


def _image(rows: Rows, model: Subspace, block: Floats) -> tuple[Floats, float]:
    """A times a block (d, b), and Σ |z|², in one pass."""
    image, total = np.zeros_like(block), 0.0
    for _, values in blocks(rows):
        for start in range(0, len(values), _FEW):
            z = less(values[start : start + _FEW], model)
            image += z.T @ (z @ block)
            total += float(np.einsum("nd,nd->", z, z))
    return image, total


def topmost(square: Floats, count: int) -> tuple[Floats, Floats]:
    """The `count` largest eigenvalues (or all), falling, none below 0, and eigenvectors, as columns."""
    size, count = len(square), min(count, len(square))
    theta, vectors = scipy.linalg.eigh(square, subset_by_index=[size - count, size - 1])
    if len(theta) < count:  # where all are alike LAPACK may find none of the last few
        theta, vectors = scipy.linalg.eigh(square, driver="evd")
    return np.maximum(theta[::-1][:count], 0.0), vectors[:, ::-1][:, :count]


def _orthonormal(block: Floats, *others: Floats) -> Floats:
    """Orthonormal columns (d, b), orthogonal to others' orthonormal rows, that span what is new in `block` (d, b)."""
    for _ in range(2):
        for axes in others:
            block = block - axes.T @ (axes @ block)
        block = np.linalg.qr(block)[0]
    return block
