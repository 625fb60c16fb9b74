"""Ranking novel rows first: expectations are means over all orders, ties are means over their orders."""

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from interpdisc_core.metrics.outlier_ranking import (
    expected_average_precision,
    expected_mdr,
    expected_mdr_attainable,
    expected_precision,
    mdr,
    mdr_attainable,
    precision_at,
    ranking_scores,
    score_outliers,
)

NOVEL = st.lists(st.booleans(), min_size=1, max_size=30)
SMALL = [(novel, rows) for rows in range(1, 7) for novel in range(rows + 1)]


def orders(novel: int, rows: int) -> list[list[bool]]:
    """All orders of `novel` novel rows among `rows`, equally likely."""
    return [[position in chosen for position in range(rows)] for chosen in itertools.combinations(range(rows), novel)]


def test_scores_by_hand() -> None:
    """Novel, not, novel, not, of which two in all: f = 1, 1, 2, 2."""
    order = [True, False, True, False]
    assert precision_at(order, 2) == 0.5
    assert mdr(order) == (1 + 1 + 2 + 2) / (0 + 1 + 2 + 3)
    assert mdr_attainable(order, 2) == (1 + 1 + 2 + 2) / (1 + 2 + 2 + 2)
    roc, average = ranking_scores(order, [0, 1, 2, 3])
    assert roc == pytest.approx(3 / 4)  # of the four pairs of a novel row and another, three are in order
    assert average == pytest.approx((1 + 2 / 3) / 2)


def test_mdr_of_doras_dark_energy_survey() -> None:
    """25,339 outliers of 100,000: an oracle has MDR p(2 − p) = 0.443, chance 0.253, which is 57 % of it."""
    rows, novel = 100_000, 25_339
    best = mdr([True] * novel + [False] * (rows - novel)) or 0
    assert best == pytest.approx(0.443, abs=5e-4)
    assert expected_mdr(novel, rows, rows) == pytest.approx(0.253, abs=5e-4)
    assert expected_precision(novel, rows) == pytest.approx(0.253, abs=5e-4)
    assert expected_mdr_attainable(novel, rows, rows) == pytest.approx(0.253 / 0.443, abs=2e-3)


@pytest.mark.parametrize(("novel", "rows"), SMALL)
def test_random_expectations_are_means_over_all_orders(novel: int, rows: int) -> None:
    """Exactly, of every measure and every number of picks."""
    all_orders = orders(novel, rows)
    assert len(all_orders) == comb(rows, novel)
    for pick_count in range(1, rows + 1):
        assert np.mean([precision_at(order, pick_count) for order in all_orders]) == pytest.approx(
            expected_precision(novel, rows)
        )
        if pick_count > 1:
            assert np.mean([mdr(order[:pick_count]) for order in all_orders]) == pytest.approx(
                expected_mdr(novel, rows, pick_count)
            )
        if novel:
            mean = np.mean([mdr_attainable(order[:pick_count], novel) for order in all_orders])
            assert mean == pytest.approx(expected_mdr_attainable(novel, rows, pick_count))
    if novel:
        scores = [ranking_scores(order, range(rows)) for order in all_orders]
        assert np.mean([average for _, average in scores]) == pytest.approx(expected_average_precision(novel, rows))
        if novel < rows:
            assert np.mean([roc for roc, _ in scores]) == pytest.approx(0.5)


@given(NOVEL)
def test_a_full_ranking_is_scored_as_scikit_learn_scores_it(novel: list[bool]) -> None:
    picks = np.random.default_rng(len(novel)).permutation(len(novel)).tolist()
    roc, average = ranking_scores(novel, picks)
    falling = np.empty(len(novel))
    falling[picks] = -np.arange(len(novel))
    if any(novel):
        assert average == pytest.approx(average_precision_score(novel, falling))
    if any(novel) and not all(novel):
        assert roc == pytest.approx(roc_auc_score(novel, falling))


@given(NOVEL, st.data())
def test_rows_without_a_pick_are_tied_for_roc_as_in_scikit_learn(novel: list[bool], data: st.DataObject) -> None:
    picks = data.draw(st.permutations(range(len(novel))))[: data.draw(st.integers(0, len(novel)))]
    falling = np.full(len(novel), -float(len(novel)))
    falling[picks] = -np.arange(len(picks), dtype=float)
    roc, _ = ranking_scores(novel, picks)
    if any(novel) and not all(novel):
        assert roc == pytest.approx(roc_auc_score(novel, falling))
    else:
        assert roc is None


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_rows_without_a_pick_count_as_the_mean_over_their_orders(novel: list[bool], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(novel))))
    pick_count = data.draw(st.integers(0, len(novel)))
    picks, rest = order[:pick_count], order[pick_count:]
    scores = [ranking_scores(novel, [*picks, *tail]) for tail in itertools.permutations(rest)]
    roc, average = ranking_scores(novel, picks)
    if any(novel):
        assert average == pytest.approx(np.mean([score for _, score in scores]))
    if roc is not None:
        assert roc == pytest.approx(np.mean([score for score, _ in scores]))


@given(NOVEL, st.data())
def test_no_order_scores_above_the_oracle(novel: list[bool], data: st.DataObject) -> None:
    """Novel rows first: 1 in every score that can attain it."""
    rows, count = len(novel), sum(novel)
    best = score_outliers(novel, sorted(range(rows), key=lambda row: not novel[row]))
    scores = score_outliers(novel, data.draw(st.permutations(range(rows))))
    if count:
        assert (best.precision, best.mdr_attainable, best.average_precision) == pytest.approx((1, 1, 1))
        for name in ("precision", "mdr_attainable", "average_precision"):
            assert 0 <= getattr(scores, name) <= 1 + 1e-12
    if rows > 1:
        assert (scores.mdr or 0) <= (best.mdr or 0)


def test_missing_picks_count_as_finding_nothing_and_mdr_is_over_the_others() -> None:
    scores = score_outliers([True, True, True, False], [0, 3])
    assert (scores.novel, scores.found, scores.precision) == (3, 1, pytest.approx(1 / 3))
    assert scores.mdr == (1 + 1) / (0 + 1)
    assert scores.mdr_attainable == (1 + 1) / (1 + 2)


def test_without_novel_rows_scores_are_0_or_none() -> None:
    scores = score_outliers([False, False], [1, 0])
    assert (scores.precision, scores.mdr, scores.mdr_random) == (0, 0, 0)
    assert (scores.mdr_attainable, scores.roc_auc, scores.average_precision) == (None, None, None)
    assert score_outliers([], []).as_dict()["mdr"] is None


def test_a_row_picks_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        score_outliers([True, False], [0, 0])


def test_a_summary_has_plain_numbers() -> None:
    summary = score_outliers([True, False, False], [0]).as_dict()
    assert summary["roc_auc"] == 1.0
    assert set(map(type, summary.values())) <= {int, float, type(None)}
