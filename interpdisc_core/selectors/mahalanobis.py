"""RX: how far a row is from its background, in units of how the background varies. Reed & Yu 1990.

    score = (x − μ)ᵀ C⁻¹ (x − μ),   C = (1 − s) Σ + s (tr Σ / d) I,

with mean μ and covariance Σ (over n, not n − 1) of the background, and s from 0 to 1 the shrinkage of Ledoit & Wolf 2004.
Features are often more than items, or nearly depend on each other: then Σ has no inverse, or one of noise, and without
shrinkage all items of a small background are equally far from their own mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import Features, Floats
from interpdisc_core.selectors.held import by_value, fitting, held, in_parts, items_of, nearest, ordered
from interpdisc_core.selectors.ranking import Ranked
from interpdisc_core.selectors.rows import Index, Rows
from interpdisc_core.selectors.screen import Means
from interpdisc_core.selectors.seen import Seen

_LEAST = 1e-6
"""Neighbours vary by at least this part of what all rows do: those of a row may be equal to each other."""


@dataclass(frozen=True, kw_only=True)
class Rx:
    """Score: the squared Mahalanobis distance to the background's mean; all rows ranked once.

    The background is the prior, of which a summary suffices, or, without one, all rows. Reed & Yu 1990, "Adaptive
    multiple-band CFAR detection of an optical pattern with unknown spectral distribution". Where the background does not
    vary at all its covariance counts as the identity. Reads all rows into memory, N x d float64.

    rank: so many leading principal directions count, and no other; 0 for all.
    shrink: s, from 0 to 1, towards the mean variance of the directions that count. At 0 with rank 0, C⁻¹ is the
    pseudo-inverse: directions in which the background does not vary count for nothing. `auto`: the oracle approximating
    shrinkage of Chen et al. 2010, for which the variances suffice.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["rx"] = "rx"
    rank: int = 0
    shrink: Literal["auto"] | float = "auto"

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise PlanError(f"rx: rank (-k) must be 0 for all directions, or more, not {self.rank}.")
        if self.shrink != "auto" and not 0 <= self.shrink <= 1:
            raise PlanError(f"rx: shrink must be from 0 to 1, or auto, not {self.shrink}.")

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> Ranked:  # fmt: skip
        """See `Selects.open`. Raises PlanError for a prior of another width; the first `peek` as `held` does."""
        count, dimension = features.shape
        known = prior if isinstance(prior, Seen) else items_of(prior, dimension, self.kind)
        if isinstance(known, Seen) and known.count:
            fitting(len(known.mean), dimension)

        def score() -> Floats:
            values = held(features)
            if not len(values):
                return np.empty(0)
            if isinstance(known, Seen) and known.count:
                seen = known
            else:
                items = values if isinstance(known, Seen) or not len(known) else known
                seen = Seen.of(items[ordered(items)])
            return by_value(values, _ellipsoid(seen, self.rank, self.shrink).distances)

        return Ranked(count, score)


@dataclass(frozen=True, kw_only=True)
class LocalRx:
    """Score: the squared Mahalanobis distance to the mean of a row's neighbours; all rows ranked once.

    Neighbours are the nearest items of the prior, or, without one, the nearest other rows: RX within a window (Reed &
    Yu 1990), which is in feature space here, as the rows are not pixels. A row that is alone has 0. Reads all rows
    into memory, N x d float64.

    neighbours: how many, at least 2 (all where there are fewer). shrink: s, above 0 and at most 1, towards the
    neighbours' mean variance, or, where that is less, towards a millionth of the mean variance of all of them.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["local-rx"] = "local-rx"
    neighbours: int = 50
    shrink: float = 0.1

    def __post_init__(self) -> None:
        if self.neighbours < 2:
            raise PlanError(f"local-rx: neighbours must be at least 2, not {self.neighbours}.")
        if not 0 < self.shrink <= 1:
            raise PlanError(f"local-rx: shrink must be above 0 and at most 1, not {self.shrink}.")

    def open(
        self, features: Features | Rows, prior: Floats | Seen, labels: Sequence[str | None] | None = None,
        means: Means | None = None,
    ) -> Ranked:  # fmt: skip
        """See `Selects.open`. Raises PlanError as `items_of` does; the first `peek` as `held` does."""
        items = items_of(prior, features.shape[1], self.kind)

        def score() -> Floats:
            values = held(features)
            among = items if len(items) else values
            which = nearest(values, items if len(items) else None, self.neighbours)
            if not which.shape[1] or not values.shape[1]:
                return np.zeros(len(values))
            # In the order of their numbers, whatever order a search finds them in.
            return _local(values, among, np.sort(which, axis=1), self.shrink)

        return Ranked(features.shape[0], score)


@dataclass(frozen=True, eq=False)
class _Ellipsoid:
    """axes (q, d), orthonormal, with variances (q,); rest: the variance of all other directions, None: these do not count."""

    mean: Floats
    axes: Floats
    variances: Floats
    rest: float | None

    def distances(self, values: Floats) -> Floats:
        """Squared Mahalanobis distances (n,) of rows (n, d)."""
        z = values - self.mean
        along = z @ self.axes.T
        distances: Floats = (along**2 / self.variances).sum(axis=1)
        if self.rest is not None:
            # The literal rest: |z|² − |along|² would lose what is small.
            across = z - along @ self.axes
            distances += np.einsum("nd,nd->n", across, across) / self.rest
        return distances


def _ellipsoid(seen: Seen, rank: int, shrink: float | Literal["auto"]) -> _Ellipsoid:
    variances, axes = seen.values**2 / max(seen.count, 1), seen.axes
    if rank:
        variances, axes = variances[:rank], axes[:rank]
    if not variances.any():
        return _Ellipsoid(seen.mean, axes[:0], variances[:0], 1.0)
    width = len(axes) if rank else axes.shape[1]
    part = _approximated(variances, width, seen.count) if shrink == "auto" else shrink
    towards = part * float(variances.sum()) / width
    rest = towards if not rank and towards > 0 else None
    return _Ellipsoid(seen.mean, axes, (1 - part) * variances + towards, rest)


def _approximated(variances: Floats, width: int, count: int) -> float:
    """The shrinkage s of Chen, Wiesel, Eldar & Hero 2010, equation 23, for a covariance (width, width) of `count` items."""
    square, squares = float(variances.sum()) ** 2, float((variances**2).sum())
    # As scikit-learn has it, without terms of 2 / width.
    apart = (count + 1) * (squares - square / width)
    return min(1.0, (squares + square) / apart) if apart > 0 else 1.0


def _local(values: Floats, among: Floats, which: Index, shrink: float) -> Floats:
    """Distances (N,) of rows (N, d) to their neighbours `which` (N, m) of `among` (n0, d).

    With neighbours Y (m, d) about their mean, f = (1 − s) / m and a = s · mean variance, C = a I + f YᵀY and, by the
    identity of Woodbury, zᵀC⁻¹z = (|z|² − f (Yz)ᵀ (a I + f YYᵀ)⁻¹ Yz) / a: systems of m instead of d.
    """
    near, dimension = which.shape[1], values.shape[1]
    overall = float(among.var(axis=0).mean()) or 1.0
    scores, factor = np.empty(len(values)), (1 - shrink) / near
    for part in in_parts(len(values), near * dimension):
        around = among[which[part]]
        mean = around.mean(axis=1, keepdims=True)
        around -= mean
        z = (values[part] - mean[:, 0])[:, :, None]
        variance = np.einsum("nmd,nmd->n", around, around) / (near * dimension)
        least = (shrink * np.maximum(variance, _LEAST * overall))[:, None, None]
        along = around @ z
        gram = least * np.eye(near) + factor * (around @ around.swapaxes(1, 2))
        within = along.swapaxes(1, 2) @ np.linalg.solve(gram, along)
        scores[part] = np.maximum((z.swapaxes(1, 2) @ z - factor * within) / least, 0.0)[:, 0, 0]
    return scores
