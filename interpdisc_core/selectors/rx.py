"""RX: how far a row is from the background, in units of how the background varies. Reed & Yu 1990.

    score = (x − μ)ᵀ C⁻¹ (x − μ),   C = (1 − s) Σ + s (tr Σ / d) I,

with mean μ and covariance Σ (over n, not n − 1) of the background, and the shrinkage s from 0 to 1 of Ledoit & Wolf 2004.
There are often more features than items, or nearly dependent ones. Then Σ has no inverse, or one made of noise, and
without shrinkage all items of a small background are equally far from their own mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import AnyArray, FloatArray, IndexArray
from interpdisc_core.selectors._in_memory import canonical_order, check_dimension, chunk_slices, score_unique_rows
from interpdisc_core.selectors._ranked import RankedSelection, Ranking, RankOnce
from interpdisc_core.selectors.compute import ComputeOptions
from interpdisc_core.selectors.neighbors import find_neighbors
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import Rows, as_rows
from interpdisc_core.settings import settings

_MIN_VARIANCE_RATIO = 1e-6
"""Lower bound of the variance of a row's neighbors, relative to that of all rows: the neighbors may be equal."""


@settings
class Rx(RankOnce):
    """Score: the squared Mahalanobis distance to the mean of the background; ranks all rows once.

    Reed & Yu 1990, "Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral distribution".
    The background is the prior, of which a summary suffices, or, without one, all rows. If the background does not vary
    at all, its covariance counts as the identity.

    Attributes:
        rank: Number of leading principal directions that count; 0 for all.
        shrink: s, from 0 to 1, towards the mean variance of the directions that count. At 0 with rank 0, C⁻¹ is the
            pseudo-inverse: directions in which the background does not vary count for nothing. `auto`: the oracle
            approximating shrinkage (OAS) of Chen et al. 2010, for which the variances suffice.
    """

    kind: Literal["rx"] = "rx"
    rank: Annotated[int, Field(ge=0)] = 0
    shrink: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"

    def open(
        self,
        features: AnyArray | Rows,
        prior: FloatArray | Prior,
        labels: Sequence[str | None] | None = None,
        compute_options: ComputeOptions | None = None,
    ) -> RankedSelection:
        """See `RankOnce.open`; the prior may be a summary of items too."""
        if not isinstance(prior, Prior) or not prior.count:
            return super().open(features, prior)
        rows = as_rows(features)
        check_dimension(len(prior.mean), rows.shape[1])
        return RankedSelection(rows, lambda values: self._score_against(values, prior))

    def score_rows(self, values: FloatArray, items: FloatArray) -> Ranking:
        """See `RankOnce.score_rows`."""
        background = items if len(items) else values
        return self._score_against(values, Prior.from_items(background[canonical_order(background)]))

    def _score_against(self, values: FloatArray, summary: Prior) -> Ranking:
        ellipsoid = _fit_ellipsoid(summary, self.rank, self.shrink)
        return Ranking(score_unique_rows(values, ellipsoid.compute_distances))


@settings
class LocalRx(RankOnce):
    """Score: the squared Mahalanobis distance to the mean of a row's neighbors; ranks all rows once.

    Neighbors are the nearest items of the prior or, without one, the nearest other rows. This is RX within a window
    (Reed & Yu 1990), with a window in feature space, as the rows are not pixels. A row that is alone has score 0.

    Attributes:
        neighbours: How many; all if there are fewer.
        shrink: s, above 0 and at most 1, towards the mean variance of the neighbors, or, if that is less, towards a
            millionth of the mean variance of all items.
    """

    kind: Literal["local-rx"] = "local-rx"
    neighbours: Annotated[int, Field(ge=2)] = 50
    shrink: Annotated[float, Field(gt=0, le=1)] = 0.1

    def score_rows(self, values: FloatArray, items: FloatArray) -> Ranking:
        """See `RankOnce.score_rows`."""
        reference = items if len(items) else values
        neighbors = find_neighbors(values, items if len(items) else None, self.neighbours)
        if not neighbors.shape[1] or not values.shape[1]:
            return Ranking(np.zeros(len(values)))
        # By index, in whatever order the search returns them.
        return Ranking(_compute_local_distances(values, reference, np.sort(neighbors, axis=1), self.shrink))


@dataclass(frozen=True, eq=False)
class _Ellipsoid:
    """axes (q, d), orthonormal, with variances (q,). rest_variance: of all other directions; None: they do not count."""

    mean: FloatArray
    axes: FloatArray
    variances: FloatArray
    rest_variance: float | None

    def compute_distances(self, values: FloatArray) -> FloatArray:
        """Squared Mahalanobis distances (n,) of rows (n, d)."""
        z = values - self.mean
        along = z @ self.axes.T
        distances: FloatArray = (along**2 / self.variances).sum(axis=1)
        if self.rest_variance is not None:
            # From the residual itself: |z|² − |along|² would lose small values.
            across = z - along @ self.axes
            distances += np.einsum("nd,nd->n", across, across) / self.rest_variance
        return distances


def _fit_ellipsoid(summary: Prior, rank: int, shrink: float | Literal["auto"]) -> _Ellipsoid:
    variances, axes = summary.values**2 / max(summary.count, 1), summary.axes
    if rank:
        variances, axes = variances[:rank], axes[:rank]
    if not variances.any():
        return _Ellipsoid(summary.mean, axes[:0], variances[:0], 1.0)
    width = len(axes) if rank else axes.shape[1]
    shrinkage = _estimate_shrinkage(variances, width, summary.count) if shrink == "auto" else shrink
    added_variance = shrinkage * float(variances.sum()) / width
    rest = added_variance if not rank and added_variance > 0 else None
    return _Ellipsoid(summary.mean, axes, (1 - shrinkage) * variances + added_variance, rest)


def _estimate_shrinkage(variances: FloatArray, width: int, count: int) -> float:
    """The shrinkage s of Chen, Wiesel, Eldar & Hero 2010, equation 23, for a covariance (width, width) of `count` items."""
    square, squares = float(variances.sum()) ** 2, float((variances**2).sum())
    # As in scikit-learn, without the terms in 2 / width.
    denominator = (count + 1) * (squares - square / width)
    return min(1.0, (squares + square) / denominator) if denominator > 0 else 1.0


def _compute_local_distances(
    values: FloatArray, reference: FloatArray, neighbors: IndexArray, shrink: float
) -> FloatArray:
    """Squared distances (N,) of rows (N, d) to their neighbors, the items of `reference` (n0, d) at `neighbors` (N, m).

    With neighbors Y (m, d) about their mean, f = (1 − s) / m and a = s · mean variance, C = a I + f YᵀY. By the Woodbury
    identity, zᵀC⁻¹z = (|z|² − f (Yz)ᵀ (a I + f YYᵀ)⁻¹ Yz) / a: systems of size m instead of d.
    """
    neighbor_count, dimension = neighbors.shape[1], values.shape[1]
    overall = float(reference.var(axis=0).mean()) or 1.0
    scores, factor = np.empty(len(values)), (1 - shrink) / neighbor_count
    for chunk in chunk_slices(len(values), neighbor_count * dimension):
        local = reference[neighbors[chunk]]
        mean = local.mean(axis=1, keepdims=True)
        local -= mean
        z = (values[chunk] - mean[:, 0])[:, :, None]
        variance = np.einsum("nmd,nmd->n", local, local) / (neighbor_count * dimension)
        min_variance = (shrink * np.maximum(variance, _MIN_VARIANCE_RATIO * overall))[:, None, None]
        along = local @ z
        gram = min_variance * np.eye(neighbor_count) + factor * (local @ local.swapaxes(1, 2))
        within = along.swapaxes(1, 2) @ np.linalg.solve(gram, along)
        scores[chunk] = np.maximum((z.swapaxes(1, 2) @ z - factor * within) / min_variance, 0.0)[:, 0, 0]
    return scores
