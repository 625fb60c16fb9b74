"""Intervals: what they are of is the score itself, and they hold what they promise."""

import itertools
from math import nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from interpdisc_core.evaluation import discovery
from interpdisc_core.intervals import of_classes, of_draws, paired


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=30), st.data())
def test_nauc_is_a_sum_over_classes(labels: list[str | None], data: st.DataObject) -> None:
    """Each class adds the picks from its first on, up to t, whatever the others do; this is what is resampled."""
    picked = data.draw(st.permutations(range(len(labels))))[: data.draw(st.integers(0, len(labels)))]
    found = discovery(labels, picked, data.draw(st.integers(1, 40)))
    made = len(found.curve)
    gained = sum(made - first + 1 for first in found.firsts.values())
    assert found.exact == pytest.approx(100 * gained / found.oracle.sum() if found.classes else 0)
    low, high = of_classes(found.firsts, found.classes, found.t, level=1.0, resamples=400, made=made)
    assert low - 1e-9 <= found.exact <= high + 1e-9


@given(st.integers(1, 4), st.integers(1, 30), st.data())
def test_every_resample_of_a_few_classes(classes: int, t: int, data: st.DataObject) -> None:
    """The ends of a 100 % interval are the lowest and the highest score of all resamples, which are few."""
    firsts = {
        str(number): first for number, first in enumerate(data.draw(st.sets(st.integers(1, t), max_size=classes)))
    }
    gained = [t - first + 1 for first in firsts.values()] + [0] * (classes - len(firsts))
    oracle = sum(min(i, classes) for i in range(1, t + 1))
    scores = [min(100, 100 * sum(some) / oracle) for some in itertools.product(gained, repeat=classes)]
    low, high = of_classes(firsts, classes, t, level=1.0, resamples=4000)  # 4⁴ there are, at most
    assert (low, high) == pytest.approx((min(scores), max(scores)))


def test_an_interval_over_classes_narrows_with_more_of_them() -> None:
    """A hundred classes of which half is missed, and a thousand: about √10 narrower, and 50 within both."""
    few, many = (
        of_classes({str(c): 1 + c // 10 for c in range(classes // 2)}, classes, 10 * classes) for classes in (100, 1000)
    )
    assert sqrt(10) * 0.8 < (few[1] - few[0]) / (many[1] - many[0]) < sqrt(10) * 1.25
    for low, high in (few, many):
        assert low < 50 < high


def test_an_interval_over_classes_is_seeded_and_in_no_order() -> None:
    firsts = {"a": 1, "b": 9, "c": 30}
    assert of_classes(firsts, 5, 40) == of_classes(dict(reversed(firsts.items())), 5, 40)
    assert of_classes(firsts, 5, 40, seed=1) == of_classes(firsts, 5, 40, seed=1)
    many = {str(c): 1 + c * c // 10 for c in range(50)}
    assert of_classes(many, 60, 400, seed=1) != of_classes(many, 60, 400, seed=2)
    assert of_classes({}, 0, 10) == (0, 0)
    assert of_classes({}, 3, 10) == (0, 0)
    assert of_classes({str(c): c + 1 for c in range(20)}, 20, 300)[1] == 100


def test_a_t_interval_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, half the width 4.3027 / √3."""
    found = of_draws([1, 2, 3])
    assert (found.values, found.mean, found.sd) == (3, 2, 1)
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / sqrt(3), 2 + 4.302653 / sqrt(3)))


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.floats(0.5, 0.99))
def test_a_t_interval_is_scipys(values: list[float], level: float) -> None:
    found = of_draws(values, level)
    if found.sd > 1e-9:
        theirs = stats.ttest_1samp(values, 0).confidence_interval(level)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-9)
    assert found.low <= found.mean <= found.high


def test_a_t_interval_covers_as_often_as_it_says() -> None:
    """2,000 times four normal numbers: 95 % of intervals hold the mean, within three standard errors."""
    rng = np.random.default_rng(7)
    held = [found.low <= 5 <= found.high for found in (of_draws(rng.normal(5, 2, 4)) for _ in range(2000))]
    assert np.mean(held) == pytest.approx(0.95, abs=3 * sqrt(0.95 * 0.05 / 2000))


def test_of_one_draw_and_of_none() -> None:
    assert of_draws([4.0]).mean == 4
    np.testing.assert_equal([of_draws([4.0]).sd, of_draws([4.0]).low, of_draws([]).mean], [nan, nan, nan])


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=1, max_size=10))
def test_pairs_turned_round(pairs: list[tuple[float, float]]) -> None:
    """b against a is a against b with the sign turned; the share of draws won is what is left of 1."""
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    there, back = paired(a, b), paired(b, a)
    assert there.difference == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    assert there.won + back.won == pytest.approx(1)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)


def test_pairs_take_out_what_draws_share() -> None:
    """Draws differ by 10, methods by 1 in each: won in all, and the interval is nowhere near as wide as the draws."""
    rng = np.random.default_rng(3)
    base = rng.normal(80, 10, 12)
    found = paired(base + 1 + rng.normal(0, 0.1, 12), base)
    assert (found.draws, found.won) == (12, 1)
    assert 0.9 < found.low < 1 < found.high < 1.1
    assert paired([1, 2], [1, 1]).won == 0.75


def test_pairs_need_pairs() -> None:
    with pytest.raises(ValueError, match="2 and 1"):
        paired([1, 2], [1])
    with pytest.raises(ValueError, match="0 and 0"):
        paired([], [])
