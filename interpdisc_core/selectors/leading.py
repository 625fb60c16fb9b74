"""The leading subspace of all rows, from second moments that are summed up block by block; no dense SVD of the matrix.

A second-moment matrix squares the singular values: those below about 1e-8 of the largest are rounding, and directions
above that are off by eps · (S_max / S)². So only directions well above are taken from it; the rest is looked for in the
moments of what those leave over, until every direction above NULL · S_max is found or enough are. Flat spectra, as of
real features, take one pass.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import NULL, Features, Floats, Subspace
from interpdisc_core.selectors.rows import BLOCK, Rows, blocks, take

_CLEAR = 1e-2
"""Directions above this part of the largest singular value are taken from one matrix of second moments."""
WIDEST = 12_000
"""Features beyond which second moments (d, d) are too large to keep; rows as few are decomposed as they are."""
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


def leading(
    rows: Rows, first: Moments, centre: Floats, rank: int, variance: float | None = None
) -> tuple[Subspace, float]:
    """The rank-`rank` SVD model of all rows, and how far its axes may be from the true ones (sine of the angle).

    first: the moments of all rows about `centre`. variance: take as few directions as hold that part of Σ S².
    Raises PlanError where neither the rows nor the features are few enough to decompose.
    """
    count, dimension = rows.shape
    mean = centre + first.sum / max(count, 1)
    model = Subspace(mean, np.empty((0, dimension)))
    limit = min(dimension, count) if variance is not None else min(rank, dimension, count)
    if not limit or (rank == 0 and variance is None):
        return model, 0.0
    if min(count, dimension) > WIDEST:
        raise PlanError(
            f"start svd needs a decomposition of {count} rows of {dimension} features, which is too large here: "
            "use --start mean, random or a row, or a representation of fewer features."
        )
    shift = first.sum / count
    largest, found, left, gap = 0.0, np.empty(0), None, np.inf
    while len(model.axes) < limit:
        wanted = limit - len(model.axes)
        if left is None and first.scatter.size:
            left = first.scatter - count * np.outer(shift, shift)
        values, axes, total = _spectrum(rows, model, wanted, left)
        left = np.empty(0)
        largest = max(largest, values[0])
        if variance is not None and not len(model.axes):
            limit = int(np.searchsorted(np.cumsum(values**2), variance * total * (1 - 1e-12))) + 1
            values, axes, wanted = values[: limit + 1], axes[: limit + 1], limit
        kept = values > max(NULL * largest, _CLEAR * values[0])
        kept[wanted:] = False
        if not kept.any():
            break
        taken = int(kept.sum())
        if taken < len(values):
            gap = values[taken - 1] ** 2 - values[taken] ** 2
        found = np.append(found, values[kept])
        fresh = axes[kept]
        fresh = fresh - (fresh @ model.axes.T) @ model.axes
        model = Subspace(mean, np.vstack([model.axes, np.linalg.qr(fresh.T)[0].T]))
        if _CLEAR * values[0] <= NULL * largest:
            break  # what was left out is null
    # Davis & Kahan 1970: what rounding did to the moments, over the gap behind the last direction.
    doubt = 16 * np.finfo(np.float64).eps * np.sqrt(dimension) * largest**2 / gap if gap > 0 else 1.0
    return model, float(min(doubt, 1.0))


def _spectrum(rows: Rows, model: Subspace, wanted: int, left: Floats | None) -> tuple[Floats, Floats, float]:
    """Singular values, falling, and directions (m, d) of what `model` leaves of the rows; and Σ S² of all.

    There is one more than wanted where that many are, so that the gap behind the last is known.
    """
    count, dimension = rows.shape
    if count <= dimension:
        rest = _rest(take(rows, np.arange(count)), model)
        square = rest @ rest.T
        size = min(wanted + 1, count)
        values, vectors = scipy.linalg.eigh(square, subset_by_index=[count - size, count - 1])
        axes = vectors[:, ::-1].T @ rest
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        axes = axes / np.where(lengths > 0, lengths, 1.0)
    else:
        if left is None or not left.size:
            left = np.zeros((dimension, dimension))
            for _, values in blocks(rows):
                rest = _rest(values, model)
                left += rest.T @ rest
        square = left
        size = min(wanted + 1, dimension)
        values, vectors = scipy.linalg.eigh(square, subset_by_index=[dimension - size, dimension - 1])
        axes = vectors[:, ::-1].T
    return np.sqrt(np.maximum(values[::-1], 0.0)), axes, float(np.trace(square))


def _rest(rows: Features, model: Subspace) -> Floats:
    z = rows.astype(np.float64) - model.mean
    np.nan_to_num(z, copy=False)
    rest: Floats = z - (z @ model.axes.T) @ model.axes
    return rest


def with_scatter(rows: Rows) -> bool:
    """Whether the moments of `rows` need their scatter: with few rows their products with each other are smaller."""
    count, dimension = rows.shape
    return dimension < count and dimension <= WIDEST
