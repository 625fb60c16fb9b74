"""Intervals: they contain the score, cover as often as they say, and do not depend on order."""

import itertools
from math import nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from interpdisc_core.metrics.confidence import bootstrap_nauc_interval, compare_paired_draws, estimate_mean_interval
from interpdisc_core.metrics.discovery import evaluate_discovery


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=30), st.data())
def test_nauc_is_a_sum_over_classes_and_lies_in_its_interval(labels: list[str | None], data: st.DataObject) -> None:
    """Each class adds the picks from its first on, up to t, independently of the others; this is resampled."""
    picked = data.draw(st.permutations(range(len(labels))))[: data.draw(st.integers(0, len(labels)))]
    result = evaluate_discovery(labels, picked, data.draw(st.integers(1, 40)))
    pick_count = len(result.curve)
    area = sum(pick_count - first + 1 for first in result.first_picks.values())
    assert result.nauc == pytest.approx(100 * area / result.oracle_curve.sum() if result.classes else 0)
    low, high = bootstrap_nauc_interval(
        result.first_picks, result.classes, result.t, level=1.0, resamples=400, pick_count=pick_count
    )
    assert low - 1e-9 <= result.nauc <= high + 1e-9


@given(st.integers(1, 4), st.integers(1, 30), st.data())
def test_a_100_percent_interval_is_the_range_over_all_resamples(classes: int, t: int, data: st.DataObject) -> None:
    """Of a few classes."""
    firsts = {
        str(number): first for number, first in enumerate(data.draw(st.sets(st.integers(1, t), max_size=classes)))
    }
    areas = [t - first + 1 for first in firsts.values()] + [0] * (classes - len(firsts))
    oracle = sum(min(i, classes) for i in range(1, t + 1))
    scores = [min(100, 100 * sum(resample) / oracle) for resample in itertools.product(areas, repeat=classes)]
    low, high = bootstrap_nauc_interval(firsts, classes, t, level=1.0, resamples=4000)  # there are at most 4⁴
    assert (low, high) == pytest.approx((min(scores), max(scores)))


def test_an_interval_over_classes_narrows_with_more_of_them() -> None:
    """A hundred classes of which half are missed, and a thousand: about √10 narrower, and 50 is in both."""
    few, many = (
        bootstrap_nauc_interval({str(c): 1 + c // 10 for c in range(classes // 2)}, classes, 10 * classes)
        for classes in (100, 1000)
    )
    assert sqrt(10) * 0.8 < (few[1] - few[0]) / (many[1] - many[0]) < sqrt(10) * 1.25
    for low, high in (few, many):
        assert low < 50 < high


def test_an_interval_over_classes_depends_on_the_seed_and_not_on_the_order() -> None:
    firsts = {"a": 1, "b": 9, "c": 30}
    assert bootstrap_nauc_interval(firsts, 5, 40) == bootstrap_nauc_interval(dict(reversed(firsts.items())), 5, 40)
    assert bootstrap_nauc_interval(firsts, 5, 40, seed=1) == bootstrap_nauc_interval(firsts, 5, 40, seed=1)
    many = {str(c): 1 + c * c // 10 for c in range(50)}
    assert bootstrap_nauc_interval(many, 60, 400, seed=1) != bootstrap_nauc_interval(many, 60, 400, seed=2)
    assert bootstrap_nauc_interval({}, 0, 10) == (0, 0)
    assert bootstrap_nauc_interval({}, 3, 10) == (0, 0)
    assert bootstrap_nauc_interval({str(c): c + 1 for c in range(20)}, 20, 300)[1] == 100


def test_a_t_interval_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, half the width 4.3027 / √3."""
    interval = estimate_mean_interval([1, 2, 3])
    assert (interval.count, interval.mean, interval.sd) == (3, 2, 1)
    assert (interval.low, interval.high) == pytest.approx((2 - 4.302653 / sqrt(3), 2 + 4.302653 / sqrt(3)))


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.floats(0.5, 0.99))
def test_a_t_interval_equals_that_of_scipy(values: list[float], level: float) -> None:
    interval = estimate_mean_interval(values, level)
    if interval.sd > 1e-9:
        theirs = stats.ttest_1samp(values, 0).confidence_interval(level)
        assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-9)
    assert interval.low <= interval.mean <= interval.high


def test_a_t_interval_covers_the_mean_at_its_level() -> None:
    """2,000 times four normal numbers: 95 % of the intervals contain the mean, within three standard errors."""
    rng = np.random.default_rng(7)
    covered = [
        interval.low <= 5 <= interval.high
        for interval in (estimate_mean_interval(rng.normal(5, 2, 4)) for _ in range(2000))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=3 * sqrt(0.95 * 0.05 / 2000))


def test_fewer_than_two_draws_have_no_interval() -> None:
    assert estimate_mean_interval([4.0]).mean == 4
    np.testing.assert_equal(
        [estimate_mean_interval([4.0]).sd, estimate_mean_interval([4.0]).low, estimate_mean_interval([]).mean],
        [nan, nan, nan],
    )


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=1, max_size=10))
def test_swapping_the_methods_changes_the_sign(pairs: list[tuple[float, float]]) -> None:
    """And the win rate is the complement."""
    a, b = [first for first, _ in pairs], [second for _, second in pairs]
    there, back = compare_paired_draws(a, b), compare_paired_draws(b, a)
    assert there.difference == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    assert there.win_rate + back.win_rate == pytest.approx(1)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)


def test_pairs_remove_the_variation_between_draws() -> None:
    """Draws differ by 10, methods by 1 in each: all are won, and the interval is narrow."""
    rng = np.random.default_rng(3)
    base = rng.normal(80, 10, 12)
    comparison = compare_paired_draws(base + 1 + rng.normal(0, 0.1, 12), base)
    assert (comparison.draws, comparison.win_rate) == (12, 1)
    assert 0.9 < comparison.low < 1 < comparison.high < 1.1
    assert compare_paired_draws([1, 2], [1, 1]).win_rate == 0.75


def test_lists_of_different_or_no_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1"):
        compare_paired_draws([1, 2], [1])
    with pytest.raises(ValueError, match="0 and 0"):
        compare_paired_draws([], [])
