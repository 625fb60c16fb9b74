"""How sure a score is: intervals over the classes of one draw, over draws, and between two methods on the same draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from interpdisc_core.evaluation import oracle_curve

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Of `values` numbers. sd: their sample standard deviation (n − 1). low to high: where their mean may truly be.

    NaN where it is not defined: the mean of none, the rest of one.
    """

    values: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """Method a against b on the same draws. difference: the mean of a − b; low to high: its interval. won: see `paired`."""

    draws: int
    difference: float
    won: float
    low: float
    high: float


def of_classes(
    firsts: Mapping[str, int], classes: int, t: int, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL,
    made: int | None = None,
) -> tuple[float, float]:  # fmt: skip
    """Percentile bootstrap interval of nAUC_t, 0 to 100, where the classes are a sample of those that there could be.

    A class found at pick f ≤ t adds t − f + 1 to the area, whatever the others do: nAUC = 100 Σ_c max(0, t − f_c + 1)
    / Σ_i min(i, n). So classes are what is resampled, n of n; the selection is not made again, so this is no interval
    over draws, which would make other picks. firsts: class -> its first pick, from 1; classes: n, those missed among
    them. made: picks, where the selection stopped before t: `nauc` counts those that it did not make as finding nothing,
    so a class adds made − f + 1. Cut off at 100, which resamples of a nearly perfect run exceed. (0, 0) where there
    are no classes.
    """
    if not classes or not t:
        return 0.0, 0.0
    reached, gained = t if made is None else min(made, t), np.zeros(classes)
    # Sorted, so that the same firsts give the same interval in whatever order they are named.
    gained[: len(firsts)] = np.maximum(0, reached + 1 - np.array(sorted(firsts.values()), dtype=np.int64))
    often = np.random.default_rng(seed).multinomial(classes, np.full(classes, 1 / classes), size=resamples)
    scores = np.minimum(100.0 * (often @ gained) / oracle_curve(classes, t).sum(), 100.0)
    return _percentiles(scores, level)


def of_draws(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean, standard deviation and Student's t-interval of the mean over draws, which are taken as independent."""
    some, nan = np.asarray(values, dtype=np.float64), float("nan")
    if len(some) < 2:
        return Interval(len(some), float(some.mean()) if len(some) else nan, nan, nan, nan)
    mean, sd = float(some.mean()), float(some.std(ddof=1))
    half = float(stdtrit(len(some) - 1, (1 + level) / 2)) * sd / float(np.sqrt(len(some)))
    return Interval(len(some), mean, sd, mean - half, mean + half)


def paired(
    a: Sequence[float], b: Sequence[float], resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Paired:  # fmt: skip
    """Compare two methods on the same draws, in the same order. won: the share of draws in which a scores more, ties half.

    The interval is a percentile bootstrap of the mean difference over draws; with few draws it is too narrow.
    Raises ValueError where there are not as many of one as of the other, or none.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"pairs need as many scores of both, and at least one, not {len(a)} and {len(b)}")
    step = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    often = np.random.default_rng(seed).multinomial(len(step), np.full(len(step), 1 / len(step)), size=resamples)
    won = float(((step > 0) + 0.5 * (step == 0)).mean())
    return Paired(len(step), float(step.mean()), won, *_percentiles(often @ step / len(step), level))


def _percentiles(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
