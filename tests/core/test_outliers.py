"""Finding what is named as novel: expectations are means over every order, ties are what shuffling them gives."""

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from interpdisc_core.outliers import (
    expected_average_precision,
    expected_mdr,
    expected_mdr_attainable,
    expected_precision,
    mdr,
    mdr_attainable,
    outliers,
    precision_at,
    ranking_scores,
)

NOVEL = st.lists(st.booleans(), min_size=1, max_size=30)
SMALL = [(novel, rows) for rows in range(1, 7) for novel in range(rows + 1)]


def orders(novel: int, rows: int) -> list[list[bool]]:
    """Every order of so many novel rows among all: each as likely as another."""
    return [[place in chosen for place in range(rows)] for chosen in itertools.combinations(range(rows), novel)]


def test_by_hand() -> None:
    """Novel, not, novel, not, of which two in all: f = 1, 1, 2, 2."""
    order = [True, False, True, False]
    assert precision_at(order, 2) == 0.5
    assert mdr(order) == (1 + 1 + 2 + 2) / (0 + 1 + 2 + 3)
    assert mdr_attainable(order, 2) == (1 + 1 + 2 + 2) / (1 + 2 + 2 + 2)
    roc, average = ranking_scores(order, [0, 1, 2, 3])
    assert roc == pytest.approx(3 / 4)  # of the four pairs of a novel row and another, three are in order
    assert average == pytest.approx((1 + 2 / 3) / 2)


def test_dora_on_the_dark_energy_survey() -> None:
    """25,339 outliers of 100,000: an oracle has MDR p(2 − p) = 0.443, chance 0.253, which is 57 % of it."""
    rows, novel = 100_000, 25_339
    best = mdr([True] * novel + [False] * (rows - novel)) or 0
    assert best == pytest.approx(0.443, abs=5e-4)
    assert expected_mdr(novel, rows, rows) == pytest.approx(0.253, abs=5e-4)
    assert expected_precision(novel, rows) == pytest.approx(0.253, abs=5e-4)
    assert expected_mdr_attainable(novel, rows, rows) == pytest.approx(0.253 / 0.443, abs=2e-3)


@pytest.mark.parametrize(("novel", "rows"), SMALL)
def test_chance_is_the_mean_over_every_order(novel: int, rows: int) -> None:
    """Exactly, of every measure and every number of picks."""
    every = orders(novel, rows)
    assert len(every) == comb(rows, novel)
    for made in range(1, rows + 1):
        assert np.mean([precision_at(order, made) for order in every]) == pytest.approx(expected_precision(novel, rows))
        if made > 1:
            assert np.mean([mdr(order[:made]) for order in every]) == pytest.approx(expected_mdr(novel, rows, made))
        if novel:
            mean = np.mean([mdr_attainable(order[:made], novel) for order in every])
            assert mean == pytest.approx(expected_mdr_attainable(novel, rows, made))
    if novel:
        scores = [ranking_scores(order, range(rows)) for order in every]
        assert np.mean([average for _, average in scores]) == pytest.approx(expected_average_precision(novel, rows))
        if novel < rows:
            assert np.mean([roc for roc, _ in scores]) == pytest.approx(0.5)


@given(NOVEL)
def test_a_full_ranking_is_scored_as_scikit_learn_scores_it(novel: list[bool]) -> None:
    picked = np.random.default_rng(len(novel)).permutation(len(novel)).tolist()
    roc, average = ranking_scores(novel, picked)
    falling = np.empty(len(novel))
    falling[picked] = -np.arange(len(novel))
    if any(novel):
        assert average == pytest.approx(average_precision_score(novel, falling))
    if any(novel) and not all(novel):
        assert roc == pytest.approx(roc_auc_score(novel, falling))


@given(NOVEL, st.data())
def test_rows_without_a_pick_are_tied_for_roc_as_in_scikit_learn(novel: list[bool], data: st.DataObject) -> None:
    picked = data.draw(st.permutations(range(len(novel))))[: data.draw(st.integers(0, len(novel)))]
    falling = np.full(len(novel), -float(len(novel)))
    falling[picked] = -np.arange(len(picked), dtype=float)
    roc, _ = ranking_scores(novel, picked)
    if any(novel) and not all(novel):
        assert roc == pytest.approx(roc_auc_score(novel, falling))
    else:
        assert roc is None


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_rows_without_a_pick_count_as_the_mean_over_their_orders(novel: list[bool], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(novel))))
    made = data.draw(st.integers(0, len(novel)))
    picked, rest = order[:made], order[made:]
    whole = [ranking_scores(novel, [*picked, *tail]) for tail in itertools.permutations(rest)]
    roc, average = ranking_scores(novel, picked)
    if any(novel):
        assert average == pytest.approx(np.mean([score for _, score in whole]))
    if roc is not None:
        assert roc == pytest.approx(np.mean([score for score, _ in whole]))


@given(NOVEL, st.data())
def test_no_order_beats_the_oracle(novel: list[bool], data: st.DataObject) -> None:
    """Novel rows first: 1 in everything that can attain it, and no other order has more."""
    rows, count = len(novel), sum(novel)
    best = outliers(novel, sorted(range(rows), key=lambda row: not novel[row]))
    some = outliers(novel, data.draw(st.permutations(range(rows))))
    if count:
        assert (best.precision, best.mdr_attainable, best.average_precision) == pytest.approx((1, 1, 1))
        for name in ("precision", "mdr_attainable", "average_precision"):
            assert 0 <= getattr(some, name) <= 1 + 1e-12
    if rows > 1:
        assert (some.mdr or 0) <= (best.mdr or 0)


def test_fewer_picks_than_novel_rows() -> None:
    """Picks that were not made found nothing; MDR is over those that were."""
    found = outliers([True, True, True, False], [0, 3])
    assert (found.novel, found.found, found.precision) == (3, 1, pytest.approx(1 / 3))
    assert found.mdr == (1 + 1) / (0 + 1)
    assert found.mdr_attainable == (1 + 1) / (1 + 2)


def test_nothing_is_novel() -> None:
    """No measure that would divide by nothing."""
    found = outliers([False, False], [1, 0])
    assert (found.precision, found.mdr, found.mdr_random) == (0, 0, 0)
    assert (found.mdr_attainable, found.roc_auc, found.average_precision) == (None, None, None)
    assert outliers([], []).summary()["mdr"] is None


def test_a_row_is_picked_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        outliers([True, False], [0, 0])


def test_a_summary_is_what_a_table_holds() -> None:
    told = outliers([True, False, False], [0]).summary()
    assert told["roc_auc"] == 1.0
    assert set(map(type, told.values())) <= {int, float, type(None)}
