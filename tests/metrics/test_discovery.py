"""Discovery curves and nAUC: the oracle scores 100, expectations are exact, and the 2018 variant equals the script's."""

import itertools
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.metrics.discovery import (
    classes_found_at,
    discovery_curve,
    evaluate_discovery,
    expected_random_curve,
    nauc,
    nauc_whi2018,
    oracle_curve,
    random_curve_sd,
)

BALANCED = [str(c) for c in range(20) for _ in range(50)]
UNBALANCED = [str(c) for c in range(10) for _ in range(50)] + [f"rare {c}" for c in range(10)]
MARS = [
    2684,
    998,
    506,
    371,
    277,
    200,
    193,
    176,
    162,
    153,
    137,
    117,
    111,
    86,
    80,
    71,
    68,
    68,
    66,
    59,
    36,
    26,
    24,
    22,
    21,
]


def random_nauc(labels: list[str | None], t: int) -> float:
    """Expected nAUC_t of a random order."""
    return nauc(expected_random_curve(labels, t), len({label for label in labels if label}), t)


@pytest.mark.parametrize(("classes", "t"), [(1, 1), (20, 300), (25, 300), (25, 10), (25, 25), (3, 1)])
def test_a_perfect_run_scores_100(classes: int, t: int) -> None:
    """A new class at every pick until there are no more; also for t below the number of classes."""
    assert nauc(oracle_curve(classes, t), classes, t) == 100.0


@pytest.mark.parametrize(("classes", "ceiling"), [(20, 99.66), (25, 99.65)])
def test_a_perfect_run_scores_less_than_100_by_the_2018_script(classes: int, ceiling: float) -> None:
    """The script leaves the last term out: 100 (1 − n / Σ min(i, n)), the ceilings of the paper's tables."""
    score = nauc_whi2018(oracle_curve(classes, 300), classes, 300)
    assert score == pytest.approx(
        100 * (1 - classes / (classes * (classes + 1) / 2 + classes * (300 - classes))), abs=1e-12
    )
    assert round(score or 0, 2) == ceiling


def test_the_2018_form_is_the_definition_without_its_last_term() -> None:
    """Adding 100 c(t) / Σ min(i, n) gives the definition; for t below n it is None."""
    curve = discovery_curve(["a", "b", "a", "c", "a", "d"])
    assert (nauc_whi2018(curve, 5, 6) or 0) + 100 * curve[-1] / oracle_curve(5, 6).sum() == pytest.approx(
        nauc(curve, 5, 6)
    )
    assert nauc_whi2018(curve, 5, 4) is None


def test_the_random_expectation_of_the_papers_sets() -> None:
    """Expected random nAUC at t = 300: 96.86 for 20 x 50, 65.32 for 10 x 50 + 10 x 1."""
    assert round(random_nauc(BALANCED, 300), 2) == 96.86
    assert round(random_nauc(UNBALANCED, 300), 2) == 65.32


def test_the_random_expectation_on_mars() -> None:
    """The Mars set, by the sizes of its 25 classes: 77.48 at t = 300, and 77.16 by the 2018 script."""
    assert (sum(MARS), len(MARS)) == (6712, 25)
    curve = expected_random_curve([str(c) for c, size in enumerate(MARS) for _ in range(size)], 300)
    assert round(nauc(curve, 25, 300), 2) == 77.48
    assert round(nauc_whi2018(curve, 25, 300) or 0, 2) == 77.16


def test_the_random_expectation_in_closed_form() -> None:
    """Of a, a, b: one class after one pick, 1 + 2/3 after two, both after three."""
    np.testing.assert_allclose(expected_random_curve(["a", "a", "b"], 3), [1, 5 / 3, 2], rtol=1e-12)
    np.testing.assert_allclose(expected_random_curve(["a", "b", "c", "d"], 4), [1, 2, 3, 4], rtol=1e-12)
    np.testing.assert_allclose(expected_random_curve(["a"] * 9, 9), np.ones(9), rtol=1e-12)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6))
def test_the_random_expectation_is_the_mean_over_all_orders(labels: list[str | None]) -> None:
    """Exactly: all permutations of up to six rows, rows without a label among them."""
    curves = [discovery_curve(order) for order in itertools.permutations(labels)]
    np.testing.assert_allclose(expected_random_curve(labels, len(labels)), np.mean(curves, axis=0), rtol=0, atol=1e-12)


def test_the_random_expectation_agrees_with_shuffling() -> None:
    """2,000 seeded shuffles of the unbalanced set agree within four standard errors, at every pick."""
    rng, t = np.random.default_rng(40), 200
    curves = np.array(
        [discovery_curve([UNBALANCED[i] for i in rng.permutation(len(UNBALANCED))[:t]]) for _ in range(2000)]
    )
    error = curves.std(axis=0) / sqrt(len(curves))
    assert (np.abs(curves.mean(axis=0) - expected_random_curve(UNBALANCED, t)) <= 4 * error + 1e-9).all()


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=30), st.data())
def test_a_discovery_result_is_between_0_and_the_oracle(labels: list[str | None], data: st.DataObject) -> None:
    """0 ≤ nAUC ≤ 100; curves rise by 0 or 1 and stay below the oracle; each class is found or missed."""
    picks = data.draw(st.permutations(range(len(labels))))[: data.draw(st.integers(0, len(labels)))]
    result = evaluate_discovery(labels, picks, data.draw(st.integers(1, 40)))
    assert result.t <= len(labels)
    assert result.classes == len({label for label in labels if label})
    assert 0 <= result.nauc <= 100
    assert 0 <= result.random_nauc <= 100 + 1e-9
    assert (result.curve <= result.oracle_curve[: len(result.curve)]).all()
    assert (result.random_curve <= result.oracle_curve + 1e-9).all()
    assert set(np.diff(result.curve, prepend=0)) <= {0, 1}
    assert sorted([*result.first_picks, *result.missed_classes]) == sorted({label for label in labels if label})
    for name, first in result.first_picks.items():
        assert labels[picks[first - 1]] == name
        assert name not in [labels[row] for row in picks[: first - 1]]


def test_missing_picks_count_as_finding_nothing() -> None:
    result = evaluate_discovery(["a", "b", "c", "a"], [0, 1], 4)
    assert result.curve.tolist() == [1, 2]
    assert result.nauc == pytest.approx(100 * (1 + 2) / (1 + 2 + 3 + 3))
    assert evaluate_discovery(["a", "b"], [], 2).nauc == 0


def test_only_the_first_t_picks_count() -> None:
    assert evaluate_discovery(["a", "b", "c"], [0, 1, 2], 2).nauc == 100
    assert evaluate_discovery(["a", "b", "c"], [0, 1, 2], 2).missed_classes == ["c"]


def test_rows_without_a_label_find_nothing_but_count_as_rows() -> None:
    result = evaluate_discovery([None, "a", "", "b"], [0, 1, 2, 3], 4)
    assert result.classes == 2
    assert result.curve.tolist() == [0, 1, 1, 2]
    assert result.first_picks == {"a": 2, "b": 4}
    np.testing.assert_allclose(result.random_curve, [0.5, 1, 1.5, 2], atol=1e-12)


def test_without_classes_all_scores_are_0() -> None:
    result = evaluate_discovery([None, None], [1, 0], 2)
    assert (result.classes, result.nauc, result.random_nauc, result.nauc_whi2018) == (0, 0.0, 0.0, None)
    assert evaluate_discovery([], [], 5).nauc == 0


def test_a_large_collection_does_not_overflow() -> None:
    """The binomials of a million rows exceed any float."""
    labels = ["common"] * 999_999 + ["rare"]
    expected = np.append(1, 1 + np.arange(2, 1001) / 1e6)  # one pick is one class, whichever it is
    np.testing.assert_allclose(expected_random_curve(labels, 1000), expected, rtol=0, atol=1e-12)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6))
def test_the_random_sd_is_the_deviation_over_all_orders(labels: list[str | None]) -> None:
    """Exactly: all permutations of up to six rows, rows without a label among them."""
    curves = [discovery_curve(order) for order in itertools.permutations(labels)]
    # The root of rounding: if nothing varies, 1e-16 in the variance is 1e-8 in the deviation.
    np.testing.assert_allclose(random_curve_sd(labels, len(labels)), np.std(curves, axis=0), rtol=0, atol=1e-6)


def test_the_random_sd_by_hand() -> None:
    """Of a, a, b: two picks find two classes with probability 2/3."""
    np.testing.assert_allclose(random_curve_sd(["a", "a", "b"], 3), [0, sqrt(2 / 9), 0], rtol=0, atol=1e-7)


def test_the_random_sd_agrees_with_shuffling() -> None:
    """4,000 seeded shuffles of the unbalanced set, classes of two sizes: within 10 % wherever it varies at all."""
    rng, t = np.random.default_rng(41), 200
    curves = np.array(
        [discovery_curve([UNBALANCED[i] for i in rng.permutation(len(UNBALANCED))[:t]]) for _ in range(4000)]
    )
    np.testing.assert_allclose(random_curve_sd(UNBALANCED, t), curves.std(axis=0), rtol=0.1, atol=1e-6)


def test_the_random_sd_of_a_large_collection() -> None:
    """One rare row in a million: found by i ≥ 2 picks with probability i/N, deviation √(p (1 − p)); one pick is one class."""
    p = np.append(0, np.arange(2, 1001) / 1e6)
    labels = ["common"] * 999_999 + ["rare"]
    np.testing.assert_allclose(random_curve_sd(labels, 1000), np.sqrt(p * (1 - p)), rtol=1e-6, atol=1e-7)


def test_classes_found_after_a_number_of_picks() -> None:
    assert classes_found_at({"a": 1, "b": 10, "c": 11, "d": 300}) == {10: 2, 25: 3, 50: 3, 100: 3, 300: 4}
    assert classes_found_at({"a": 3}, (2, 3)) == {2: 0, 3: 1}
    assert classes_found_at({}, (5,)) == {5: 0}
