"""DEMUD, read out literally: the specification in float64, with nothing shared with the package but its numbers.

    Rows x of X. Seen items S (prior and earlier picks), mean μ. U: leading left singular vectors of the centred seen
    items, at most k, without null directions. x̂ = U Uᵀ(x − μ) + μ, r = x − x̂, score = Σ r².
    The next pick is the unpicked row of largest score, the lowest row among ties; x̂ and r are those of the model
    before the pick is absorbed.

Everything is recomputed for every pick; nothing is clever. Variants:

    sign: only residuals below (`low`) or above (`high`) what was expected count. weights: score = Σ (w r)².
    missing (NaN): `zero`, it is 0; `ignore`, it counts as μ in x − μ, has no residual, and is filled with μ when its
    row is absorbed; where the whole set is looked at, with the mean of the rows that have it (0 where none has).
    variance: k is the least number of directions that hold that part of Σ S² of the whole set, or of the prior.
    known: rows absorbed first, without being picked. spared: rows that are picked but not absorbed; with `seek`, the
    free row nearest to one is the next pick.

Where rounding alone decides (two singular values alike at the cut, a score on the edge of a tolerance), the
definition has no answer in floating point. Such places are noted in `doubts`: a test may leave a case out for them,
and for nothing else.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NULL = 1e-10  # · S_max: a direction that small is none
ZERO = 1e-20  # · scale: a score that small is 0
TIED = 1e-12  # · scale: scores that close are tied
FIRST = 2048  # rows whose mean is the point from which the scale is measured


@dataclass
class Picked:
    """One pick, and the model before it was absorbed."""

    row: int
    score: float
    near_ties: int
    expected: Floats
    residual: Floats
    mean: Floats


@dataclass(frozen=True)
class Weigh:
    """What of a residual counts: sign `both`, `low` or `high`, then weights (d,)."""

    sign: str
    weights: Floats


@dataclass
class Literal:
    """A selection: `picks` in order; `stopped` if nothing new was left; `doubts`, see the module."""

    picks: list[Picked] = field(default_factory=list)
    stopped: bool = False
    doubts: list[str] = field(default_factory=list)


def select(
    x: npt.ArrayLike, prior: npt.ArrayLike, *, method: str, rank: int, start: str | int, picks: int,
    sign: str = "both", weights: npt.ArrayLike | None = None, missing: str = "refuse", variance: float | None = None,
    known: Sequence[int] = (), spared: Collection[int] = (), seek: bool = False,
) -> Literal:  # fmt: skip
    """Select from x (N, d) after prior (n0, d). start: `svd`, `mean` or a row; it only counts without a prior."""
    x, prior = np.asarray(x, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    result = Literal()
    if missing == "zero":
        x = np.where(np.isnan(x), 0.0, x)
    whole = filled(x, observed(x))  # the same as x where nothing is missing
    if variance is not None:
        rank = rank_of(prior if len(prior) else whole, variance, result.doubts)
    weigh = Weigh(sign, np.ones(x.shape[1]) if weights is None else np.asarray(weights))
    count, taken, near = len(prior), list(known), -1
    if method == "static":
        mean, factor = prior_model(prior if len(prior) else whole, rank, result.doubts) if len(x) else (x, x)
    elif method == "full":
        seen = prior
    elif count:
        mean, factor = prior_model(prior, rank, result.doubts)

    def absorb(item: Floats) -> None:
        nonlocal seen, mean, factor, count
        if method == "full":
            seen = np.vstack([seen, filled(item, seen.mean(axis=0) if len(seen) else observed(x))])
        elif method == "incremental" and count == 0:
            mean, factor = filled(item, observed(x)), np.empty((0, len(item)))
        elif method == "incremental":
            column = np.sqrt(count / (count + 1)) * (filled(item, mean) - mean)
            factor = truncated(np.vstack([factor, column]), rank, result.doubts)
            mean = mean + (filled(item, mean) - mean) / (count + 1)
        count += 1

    for row in known:
        absorb(x[row])
    while len(result.picks) < picks and len(taken) < len(x):
        opening = count == 0 and method != "static"
        if method == "full" and not opening:
            mean, factor = prior_model(seen, rank, result.doubts)
        if near >= 0:
            row = nearest(whole, near, taken, result.doubts)
            expected, residual, score = (
                explain(x, mean, factor, weigh) if not opening else (whole, np.zeros_like(x), np.zeros(len(x)))
            )
            worth = 0.0 if opening else worth_of(float(score[row]), extent(x, mean))
            pick = Picked(row, worth, 0, expected[row], residual[row], whole[row] if opening else mean)
        elif opening and isinstance(start, int):
            row = next(row for row in [*range(start, len(x)), *range(start)] if row not in taken)
            pick = Picked(row, 0.0, 0, whole[row], np.zeros(x.shape[1]), whole[row])
        elif opening:
            first = prior_model(whole, rank if start == "svd" else 0, result.doubts)
            pick = choose(x, *first, taken, result.doubts, weigh)
        else:
            pick = choose(x, mean, factor, taken, result.doubts, weigh)
            if pick.score == 0 and not (method == "static" and not len(prior)):
                result.stopped = True  # nothing new is left (only `static` without a prior ranks all there is)
                break
        result.picks.append(pick)
        taken.append(pick.row)
        near = pick.row if seek and pick.row in spared else -1
        if pick.row not in spared:
            absorb(x[pick.row])
    return result


def observed(x: Floats) -> Floats:
    """The mean (d,) of each feature over the rows that have it, 0 where none has."""
    there = ~np.isnan(x)
    return np.where(there, x, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)


def filled(x: Floats, with_: Floats) -> Floats:
    """x with `with_` (d,) where values are missing."""
    return np.where(np.isnan(x), with_, x)


def rank_of(items: Floats, variance: float, doubts: list[str]) -> int:
    """The least k ≥ 1 whose directions hold that part of Σ S² of items (n, d)."""
    energy = np.cumsum(np.linalg.svd(items - items.mean(axis=0), compute_uv=False) ** 2)
    wanted = variance * energy[-1] * (1 - 1e-12)
    if np.any(np.abs(energy - wanted) < 1e-9 * energy[-1]) and variance < 1:
        doubts.append("the energy is near the part that is wanted")
    return int(np.sum(energy < wanted)) + 1


def nearest(whole: Floats, row: int, taken: list[int], doubts: list[str]) -> int:
    """The free row nearest to `row`, the lowest of those as near."""
    distance = np.sum((whole - whole[row]) ** 2, axis=1)
    free = [other for other in range(len(whole)) if other not in taken]
    best = min(distance[other] for other in free)
    if any(0 < distance[other] - best < 1e-9 * distance.max() for other in free):
        doubts.append("two rows are nearly as near")
    return next(other for other in free if distance[other] == best)


def prior_model(items: Floats, rank: int, doubts: list[str]) -> tuple[Floats, Floats]:
    """Mean (d,) and truncated factor (q, d) of the exact rank-`rank` SVD of items (n, d)."""
    mean = items.mean(axis=0)
    return mean, truncated(items - mean, rank, doubts)


def truncated(factor: Floats, rank: int, doubts: list[str]) -> Floats:
    """S Uᵀ (q, d): the factor's leading singular directions, times their values; at most `rank`, none null."""
    if not factor.size:
        return factor[:0]
    _, values, axes = np.linalg.svd(factor, full_matrices=False)
    largest = values[0]
    if np.any((values > 1e-13 * largest) & (values < 1e-7 * largest)):
        doubts.append("a singular value is near the null tolerance")
    kept = min(int(np.sum(values > NULL * largest)), rank) if largest > 0 else 0
    if 0 < kept < len(values) and values[kept] > NULL * largest and values[kept - 1] - values[kept] < 1e-4 * largest:
        doubts.append("two singular values at the cut are alike")
    return values[:kept, None] * axes[:kept]


def explain(x: Floats, mean: Floats, factor: Floats, weigh: "Weigh") -> tuple[Floats, Floats, Floats]:
    """x̂ (N, d), r (N, d) and scores (N,) against a model: two products, as in the paper's equations 1 and 2."""
    u = (factor / np.linalg.norm(factor, axis=1, keepdims=True)).T  # (d, q)
    z = filled(x - mean, np.zeros(len(mean)))
    within = (z @ u) @ u.T
    expected, residual = within + mean, z - within  # r = x − x̂, without rounding x̂ where μ is large
    residual = np.where(np.isnan(x), 0.0, residual)
    counts = {"both": residual, "low": np.minimum(residual, 0), "high": np.maximum(residual, 0)}[weigh.sign]
    return expected, residual, np.sum((weigh.weights * counts) ** 2, axis=1)


def choose(
    x: Floats, mean: Floats, factor: Floats, taken: list[int], doubts: list[str], weigh: "Weigh"
) -> Picked:  # fmt: skip
    """The free row of largest score against a model, the lowest of those that are tied."""
    expected, residual, score = explain(x, mean, factor, weigh)
    scale = extent(x, mean)
    free = [row for row in range(len(x)) if row not in taken]
    best = max(score[row] for row in free)
    tied = [row for row in free if score[row] >= best - TIED * scale]
    row = tied[0]
    _note(score[free], best, scale, float(np.nanmax(x**2, initial=0.0)), doubts)
    return Picked(row, worth_of(float(score[row]), scale), len(tied) - 1, expected[row], residual[row], mean)


def worth_of(score: float, scale: float) -> float:
    """A score, or 0 where it is that small."""
    return score if score > ZERO * scale else 0.0


def extent(x: Floats, mean: Floats) -> float:
    """The scale of the tolerances: (largest |x − c| + |c − μ|)², c the mean of the first rows.

    That is the largest |x − μ|², or up to 9 times as much, and is known for every μ from one look at the rows.
    Where values are missing c is the mean of all rows, and what is missing is no further from it than it.
    """
    centre = observed(x) if np.isnan(x).any() else x[:FIRST].mean(axis=0)
    apart = filled(x - centre, np.zeros(len(centre)))
    return float((np.sqrt(np.max(np.sum(apart**2, axis=1))) + np.linalg.norm(centre - mean)) ** 2)


def _note(score: Floats, best: float, scale: float, size: float, doubts: list[str]) -> None:
    behind = best - score
    if np.any((behind > 1e-14 * scale) & (behind < 1e-10 * scale)):
        doubts.append("a score is near the tie tolerance")
    if 1e-26 * scale < best < 1e-16 * scale:
        doubts.append("the best score is near the zero tolerance")
    if 0 < scale < 1e-20 * size:
        doubts.append("the rows differ from the mean by rounding only")
