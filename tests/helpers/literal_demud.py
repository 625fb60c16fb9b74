"""DEMUD, literally: the specification in float64; shares nothing with the package but its tolerances.

    Rows x of X. Seen items S (prior and earlier picks), mean μ. U: leading left singular vectors of the centered seen
    items, at most k, without null directions. x̂ = U Uᵀ(x − μ) + μ, r = x − x̂, score = Σ r².
    The next pick is the unpicked row of largest score, the lowest row among ties; x̂ and r are those of the model
    before the pick is absorbed.

Everything is recomputed for every pick; nothing is clever. Variants:

    sign: only residuals below (`low`) or above (`high`) the expectation count. weights: score = Σ (w r)².
    missing (NaN): `zero`, it is 0; `ignore`, it counts as μ in x − μ, has no residual, and is filled with μ when its
    row is absorbed; for a model of the whole set, with the mean of the rows that have it (0 if none has).
    variance: k is the least number of directions that hold that part of Σ S² of the whole set, or of the prior.
    known: rows absorbed first, without being picked. interesting: rows that are picked but not absorbed; with `seek`,
    the free row nearest to one is the next pick.

If rounding alone decides (two equal singular values at the cut, a score on the edge of a tolerance), the definition has
no answer in floating point. Such cases are recorded in `doubts`: a test may skip a case for them, and for nothing else.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RANK_RTOL = 1e-10  # · S_max: a direction that small is none
ZERO_RTOL = 1e-20  # · scale: a score that small is 0
TIE_RTOL = 1e-12  # · scale: scores that close are tied
CENTER_ROWS = 2048  # rows whose mean is the point from which the scale is measured


@dataclass
class LiteralPick:
    """One pick, and the model before it was absorbed."""

    row: int
    score: float
    near_ties: int
    expected: Floats
    residual: Floats
    mean: Floats


@dataclass(frozen=True)
class ResidualWeighting:
    """Which residuals count: sign `both`, `low` or `high`, then weights (d,)."""

    sign: str
    weights: Floats


@dataclass
class LiteralSelection:
    """A selection: `picks` in order; `is_exhausted` if nothing new was left; `doubts`, see the module."""

    picks: list[LiteralPick] = field(default_factory=list)
    is_exhausted: bool = False
    doubts: list[str] = field(default_factory=list)


def select_literally(
    x: npt.ArrayLike,
    prior: npt.ArrayLike,
    *,
    method: str,
    rank: int,
    start: str | int,
    picks: int,
    sign: str = "both",
    weights: npt.ArrayLike | None = None,
    missing: str = "refuse",
    variance: float | None = None,
    known: Sequence[int] = (),
    interesting: Collection[int] = (),
    seek: bool = False,
) -> LiteralSelection:
    """Select from x (N, d) after prior (n0, d). start: `svd`, `mean` or a row; ignored with a prior."""
    x, prior = np.asarray(x, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    result = LiteralSelection()
    if missing == "zero":
        x = np.where(np.isnan(x), 0.0, x)
    complete = fill_missing(x, observed_mean(x))  # equals x if nothing is missing
    if variance is not None:
        rank = rank_for_variance(prior if len(prior) else complete, variance, result.doubts)
    weighting = ResidualWeighting(sign, np.ones(x.shape[1]) if weights is None else np.asarray(weights))
    count, picked_rows, seek_row = len(prior), list(known), -1
    if method == "static":
        mean, factor = fit_model(prior if len(prior) else complete, rank, result.doubts) if len(x) else (x, x)
    elif method == "full":
        seen_rows = prior
    elif count:
        mean, factor = fit_model(prior, rank, result.doubts)

    def absorb(item: Floats) -> None:
        nonlocal seen_rows, mean, factor, count
        if method == "full":
            seen_rows = np.vstack(
                [seen_rows, fill_missing(item, seen_rows.mean(axis=0) if len(seen_rows) else observed_mean(x))]
            )
        elif method == "incremental" and count == 0:
            mean, factor = fill_missing(item, observed_mean(x)), np.empty((0, len(item)))
        elif method == "incremental":
            column = np.sqrt(count / (count + 1)) * (fill_missing(item, mean) - mean)
            factor = truncate_factor(np.vstack([factor, column]), rank, result.doubts)
            mean = mean + (fill_missing(item, mean) - mean) / (count + 1)
        count += 1

    for row in known:
        absorb(x[row])
    while len(result.picks) < picks and len(picked_rows) < len(x):
        is_first = count == 0 and method != "static"
        if method == "full" and not is_first:
            mean, factor = fit_model(seen_rows, rank, result.doubts)
        if seek_row >= 0:
            row = find_nearest(complete, seek_row, picked_rows, result.doubts)
            expected, residual, score = (
                score_rows(x, mean, factor, weighting)
                if not is_first
                else (complete, np.zeros_like(x), np.zeros(len(x)))
            )
            pick_score = 0.0 if is_first else zero_if_rounding(float(score[row]), tolerance_scale(x, mean))
            pick = LiteralPick(row, pick_score, 0, expected[row], residual[row], complete[row] if is_first else mean)
        elif is_first and isinstance(start, int):
            row = next(row for row in [*range(start, len(x)), *range(start)] if row not in picked_rows)
            pick = LiteralPick(row, 0.0, 0, complete[row], np.zeros(x.shape[1]), complete[row])
        elif is_first:
            first = fit_model(complete, rank if start == "svd" else 0, result.doubts)
            pick = choose_pick(x, *first, picked_rows, result.doubts, weighting)
        else:
            pick = choose_pick(x, mean, factor, picked_rows, result.doubts, weighting)
            if pick.score == 0 and not (method == "static" and not len(prior)):
                result.is_exhausted = True  # nothing new is left (only `static` without a prior ranks all there is)
                break
        result.picks.append(pick)
        picked_rows.append(pick.row)
        seek_row = pick.row if seek and pick.row in interesting else -1
        if pick.row not in interesting:
            absorb(x[pick.row])
    return result


def observed_mean(x: Floats) -> Floats:
    """The mean (d,) of each feature over the rows that have it, 0 if none has."""
    is_present = ~np.isnan(x)
    return np.where(is_present, x, 0.0).sum(axis=0) / np.maximum(is_present.sum(axis=0), 1)


def fill_missing(x: Floats, fill: Floats) -> Floats:
    """x with `fill` (d,) in place of missing values."""
    return np.where(np.isnan(x), fill, x)


def rank_for_variance(items: Floats, variance: float, doubts: list[str]) -> int:
    """The least k ≥ 1 whose directions hold that part of Σ S² of items (n, d)."""
    energy = np.cumsum(np.linalg.svd(items - items.mean(axis=0), compute_uv=False) ** 2)
    target_energy = variance * energy[-1] * (1 - 1e-12)
    if np.any(np.abs(energy - target_energy) < 1e-9 * energy[-1]) and variance < 1:
        doubts.append("the energy is near the requested part")
    return int(np.sum(energy < target_energy)) + 1


def find_nearest(complete: Floats, row: int, picked_rows: list[int], doubts: list[str]) -> int:
    """The free row nearest to `row`, the lowest among equally near ones."""
    distance = np.sum((complete - complete[row]) ** 2, axis=1)
    free = [other for other in range(len(complete)) if other not in picked_rows]
    best = min(distance[other] for other in free)
    if any(0 < distance[other] - best < 1e-9 * distance.max() for other in free):
        doubts.append("two rows are nearly equally near")
    return next(other for other in free if distance[other] == best)


def fit_model(items: Floats, rank: int, doubts: list[str]) -> tuple[Floats, Floats]:
    """Mean (d,) and truncated factor (q, d) of the exact rank-`rank` SVD of items (n, d)."""
    mean = items.mean(axis=0)
    return mean, truncate_factor(items - mean, rank, doubts)


def truncate_factor(factor: Floats, rank: int, doubts: list[str]) -> Floats:
    """S Uᵀ (q, d): the factor's leading singular directions, times their values; at most `rank`, none null."""
    if not factor.size:
        return factor[:0]
    _, values, axes = np.linalg.svd(factor, full_matrices=False)
    largest = values[0]
    if np.any((values > 1e-13 * largest) & (values < 1e-7 * largest)):
        doubts.append("a singular value is near the null tolerance")
    rank_left = min(int(np.sum(values > RANK_RTOL * largest)), rank) if largest > 0 else 0
    if (
        0 < rank_left < len(values)
        and values[rank_left] > RANK_RTOL * largest
        and values[rank_left - 1] - values[rank_left] < 1e-4 * largest
    ):
        doubts.append("two singular values at the cut are equal")
    return values[:rank_left, None] * axes[:rank_left]


def score_rows(
    x: Floats, mean: Floats, factor: Floats, weighting: "ResidualWeighting"
) -> tuple[Floats, Floats, Floats]:
    """x̂ (N, d), r (N, d) and scores (N,) against a model: two products, as in the paper's equations 1 and 2."""
    u = (factor / np.linalg.norm(factor, axis=1, keepdims=True)).T  # (d, q)
    z = fill_missing(x - mean, np.zeros(len(mean)))
    within = (z @ u) @ u.T
    expected, residual = within + mean, z - within  # r = x − x̂, without rounding x̂ if μ is large
    residual = np.where(np.isnan(x), 0.0, residual)
    signed_residual = {"both": residual, "low": np.minimum(residual, 0), "high": np.maximum(residual, 0)}[
        weighting.sign
    ]
    return expected, residual, np.sum((weighting.weights * signed_residual) ** 2, axis=1)


def choose_pick(
    x: Floats, mean: Floats, factor: Floats, picked_rows: list[int], doubts: list[str], weighting: "ResidualWeighting"
) -> LiteralPick:
    """The free row of highest score against a model, the lowest of those that are tied."""
    expected, residual, score = score_rows(x, mean, factor, weighting)
    scale = tolerance_scale(x, mean)
    free = [row for row in range(len(x)) if row not in picked_rows]
    best = max(score[row] for row in free)
    ties = [row for row in free if score[row] >= best - TIE_RTOL * scale]
    row = ties[0]
    _note_doubts(score[free], best, scale, float(np.nanmax(x**2, initial=0.0)), doubts)
    return LiteralPick(
        row, zero_if_rounding(float(score[row]), scale), len(ties) - 1, expected[row], residual[row], mean
    )


def zero_if_rounding(score: float, scale: float) -> float:
    """A score, or 0 if it is below the tolerance."""
    return score if score > ZERO_RTOL * scale else 0.0


def tolerance_scale(x: Floats, mean: Floats) -> float:
    """The scale of the tolerances: (largest |x − c| + |c − μ|)², c the mean of the first rows.

    That is the largest |x − μ|², or up to 9 times as much, and is known for every μ after reading the rows once.
    If values are missing, c is the mean of all rows, and a missing value counts as c.
    """
    center = observed_mean(x) if np.isnan(x).any() else x[:CENTER_ROWS].mean(axis=0)
    centered = fill_missing(x - center, np.zeros(len(center)))
    return float((np.sqrt(np.max(np.sum(centered**2, axis=1))) + np.linalg.norm(center - mean)) ** 2)


def _note_doubts(score: Floats, best: float, scale: float, size: float, doubts: list[str]) -> None:
    gaps = best - score
    if np.any((gaps > 1e-14 * scale) & (gaps < 1e-10 * scale)):
        doubts.append("a score is near the tie tolerance")
    if 1e-26 * scale < best < 1e-16 * scale:
        doubts.append("the best score is near the zero tolerance")
    if 0 < scale < 1e-20 * size:
        doubts.append("the rows differ from the mean by rounding only")
