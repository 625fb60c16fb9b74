"""The leading subspace of rows too wide for second moments: that of a dense SVD, within the stated error, in any chunks."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
from hypothesis import assume, example, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Demud, Rows
from interpdisc_core.selectors.decision import Subspace
from interpdisc_core.selectors.exact import lanczos
from interpdisc_core.selectors.exact import moments as module
from interpdisc_core.selectors.exact.moments import fit_leading_subspace, sum_moments
from interpdisc_core.selectors.rows import ArrayRows, as_rows
from tests.helpers import literal_demud
from tests.helpers.strategies import (
    DTYPES,
    METHODS,
    STORES,
    SelectionProblem,
    SpyRows,
    comparable_choices,
    draw_problems,
    examples,
    make_clusters,
    run_selector,
    small_blocks,
    store_values,
)
from tests.selectors.test_demud import assert_agree, select_literally

Floats = npt.NDArray[np.float64]


@contextmanager
def all_rows_wide() -> Iterator[None]:
    """Rows of any width count as too wide for second moments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_DENSE_FEATURES", 0)
        yield


def fit(rows: Rows | Floats, rank: int, variance: float | None = None) -> tuple[Subspace, float]:
    """The model of all rows and the error of its axes."""
    rows = as_rows(rows)
    center = rows.get(np.arange(min(5, rows.shape[0]))).astype(np.float64).mean(axis=0)
    moments = sum_moments(rows, 0, rows.shape[0], center, module.needs_scatter(rows))
    return fit_leading_subspace(rows, moments, center, rank, variance)


def make_spectrum(values: npt.ArrayLike, count: int, dimension: int, seed: int = 0) -> Floats:
    """Rows (count, dimension), not centered, with these singular values about their mean."""
    rng, values = np.random.default_rng(seed), np.asarray(values)
    left = rng.normal(size=(count, len(values)))
    left = np.linalg.qr(left - left.mean(axis=0))[0]
    right = np.linalg.qr(rng.normal(size=(dimension, len(values))))[0]
    return (left * values) @ right.T + rng.normal(size=dimension)


def axes_of(x: Floats, rank: int) -> Floats:
    """The leading axes (rank, d), by a dense SVD."""
    # Not by `gesdd`, NumPy's driver: with some kernels of OpenBLAS it does not converge for some rank-deficient matrices.
    axes: Floats = scipy.linalg.svd(x - x.mean(axis=0), full_matrices=False, lapack_driver="gesvd")[2][:rank]
    return axes


def sine(axes: Floats, other: Floats) -> float:
    """Of the largest angle between two subspaces, given by their axes."""
    return float(np.linalg.norm(axes - (axes @ other.T) @ other, 2))


# As near as is stated


@examples(6)
@given(
    st.sampled_from([(600, 150), (150, 600), (300, 300)]),
    st.floats(0.2, 2),
    st.sampled_from([1, 7, 40]),
    st.integers(0, 99),
)
@example((600, 150), 2.0, 40, 0)
def test_a_clear_gap_is_found_to_rounding(shape: tuple[int, int], fall: float, rank: int, seed: int) -> None:
    """Values that fall as a power, with a tenth more behind the cut: the subspace of the SVD, with an error below 1e-6.

    That is what rounding leaves if the values at the cut are 1e-3 of the largest or more.
    """
    values = np.arange(1.0, 149) ** -fall
    values[rank:] *= 0.9
    x = make_spectrum(values, *shape, seed)
    with all_rows_wide():
        model, axis_error = fit(x, rank)
    dense, dense_error = fit(x, rank)
    assert len(model.axes) == rank
    np.testing.assert_allclose(model.axes @ model.axes.T, np.eye(rank), atol=1e-13)
    np.testing.assert_allclose(model.mean, x.mean(axis=0), atol=1e-14)
    assert sine(axes_of(x, rank), model.axes) <= axis_error + 1e-14
    assert axis_error <= max(1e-8, 3 * dense_error) <= 1e-6
    assert sine(dense.axes, model.axes) <= axis_error + dense_error


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(-15, -1),
    st.floats(0.1, 10),
    st.booleans(),
    st.integers(0, 5),
    st.integers(1, 12),
    st.sampled_from((40, 2048)),
)
def test_the_axis_error_is_an_upper_bound(
    seed: int, rank: int, gap: int, factor: float, tall: bool, decades: int, passes: int, columns: int
) -> None:
    """The sine to the subspace of a dense SVD is at most the axis error, with any number of passes and of directions kept.

    Values fall over `decades`; those at the cut are apart by any part from 1e-15 to 1.
    """
    values = np.geomspace(1, 10.0**-decades, 70) * np.linspace(1, 0.9, 70)
    values[rank:] = np.minimum(values[rank:], values[rank - 1] * (1 - min(factor * 10.0**gap, 0.99)))
    values[rank] = values[rank - 1] * (1 - min(factor * 10.0**gap, 0.99))
    x = make_spectrum(np.sort(values)[::-1], *((200, 90) if tall else (90, 200)), seed)
    with all_rows_wide(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_block_lanczos", partial(lanczos.run_block_lanczos, passes=passes))
        patch.setattr(lanczos, "_MAX_COLUMNS", columns)
        model, axis_error = fit(x, rank)
    assert len(model.axes) == rank or axis_error == 1
    assert sine(axes_of(x, len(model.axes)), model.axes) <= axis_error + 1e-14


@pytest.mark.parametrize("apart", [0.0, 1e-14])
@pytest.mark.parametrize(("count", "dimension"), [(400, 90), (90, 400)])
def test_an_unclear_gap_has_a_large_axis_error(count: int, dimension: int, apart: float) -> None:
    """If two values at the cut are equal any axis is right: the first pick has near ties. One further, it is certain."""
    x = make_spectrum([3, 2, 1, 1 - apart, *np.linspace(0.5, 0.1, 60)], count, dimension)
    with all_rows_wide():
        assert fit(x, 3)[1] == 1.0
        assert fit(x, 4)[1] < 1e-9
        ties = [run_selector(Demud(rank=rank), x, picks=1)[0].near_ties for rank in (3, 4)]
    assert ties[0] > 0
    assert ties[1] == 0


def test_the_axis_error_falls_with_more_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flat spectrum after more and more passes: the axis error falls, and is never below the true one."""
    x = make_spectrum(np.linspace(1, 0.8, 280), 300, 400)
    axis_errors = []
    for passes in (2, 4, 8, 12):
        monkeypatch.setattr(module, "run_block_lanczos", partial(lanczos.run_block_lanczos, passes=passes))
        with all_rows_wide():
            model, axis_error = fit(x, 10)
        assert sine(axes_of(x, 10), model.axes) <= axis_error
        axis_errors.append(axis_error)
    assert axis_errors[0] == 1
    assert axis_errors == sorted(axis_errors, reverse=True)


@pytest.mark.parametrize("columns", [1, 100, 150])
def test_keeping_few_directions_changes_no_subspace(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the best directions replace all others now and then, the subspace is the same, within its error."""
    x = make_spectrum(np.arange(1.0, 280) ** -0.7, 300, 400)
    monkeypatch.setattr(lanczos, "_MAX_COLUMNS", columns)
    with all_rows_wide():
        model, axis_error = fit(x, 12)
    assert sine(axes_of(x, 12), model.axes) <= axis_error < 1e-8


# The definition's picks


@given(draw_problems())
def test_picks_equal_the_literal_definition(problem: SelectionProblem) -> None:
    """For any features, method, rank (also beyond that of the rows) and start: picks, near ties, scores, x̂, r and μ."""
    expected = select_literally(problem.settings, problem.features)
    assume(not expected.doubts)
    with all_rows_wide():
        assert_agree(run_selector(problem.settings, problem.features), expected, problem.features)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(500, 130), (130, 500)])
def test_picks_equal_the_literal_definition_if_several_passes_are_needed(method: Any, shape: tuple[int, int]) -> None:
    """30 picks of clustered rows, k = 6."""
    x, options = make_clusters(*shape, seed=1).astype(np.float32), Demud(method=method, rank=6)
    expected = select_literally(options, x, picks=30)
    assert not expected.doubts
    with all_rows_wide():
        assert_agree(run_selector(options, x, picks=30), expected, x)


@pytest.mark.parametrize("rank", range(1, 8))
def test_a_steep_spectrum_is_truncated_where_the_definition_truncates_it(rank: int) -> None:
    """Values that fall tenfold each, 1 … 1e-6, which their squares alone would not resolve."""
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(n, 7)))[0] for n in (80, 60))
    x = (left * 10.0 ** -np.arange(7)) @ right.T
    expected = literal_demud.select_literally(x, x[:0], method="static", rank=rank, start="svd", picks=40)
    with all_rows_wide():
        choices = run_selector(Demud(method="static", rank=rank), x, picks=40)
    if rank < 7:  # with all of it in the model, only rounding is left
        for choice, pick in zip(choices, expected.picks, strict=True):
            assert choice.row == pick.row
            assert choice.score == pytest.approx(pick.score, rel=0, abs=1e-9 * expected.picks[0].score)
    else:
        assert choices[0].score < 1e-20


@pytest.mark.parametrize("value", [0.0, 1.0, 1e6])
def test_equal_rows_have_no_direction(value: float) -> None:
    """Only rounding is left of them: no axis, and a limited number of passes."""
    spy = SpyRows(ArrayRows(np.full((50, 30), value)))
    with all_rows_wide():
        model, _ = fit(spy, 5)
    assert not len(model.axes)
    assert spy.read_counts.max() <= 2 + lanczos.MAX_PASSES


def test_a_missing_value_counts_as_the_mean_of_its_feature() -> None:
    x = make_clusters(200, 40, seed=2)
    x[np.random.default_rng(2).random(x.shape) < 0.05] = np.nan
    expected = literal_demud.select_literally(x, x[:0], method="full", rank=4, start="svd", picks=20, missing="ignore")
    assert not expected.doubts
    with all_rows_wide():
        assert_agree(run_selector(Demud(rank=4, missing="ignore"), x, picks=20), expected, np.nan_to_num(x))


# The same to the bit


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_no_store_and_no_threads_change_a_bit(kind: str, threads: int) -> None:
    """The same values in any store and chunks, copied by one thread or three: the same model, error and picks."""
    stored = store_values(make_clusters(300, 60, seed=3), kind)
    with all_rows_wide(), small_blocks(16):
        model, axis_error = fit(stored.rows("array"), 5)
        choices = run_selector(Demud(rank=5), stored.rows("array"), picks=8)
        for store in STORES:
            other_model, other_error = fit(stored.rows(store), 5)
            assert other_model.axes.tobytes() == model.axes.tobytes()
            assert other_model.mean.tobytes() == model.mean.tobytes()
            assert other_error == axis_error
            others = run_selector(Demud(rank=5), stored.rows(store), picks=8, threads=threads)
            assert comparable_choices(others) == comparable_choices(choices)


# A part of the variance


@pytest.mark.parametrize("variance", [0.1, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("shape", [(400, 90), (90, 400)])
def test_the_least_number_of_directions_that_hold_a_part(variance: float, shape: tuple[int, int]) -> None:
    """As many as in the definition, in the same subspace, whatever k is."""
    x = make_spectrum(np.arange(1.0, 80) ** -0.8, *shape)
    count = literal_demud.rank_for_variance(x, variance, [])
    with all_rows_wide():
        model, axis_error = fit(x, 3, variance)
    assert len(model.axes) == count
    assert sine(axes_of(x, count), model.axes) <= axis_error < 1e-8


def test_too_many_directions_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the part, the number, what they hold, and what to do; second moments have no such limit."""
    monkeypatch.setattr(module, "MAX_DIRECTIONS", 20)
    x = make_spectrum(np.ones(80), 400, 90)
    assert len(fit(x, 3, 0.5)[0].axes) in (40, 41)
    with all_rows_wide():
        with pytest.raises(PlanError, match=r"0.5 of the variance of 400 rows of 90 .* more than 20 .*hold 0.2.*-k"):
            fit(x, 3, 0.5)
        assert len(fit(x, 3, 0.1)[0].axes) in (8, 9)


def test_a_number_of_directions_on_the_edge_has_the_largest_axis_error() -> None:
    """If the directions hold exactly the requested part, one more or less is open."""
    x = make_spectrum(np.ones(40), 400, 90)
    with all_rows_wide():
        assert fit(x, 3, 0.5)[1] == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_picks_by_variance_equal_the_literal_definition(method: Any) -> None:
    """All rows are read for it once, whatever is learned before."""
    x, known = make_clusters(200, 60, seed=4), [5, 6]
    expected = literal_demud.select_literally(
        x, x[:0], method=method, rank=1, start="mean", picks=20, variance=0.8, known=known if method != "static" else ()
    )
    assert not expected.doubts
    spy = SpyRows(ArrayRows(x))
    with all_rows_wide():
        selection, choices = Demud(method=method, variance=0.8, start="mean").open(spy, x[:0]), []
        for row in known if method != "static" else []:
            selection.absorb(row)
        passes = []
        while len(choices) < 20 and (choice := selection.peek()) is not None:
            choices.append(choice)
            selection.learn(choice.row)
            passes.append(selection.counters()["passes"])
    assert_agree(choices, expected, x)
    assert passes[1] == passes[-1] <= 4 + 2 * lanczos.MAX_PASSES


# What it costs


def test_passes_and_seconds_are_counted() -> None:
    """Every pass over the rows is in the counters, and its time in that of the model."""
    spy = SpyRows(ArrayRows(make_clusters(300, 60, seed=5)))
    with all_rows_wide():
        selection = Demud(rank=5).open(spy, np.empty((0, 60)))
        selection.peek()
    counters = selection.counters()
    assert counters["passes"] == np.median(spy.read_counts) - 1 > 3  # a block was read for the center before
    assert counters["seconds"]["model"] > 0


def test_if_all_rows_are_candidates_they_are_read_a_few_at_a_time() -> None:
    """If any axes are right every row may be first: all are near ties, and never together in memory."""
    x = np.vstack([np.eye(40), -np.eye(40)]).repeat(12, axis=0)
    spy = SpyRows(ArrayRows(x))
    with all_rows_wide():
        choice = Demud(rank=7).open(spy, np.empty((0, 40))).peek()
        calls = len(spy.calls)
    assert choice is not None
    assert choice.near_ties == len(x) - 1
    assert max(len(rows) for rows in spy.calls[calls - 4 :]) <= 256
