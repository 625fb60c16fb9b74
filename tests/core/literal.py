"""DEMUD, read out literally: the specification in float64, with nothing shared with the package but its numbers.

    Rows x of X. Seen items S (prior and earlier picks), mean μ. U: leading left singular vectors of the centred seen
    items, at most k, without null directions. x̂ = U Uᵀ(x − μ) + μ, r = x − x̂, score = Σ r².
    The next pick is the unpicked row of largest score, the lowest row among ties; x̂ and r are those of the model
    before the pick is absorbed.

Everything is recomputed for every pick; nothing is clever.

Where rounding alone decides (two singular values alike at the cut, a score on the edge of a tolerance), the
definition has no answer in floating point. Such places are noted in `doubts`: a test may leave a case out for them,
and for nothing else.
"""

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


@dataclass
class Literal:
    """A selection: `picks` in order; `stopped` if nothing new was left; `doubts`, see the module."""

    picks: list[Picked] = field(default_factory=list)
    stopped: bool = False
    doubts: list[str] = field(default_factory=list)


def select(x: npt.ArrayLike, prior: npt.ArrayLike, *, method: str, rank: int, start: str | int, picks: int) -> Literal:
    """Select from x (N, d) after prior (n0, d). start: `svd`, `mean` or a row; it only counts without a prior."""
    x, prior = np.asarray(x, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    result = Literal()
    if method == "static":
        mean, factor = prior_model(prior if len(prior) else x, rank, result.doubts) if len(x) else (x, x)
    elif method == "full":
        seen = prior
    elif len(prior):
        mean, factor = prior_model(prior, rank, result.doubts)
        count = len(prior)
    else:
        count = 0

    while len(result.picks) < min(picks, len(x)):
        taken = [pick.row for pick in result.picks]
        opening = not taken and not len(prior)
        if opening and method != "static":
            if isinstance(start, int):
                pick = Picked(start, 0.0, 0, x[start], np.zeros(x.shape[1]), x[start])
            else:
                pick = choose(x, *prior_model(x, rank if start == "svd" else 0, result.doubts), taken, result.doubts)
        else:
            if method == "full":
                mean, factor = prior_model(seen, rank, result.doubts)
            pick = choose(x, mean, factor, taken, result.doubts)
            if pick.score == 0 and not (method == "static" and not len(prior)):
                result.stopped = True  # nothing new is left (only `static` without a prior ranks all there is)
                break
        result.picks.append(pick)
        item = x[pick.row]
        if method == "full":
            seen = np.vstack([seen, item])
        elif method == "incremental" and count == 0:
            mean, factor, count = item, np.empty((0, len(item))), 1
        elif method == "incremental":
            column = np.sqrt(count / (count + 1)) * (item - mean)
            factor = truncated(np.vstack([factor, column]), rank, result.doubts)
            mean, count = mean + (item - mean) / (count + 1), count + 1
    return result


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


def choose(x: Floats, mean: Floats, factor: Floats, taken: list[int], doubts: list[str]) -> Picked:
    """The row of largest score against a model: two products, as in the paper's equations 1 and 2."""
    u = (factor / np.linalg.norm(factor, axis=1, keepdims=True)).T  # (d, q)
    within = ((x - mean) @ u) @ u.T
    expected, residual = within + mean, (x - mean) - within  # r = x − x̂, without rounding x̂ where μ is large
    score = np.sum(residual**2, axis=1)
    scale = extent(x, mean)
    free = [row for row in range(len(x)) if row not in taken]
    best = max(score[row] for row in free)
    tied = [row for row in free if score[row] >= best - TIED * scale]
    row = tied[0]
    _note(score[free], best, scale, float(np.max(x**2, initial=0.0)), doubts)
    worth = float(score[row]) if score[row] > ZERO * scale else 0.0
    return Picked(row, worth, len(tied) - 1, expected[row], residual[row], mean)


def extent(x: Floats, mean: Floats) -> float:
    """The scale of the tolerances: (largest |x − c| + |c − μ|)², c the mean of the first rows.

    That is the largest |x − μ|², or up to 9 times as much, and is known for every μ from one look at the rows.
    """
    centre = x[:FIRST].mean(axis=0)
    return float((np.sqrt(np.max(np.sum((x - centre) ** 2, axis=1))) + np.linalg.norm(centre - mean)) ** 2)


def _note(score: Floats, best: float, scale: float, size: float, doubts: list[str]) -> None:
    behind = best - score
    if np.any((behind > 1e-14 * scale) & (behind < 1e-10 * scale)):
        doubts.append("a score is near the tie tolerance")
    if 1e-26 * scale < best < 1e-16 * scale:
        doubts.append("the best score is near the zero tolerance")
    if 0 < scale < 1e-20 * size:
        doubts.append("the rows differ from the mean by rounding only")
