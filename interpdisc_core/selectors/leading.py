"""The leading subspace of all rows, from second moments that are summed up block by block; no dense SVD of the matrix.

A second-moment matrix squares the singular values: those below about 1e-8 of the largest are rounding, and directions
above that are off by eps · (S_max / S)². So only directions well above are taken from it; the rest is looked for in the
moments of what those leave over, until every direction above NULL · S_max is found or enough are. Flat spectra, as of
real features, take one pass. Rows too wide for such a matrix are swept over several times (`lanczos`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import NULL, Features, Floats, Subspace
from interpdisc_core.selectors.lanczos import CLEAR, Spectrum, less, rounding, sweep, topmost
from interpdisc_core.selectors.rows import BLOCK, Rows, blocks, take

WIDEST = 5000
"""Features beyond which second moments (d, d) are not kept; rows as few are decomposed as they are.

There it takes 8 CPU seconds to decompose them, growing with the cube; and to sum them up, what 12 sweeps take.
"""
MOST = 512
"""Directions that are looked for in wider rows, at most, where a part of Σ S² is asked for."""
_PARTS = 32


@dataclass(frozen=True, slots=True)
class Moments:
    """Of n rows about a centre c: sum (d,) of x − c, and scatter (d, d) Σ (x − c)(x − c)ᵀ, or (0, 0) where not asked for."""

    count: int
    sum: Floats
    scatter: Floats

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.sum + other.sum, self.scatter + other.scatter)


def groups(count: int) -> list[tuple[int, int]]:
    """[start, stop) of the parts of `count` rows whose moments are summed for themselves, at most 32.

    Sums go block by block within a part and part by part over all, wherever each is computed: the same bits always.
    """
    step = BLOCK * max(1, -(-count // (BLOCK * _PARTS)))
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def moments(
    rows: Rows, start: int, stop: int, centre: Floats, scatter: bool, also: Callable[[slice, Features], None] | None = None
) -> Moments:  # fmt: skip
    """Moments of rows [start, stop) about `centre` (d,). also: is given every block that is read."""
    d = len(centre)
    total = Moments(0, np.zeros(d), np.zeros((d, d) if scatter else (0, 0)))
    for at, values in blocks(rows, start, stop):
        if also is not None:
            also(at, values)
        values = np.ascontiguousarray(values)  # sums of rows that lie otherwise differ in bits
        missing = np.isnan(values)
        if scatter or missing.any():
            z = values.astype(np.float64) - centre
            z[missing] = 0  # what is missing is no further from the centre than the centre
            total.sum[:] += z.sum(axis=0)
            if scatter:
                total.scatter[:] += z.T @ z
        else:
            total.sum[:] += values.sum(axis=0, dtype=np.float64) - len(values) * centre
        total = Moments(total.count + len(values), total.sum, total.scatter)
    return total


# One thread: LAPACK's eigenvectors differ in their last bits with several, and so would the first pick's score.
@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]
def leading(
    rows: Rows, first: Moments, centre: Floats, rank: int, variance: float | None = None
) -> tuple[Subspace, float]:
    """The rank-`rank` SVD model of all rows, and how far its axes may be from the true ones (sine of the angle).

    first: the moments of all rows about `centre`. variance: take as few directions as hold that part of Σ S².
    Raises PlanError where those are more than MOST and neither the rows nor the features at most WIDEST.
    """
    count, dimension = rows.shape
    mean = centre + first.sum / max(count, 1)
    model = Subspace(mean, np.empty((0, dimension)))
    limit = min(dimension, count) if variance is not None else min(rank, dimension, count)
    if not limit or (rank == 0 and variance is None):
        return model, 0.0
    largest, found, error, behind, sure = 0.0, np.empty(0), np.empty(0), 0.0, True
    shift = first.sum / count
    left = first.scatter - count * np.outer(shift, shift) if first.scatter.size else None
    while len(model.axes) < limit:
        wanted = limit - len(model.axes)
        if min(count, dimension) <= WIDEST:
            spectrum, left = _spectrum(rows, model, wanted, largest, left), None
        elif variance is not None and not len(model.axes):
            spectrum = _holding(rows, model, variance)
        else:
            spectrum = sweep(rows, model, wanted, largest)
        squares = spectrum.values**2
        largest = max(largest, spectrum.values[0])
        if variance is not None and not len(model.axes):
            energy, part = np.cumsum(squares), variance * spectrum.total * (1 - 1e-12)
            limit = wanted = int(np.searchsorted(energy, part)) + 1
            # The energy that was found is at most the true one, and no further below it than the residuals say. (Of
            # all of it, which directions without energy belong to it is of no account.)
            sure = limit == 1 or variance == 1 or energy[limit - 2] + spectrum.error[: limit - 1].sum() < part
        kept = spectrum.values > max(NULL * largest, CLEAR * spectrum.values[0])
        kept[wanted:] = False
        taken = int(kept.sum())
        behind = squares[taken] + spectrum.error[taken] if taken < len(squares) else 0.0
        if not taken:
            break
        found, error = np.append(found, squares[:taken]), np.append(error, spectrum.error[:taken])
        fresh = spectrum.axes[:taken]
        fresh = fresh - (fresh @ model.axes.T) @ model.axes
        model = Subspace(mean, np.vstack([model.axes, np.linalg.qr(fresh.T)[0].T]))
        if CLEAR * spectrum.values[0] <= NULL * largest:
            break  # what was left out is null
    # Davis & Kahan 1970, direction by direction: residuals over the gap to what is behind the last.
    gaps = found - behind
    doubt = float(np.linalg.norm(error / gaps)) if sure and (gaps > 0).all() else 1.0
    return model, min(doubt, 1.0)


def _spectrum(rows: Rows, model: Subspace, wanted: int, largest: float, left: Floats | None) -> Spectrum:
    """What `model` leaves of the rows, from its second moments, which `left` are if they are known.

    There is one direction more than wanted where that many are, so that the gap behind the last is known.
    """
    count, dimension = rows.shape
    if count <= dimension:
        rest = less(take(rows, np.arange(count)), model)
        square = rest @ rest.T
        squares, vectors = topmost(square, wanted + 1)
        axes = vectors.T @ rest
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        axes = axes / np.where(lengths > 0, lengths, 1.0)
    else:
        if left is None:
            left = np.zeros((dimension, dimension))
            for _, some in blocks(rows):
                rest = less(some, model)
                left += rest.T @ rest
        square = left
        squares, vectors = topmost(square, wanted + 1)
        axes = vectors.T
    values = np.sqrt(squares)
    error = np.full(len(values), rounding(dimension, largest, values[0]))
    return Spectrum(values, axes, error, float(np.trace(square)))


def _holding(rows: Rows, model: Subspace, variance: float) -> Spectrum:
    """As many leading directions as hold that part of Σ S², and one more. Raises PlanError where MOST do not."""
    some = sweep(rows, model, 64, passes=3)  # what these hold, as many of the true ones hold at least
    enough = int(np.searchsorted(np.cumsum(some.values**2), variance * some.total * (1 - 1e-12))) + 1
    for wanted in (enough, MOST) if enough <= min(len(some.values), MOST) else (MOST,):
        spectrum = sweep(rows, model, wanted)
        held = float((spectrum.values[:wanted] ** 2).sum())
        if held >= variance * spectrum.total * (1 - 1e-12):
            return spectrum
    raise PlanError(
        f"{variance:g} of the variance of {rows.shape[0]} rows of {rows.shape[1]} features needs more than {MOST} "
        f"directions (they hold {held / spectrum.total:.3g}), which is too many here: ask for less, or for a rank (-k)."
    )


def with_scatter(rows: Rows) -> bool:
    """Whether the moments of `rows` need their scatter: with few rows their products with each other are smaller."""
    count, dimension = rows.shape
    return dimension < count and dimension <= WIDEST
