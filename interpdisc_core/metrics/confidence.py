"""How certain a score is: intervals over classes, over draws, and for two methods on the same draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from interpdisc_core._types import FloatArray
from interpdisc_core.metrics.discovery import oracle_curve

RESAMPLES = 2000
"""Bootstrap resamples of an interval."""
LEVEL = 0.95
"""Coverage of an interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean of some numbers, and a confidence interval of that mean.

    Attributes:
        count: How many numbers.
        mean: Their mean; NaN if there are none.
        sd: Their sample standard deviation (n − 1); NaN for fewer than two, like the next two.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    count: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Method a compared with method b on the same draws.

    Attributes:
        draws: How many draws.
        difference: Mean of a − b.
        win_rate: Share of draws in which a scores higher, 0 to 1; ties count half.
        low: Lower end of the interval of `difference`.
        high: Upper end of the interval of `difference`.
    """

    draws: int
    difference: float
    win_rate: float
    low: float
    high: float


def bootstrap_nauc_interval(
    first_picks: Mapping[str, int],
    classes: int,
    t: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    pick_count: int | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of nAUC_t over classes, as if they were a sample of all possible classes.

    A class found at pick f ≤ t adds t − f + 1 to the area, whatever the others do: nAUC = 100 Σ_c max(0, t − f_c + 1)
    / Σ_i min(i, n). So classes are resampled, n of n. The selection is not repeated: this is no interval over draws,
    for which other picks would be made.

    Args:
        first_picks: By class found, its first pick, from 1; see `interpdisc_core.metrics.discovery.find_first_picks`.
        classes: n, all classes, those not found included.
        t: Picks that count.
        resamples: Number of resamples.
        seed: Of the resampling.
        level: Coverage, 0 to 1.
        pick_count: Number of picks if the selection stopped before t: then a class adds `pick_count` − f + 1, as
            `nauc` counts it. None: t.

    Returns:
        Low and high, 0 to 100; cut off at 100, which resamples of a nearly perfect run exceed. (0, 0) without classes.
    """
    if not classes or not t:
        return 0.0, 0.0
    reachable_picks, area_by_class = t if pick_count is None else min(pick_count, t), np.zeros(classes)
    # Sorted, so that the interval does not depend on the order of the classes.
    firsts = np.array(sorted(first_picks.values()), dtype=np.int64)
    area_by_class[: len(first_picks)] = np.maximum(0, reachable_picks + 1 - firsts)
    areas = _resample_counts(classes, resamples, seed) @ area_by_class
    return _percentiles(np.minimum(100.0 * areas / oracle_curve(classes, t).sum(), 100.0), level)


def estimate_mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean, standard deviation and Student's t-interval of the mean over draws, which are taken as independent.

    Example:
        >>> interval = estimate_mean_interval([80.0, 82.0, 81.0])
        >>> interval.mean, round(interval.low, 1), round(interval.high, 1)
        (81.0, 78.5, 83.5)
    """
    numbers, nan = np.asarray(values, dtype=np.float64), float("nan")
    if len(numbers) < 2:
        return Interval(len(numbers), float(numbers.mean()) if len(numbers) else nan, nan, nan, nan)
    mean, sd = float(numbers.mean()), float(numbers.std(ddof=1))
    half = float(stdtrit(len(numbers) - 1, (1 + level) / 2)) * sd / float(np.sqrt(len(numbers)))
    return Interval(len(numbers), mean, sd, mean - half, mean + half)


def compare_paired_draws(
    a: Sequence[float], b: Sequence[float], resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> PairedComparison:
    """Compare two methods by their scores on the same draws, in the same order.

    The interval is a percentile bootstrap of the mean difference over draws; with few draws it is too narrow.

    Raises:
        ValueError: If the two do not have the same number of scores, or none.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"expected two lists of scores of one length, at least 1; got lengths {len(a)} and {len(b)}")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    win_rate = float(((differences > 0) + 0.5 * (differences == 0)).mean())
    means = _resample_counts(len(differences), resamples, seed) @ differences / len(differences)
    return PairedComparison(len(differences), float(differences.mean()), win_rate, *_percentiles(means, level))


def _resample_counts(count: int, resamples: int, seed: int) -> FloatArray:
    """How often each of `count` items is in each resample with replacement (resamples, count)."""
    counts = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return counts.astype(np.float64)


def _percentiles(values: FloatArray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
