"""The growing span of the seen items, with every row's place in it.

An orthonormal basis Q (t, d) around an origin o; for every row its coordinates c = Q(x − o) and ρ = |x − o|² − |c|²,
its energy outside the span. Learning an item adds one direction and costs one product of the matrix with a vector.
With a model whose mean has coordinates m and whose directions are W within the span,

    score = ρ + |c − m|² − |W(c − m)|².
"""

import numpy as np
import scipy.linalg

from interpdisc_core.selectors.choice import NULL, Features, Floats, Subspace

_ROWS = 2048
"""Rows that are widened to float64 at a time."""
_CLEAR = 1e-2
"""Directions above this part of the largest singular value are taken from one matrix of second moments."""
_EPS = float(np.finfo(np.float64).eps)


class Span:
    """See the module. Holds (t + 2) float64 numbers a row."""

    def __init__(self, features: Features, origin: Floats, axes: Floats) -> None:
        """features (N, d); origin (d,); axes (t, d) orthonormal."""
        self.features, self.origin, self.axes = features, origin, axes
        self.coordinates = np.empty((len(axes), len(features)))
        distance = np.empty(len(features))
        for rows in _blocks(len(features)):
            z = features[rows].astype(np.float64) - origin
            distance[rows] = np.einsum("nd,nd->n", z, z)
            self.coordinates[:, rows] = axes @ z.T
        self.within = np.einsum("tn,tn->n", self.coordinates, self.coordinates)
        self.outside = distance - self.within
        self.farthest = float(distance.max(initial=0.0))

    @property
    def rank(self) -> int:
        """t, the number of directions."""
        return len(self.axes)

    def include(self, x: Floats, null: float) -> Floats:
        """Extend the span so that it holds x (d,); returns x's coordinates (t,), t being the new rank.

        What of x lies outside the span is dropped where its length is at most `null`.
        """
        z = x - self.origin
        inside = self.axes @ z
        new = z - self.axes.T @ inside
        again = self.axes @ new  # twice is enough (Kahan, Parlett)
        new -= self.axes.T @ again
        length = float(np.sqrt(new @ new))
        inside = inside + again
        if length <= null or length <= 4 * _EPS * float(np.sqrt(z @ z)):
            return inside
        axis = new / length
        along = np.empty(len(self.features))
        for rows in _blocks(len(along)):
            along[rows] = (self.features[rows].astype(np.float64) - self.origin) @ axis
        self.axes = np.vstack([self.axes, axis])
        self.coordinates = np.vstack([self.coordinates, along])
        self.within = self.within + along**2
        self.outside = self.outside - along**2
        return np.append(inside, length)

    def screen(self, mean: Floats, directions: Floats) -> tuple[Floats, float, float]:
        """Approximate scores (N,) of all rows; a bound on their error; and the largest |x − μ|².

        mean (t,) and directions (q, t) orthonormal: the model, in the span's coordinates.
        """
        far = self.within - 2.0 * (mean @ self.coordinates) + mean @ mean  # |c − m|²
        scores = self.outside
        if len(directions) < self.rank:  # else the model spans the span and the score is ρ itself
            placed = directions @ self.coordinates - (directions @ mean)[:, None]
            scores = self.outside + far - np.einsum("qn,qn->n", placed, placed)
        slack = 64 * _EPS * (self.rank + 8) * (self.farthest + float(mean @ mean))
        return scores, slack, float(max((self.outside + far).max(initial=0.0), 0.0))


def leading_subspace(features: Features, rank: int) -> Subspace:
    """The rank-`rank` SVD model of all rows (N, d), from second moments; no dense SVD of the matrix.

    A second-moment matrix squares the singular values: those below about 1e-8 of the largest are rounding, and
    directions above that are off by eps · (S_max / S)². So only directions well above are taken from it; the rest is
    looked for in the moments of what those leave over, until every direction above NULL · S_max is found or `rank`
    is reached. Flat spectra, as of real features, take one pass.
    """
    count, dimension = features.shape
    total = np.zeros(dimension)
    for rows in _blocks(count):
        total += features[rows].astype(np.float64).sum(axis=0)
    model = Subspace(total / max(count, 1), np.empty((0, dimension)))
    largest = 0.0
    while len(model.axes) < min(rank, dimension, count):
        wanted = min(rank, dimension, count) - len(model.axes)
        values, axes = _moments(features, model, wanted)
        largest = max(largest, values[0])
        kept = values > max(NULL * largest, _CLEAR * values[0])
        if not kept.any():
            break
        fresh = axes[kept]
        fresh = fresh - (fresh @ model.axes.T) @ model.axes
        model = Subspace(model.mean, np.vstack([model.axes, np.linalg.qr(fresh.T)[0].T]))
        if _CLEAR * values[0] <= NULL * largest:
            break  # what was left out is null
    return model


def _moments(features: Features, model: Subspace, wanted: int) -> tuple[Floats, Floats]:
    """Singular values (wanted,), falling, and directions (wanted, d) of what `model` leaves of the rows."""
    count, dimension = features.shape
    if count <= dimension:
        rest = _rest(features[:], model)
        values, vectors = scipy.linalg.eigh(rest @ rest.T, subset_by_index=[count - wanted, count - 1])
        values = np.sqrt(np.maximum(values[::-1], 0.0))
        axes = vectors[:, ::-1].T @ rest
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        return values, axes / np.where(lengths > 0, lengths, 1.0)
    moments = np.zeros((dimension, dimension))
    for rows in _blocks(count):
        rest = _rest(features[rows], model)
        moments += rest.T @ rest
    values, vectors = scipy.linalg.eigh(moments, subset_by_index=[dimension - wanted, dimension - 1])
    return np.sqrt(np.maximum(values[::-1], 0.0)), vectors[:, ::-1].T


def _rest(rows: Features, model: Subspace) -> Floats:
    z = rows.astype(np.float64) - model.mean
    rest: Floats = z - (z @ model.axes.T) @ model.axes
    return rest


def screen_against(features: Features, model: Subspace) -> tuple[Floats, float, float]:
    """Scores (N,) of all rows against a fixed model, a bound on their error, and the largest |x − μ|²."""
    scores, scale = np.empty(len(features)), 0.0
    for rows in _blocks(len(features)):
        z = features[rows].astype(np.float64) - model.mean
        rest = z - (z @ model.axes.T) @ model.axes
        scores[rows] = np.einsum("nd,nd->n", rest, rest)
        scale = max(scale, float(np.einsum("nd,nd->n", z, z).max(initial=0.0)))
    return scores, 64 * _EPS * (len(model.axes) + 8) * scale, scale


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + _ROWS, count)) for start in range(0, count, _ROWS)]
