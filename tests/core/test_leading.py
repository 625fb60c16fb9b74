"""The leading subspace of rows too wide for second moments: as by a dense SVD, as near as is stated, in any chunks."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Choice, Demud, Means, Rows, lanczos
from interpdisc_core.selectors import leading as module
from interpdisc_core.selectors.choice import Subspace
from interpdisc_core.selectors.leading import leading, moments
from interpdisc_core.selectors.rows import ArrayRows
from tests.core import literal
from tests.core.test_demud import agree
from tests.strategies import METHODS, STORES, TYPES, Problem, Spy, clustered, problems, small, stored, told

Floats = npt.NDArray[np.float64]


@contextmanager
def wide(most: int = 0) -> Iterator[None]:
    """Rows of more than `most` features count as too wide for second moments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WIDEST", most)
        yield


def made(rows: Rows | Floats, rank: int, variance: float | None = None) -> tuple[Subspace, float]:
    """The model of all rows and its doubt."""
    rows = ArrayRows(rows) if isinstance(rows, np.ndarray) else rows
    centre = rows.get(np.arange(min(5, rows.shape[0]))).astype(np.float64).mean(axis=0)
    first = moments(rows, 0, rows.shape[0], centre, module.with_scatter(rows))
    return leading(rows, first, centre, rank, variance)


def spectrum(values: npt.ArrayLike, count: int, dimension: int, seed: int = 0) -> Floats:
    """Rows (count, dimension), not centred, with these singular values about their mean."""
    rng, values = np.random.default_rng(seed), np.asarray(values)
    left = rng.normal(size=(count, len(values)))
    left = np.linalg.qr(left - left.mean(axis=0))[0]
    right = np.linalg.qr(rng.normal(size=(dimension, len(values))))[0]
    return (left * values) @ right.T + rng.normal(size=dimension)


def axes_of(x: Floats, rank: int) -> Floats:
    """The leading axes (rank, d), by a dense SVD."""
    axes: Floats = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:rank]
    return axes


def sine(one: Floats, other: Floats) -> float:
    """Of the largest angle between two subspaces, by their axes."""
    return float(np.linalg.norm(one - (one @ other.T) @ other, 2))


def run(settings: Demud, x: Any, picks: int = 10**6, **means: Any) -> list[Choice]:
    """The picks of a straight run without a prior."""
    selection, choices = settings.open(x, np.empty((0, x.shape[1])), means=Means(**means)), []
    while len(choices) < picks and (choice := selection.peek()) is not None:
        choices.append(choice)
        selection.learn(choice.row)
    return choices


# ---------------------------------------------------------------------------------------- as near as is stated


@pytest.mark.parametrize(("count", "dimension"), [(600, 150), (150, 600), (300, 300)])
@pytest.mark.parametrize("fall", [0.2, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("rank", [1, 7, 40])
def test_a_clear_gap_is_found_to_rounding(count: int, dimension: int, fall: float, rank: int) -> None:
    """Values that fall as a power, with a tenth more behind the cut: the SVD's subspace, as near as is stated: 1e-6.

    That is what rounding leaves where the values at the cut are 1e-3 of the largest and more.
    """
    values = np.arange(1.0, 149) ** -fall
    values[rank:] *= 0.9
    x = spectrum(values, count, dimension)
    with wide():
        model, doubt = made(x, rank)
    dense, least = made(x, rank)
    assert len(model.axes) == rank
    np.testing.assert_allclose(model.axes @ model.axes.T, np.eye(rank), atol=1e-13)
    np.testing.assert_allclose(model.mean, x.mean(axis=0), atol=1e-14)
    assert sine(axes_of(x, rank), model.axes) <= doubt + 1e-14
    assert doubt <= max(1e-8, 3 * least) <= 1e-6
    assert sine(dense.axes, model.axes) <= doubt + least


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(-15, -1), st.floats(0.1, 10), st.booleans(),
    st.integers(0, 5), st.integers(1, 12), st.sampled_from((40, 2048)),
)  # fmt: skip
def test_axes_are_no_further_off_than_is_said(
    seed: int, rank: int, gap: int, factor: float, tall: bool, decades: int, passes: int, columns: int
) -> None:
    """The sine to a dense SVD's subspace is at most the doubt, however few passes are made and blocks are kept.

    Values fall over `decades`; those at the cut are apart by any part from 1e-15 to 1.
    """
    values = np.geomspace(1, 10.0**-decades, 70) * np.linspace(1, 0.9, 70)
    values[rank:] = np.minimum(values[rank:], values[rank - 1] * (1 - min(factor * 10.0**gap, 0.99)))
    values[rank] = values[rank - 1] * (1 - min(factor * 10.0**gap, 0.99))
    x = spectrum(np.sort(values)[::-1], *((200, 90) if tall else (90, 200)), seed)
    with wide(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "sweep", partial(lanczos.sweep, passes=passes))
        patch.setattr(lanczos, "_COLUMNS", columns)
        model, doubt = made(x, rank)
    assert len(model.axes) == rank or doubt == 1
    assert sine(axes_of(x, len(model.axes)), model.axes) <= doubt + 1e-14


@pytest.mark.parametrize("apart", [0.0, 1e-14])
@pytest.mark.parametrize(("count", "dimension"), [(400, 90), (90, 400)])
def test_an_unclear_gap_is_said_to_be(count: int, dimension: int, apart: float) -> None:
    """Where two values at the cut are alike any axis will do: the first pick has near ties. One on, it is certain."""
    x = spectrum([3, 2, 1, 1 - apart, *np.linspace(0.5, 0.1, 60)], count, dimension)
    with wide():
        assert made(x, 3)[1] == 1.0
        assert made(x, 4)[1] < 1e-9
        ties = [run(Demud(rank=rank), x, 1)[0].near_ties for rank in (3, 4)]
    assert ties[0] > 0
    assert ties[1] == 0


def test_what_is_not_found_in_time_is_in_the_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flat spectrum after more and more passes: the doubt falls, and is never below the truth."""
    x = spectrum(np.linspace(1, 0.8, 280), 300, 400)
    doubts = []
    for passes in (2, 4, 8, 12):
        monkeypatch.setattr(module, "sweep", partial(lanczos.sweep, passes=passes))
        with wide():
            model, doubt = made(x, 10)
        assert sine(axes_of(x, 10), model.axes) <= doubt
        doubts.append(doubt)
    assert doubts[0] == 1
    assert doubts == sorted(doubts, reverse=True)


@pytest.mark.parametrize("columns", [1, 100, 150])
def test_few_kept_directions_take_longer_only(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the best directions so far replace all, the subspace is the same, to the doubt."""
    x = spectrum(np.arange(1.0, 280) ** -0.7, 300, 400)
    monkeypatch.setattr(lanczos, "_COLUMNS", columns)
    with wide():
        model, doubt = made(x, 12)
    assert sine(axes_of(x, 12), model.axes) <= doubt < 1e-8


# ---------------------------------------------------------------------------------------- the definition's picks


@given(problems())
def test_picks_are_the_definitions(problem: Problem) -> None:
    """Of any features, method, rank (beyond that of the rows too) and start: picks, near-ties, scores, x̂, r and μ."""
    settings, none = problem.settings, problem.features[:0]
    truth = literal.select(
        problem.features, none, method=settings.method, rank=settings.rank, start=settings.start, picks=10**6
    )
    assume(not truth.doubts)
    with wide():
        agree(run(settings, problem.features), truth, problem.features)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(500, 130), (130, 500)])
def test_picks_are_the_definitions_of_larger_rows(method: Any, shape: tuple[int, int]) -> None:
    """The same where several passes are needed: 30 picks of clustered rows, k = 6."""
    x = clustered(*shape, seed=1).astype(np.float32)
    truth = literal.select(x, x[:0], method=method, rank=6, start="svd", picks=30)
    assert not truth.doubts
    with wide():
        agree(run(Demud(method=method, rank=6), x, 30), truth, x)


@pytest.mark.parametrize("rank", range(1, 8))
def test_a_steep_spectrum_is_cut_where_the_definition_cuts_it(rank: int) -> None:
    """Values that fall tenfold each, 1 … 1e-6, which their squares alone would not show: scores as in `test_demud`."""
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(n, 7)))[0] for n in (80, 60))
    x = (left * 10.0 ** -np.arange(7)) @ right.T
    truth = literal.select(x, x[:0], method="static", rank=rank, start="svd", picks=40)
    with wide():
        choices = run(Demud(method="static", rank=rank), x, 40)
    if rank < 7:  # with all of it in the model, only rounding is left
        for choice, pick in zip(choices, truth.picks, strict=True):
            assert choice.row == pick.row
            assert choice.score == pytest.approx(pick.score, rel=0, abs=1e-9 * truth.picks[0].score)
    else:
        assert choices[0].score < 1e-20


@pytest.mark.parametrize("value", [0.0, 1.0, 1e6])
def test_rows_that_are_all_alike_have_no_direction(value: float) -> None:
    """Nothing but rounding is left of them: no axis, no endless passes."""
    spy = Spy(ArrayRows(np.full((50, 30), value)))
    with wide():
        model, _ = made(spy, 5)
    assert not len(model.axes)
    assert spy.seen.max() <= 2 + lanczos.PASSES


def test_missing_values_are_as_expected() -> None:
    """A missing value counts as the mean of its feature, as where second moments are kept."""
    x = clustered(200, 40, seed=2)
    x[np.random.default_rng(2).random(x.shape) < 0.05] = np.nan
    truth = literal.select(x, x[:0], method="full", rank=4, start="svd", picks=20, missing="ignore")
    assert not truth.doubts
    with wide():
        agree(run(Demud(rank=4, missing="ignore"), x, 20), truth, np.nan_to_num(x))


# ---------------------------------------------------------------------------------------- the same to the bit


@pytest.mark.parametrize("kind", TYPES)
def test_no_store_and_no_threads_change_a_bit(kind: str) -> None:
    """The same values in any store and chunks, copied by one thread or three: the same model, doubt and picks."""
    kept = stored(clustered(300, 60, seed=3), kind)
    with wide(), small(16):
        model, doubt = made(kept.rows("array"), 5)
        plain = run(Demud(rank=5), kept.rows("array"), 8)
        for store in STORES:
            other, its = made(kept.rows(store), 5)
            assert (other.axes.tobytes(), other.mean.tobytes(), its) == (
                model.axes.tobytes(),
                model.mean.tobytes(),
                doubt,
            )
            for threads in (1, 3):
                assert told(run(Demud(rank=5), kept.rows(store), 8, threads=threads)) == told(plain)


# ---------------------------------------------------------------------------------------- a part of the variance


@pytest.mark.parametrize("variance", [0.1, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("shape", [(400, 90), (90, 400)])
def test_as_few_directions_as_hold_a_part(variance: float, shape: tuple[int, int]) -> None:
    """As many as the definition says, in the same subspace, whatever k is."""
    x = spectrum(np.arange(1.0, 80) ** -0.8, *shape)
    wanted = literal.rank_of(x, variance, [])
    with wide():
        model, doubt = made(x, 3, variance)
    assert len(model.axes) == wanted
    assert sine(axes_of(x, wanted), model.axes) <= doubt < 1e-8


def test_more_directions_than_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the part, the number, what they hold, and what to do; second moments know no such limit."""
    monkeypatch.setattr(module, "MOST", 20)
    x = spectrum(np.ones(80), 400, 90)
    assert len(made(x, 3, 0.5)[0].axes) in (40, 41)
    with wide():
        with pytest.raises(PlanError, match=r"0.5 of the variance of 400 rows of 90 .* more than 20 .*hold 0.2.*-k"):
            made(x, 3, 0.5)
        assert len(made(x, 3, 0.1)[0].axes) in (8, 9)


def test_a_number_on_the_edge_is_in_doubt() -> None:
    """Where the directions hold the very part that is asked for, one more or less is open."""
    x = spectrum(np.ones(40), 400, 90)
    with wide():
        assert made(x, 3, 0.5)[1] == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_a_part_of_the_variance_is_the_definitions(method: Any) -> None:
    """The same picks; all rows are looked at for it once, whatever is learned before."""
    x, known = clustered(200, 60, seed=4), [5, 6]
    truth = literal.select(
        x, x[:0], method=method, rank=1, start="mean", picks=20, variance=0.8, known=known if method != "static" else ()
    )
    assert not truth.doubts
    spy = Spy(ArrayRows(x))
    with wide():
        selection, choices = Demud(method=method, variance=0.8, start="mean").open(spy, x[:0]), []
        for row in known if method != "static" else []:
            selection.absorb(row)
        passes = []
        while len(choices) < 20 and (choice := selection.peek()) is not None:
            choices.append(choice)
            selection.learn(choice.row)
            passes.append(selection.counters()["passes"])
    agree(choices, truth, x)
    assert passes[1] == passes[-1] <= 4 + 2 * lanczos.PASSES


# ---------------------------------------------------------------------------------------- what it costs


def test_passes_and_seconds_are_counted() -> None:
    """Every pass over the rows is in the counters, and its time in that of the model."""
    spy = Spy(ArrayRows(clustered(300, 60, seed=5)))
    with wide():
        selection = Demud(rank=5).open(spy, np.empty((0, 60)))
        selection.peek()
    counters = selection.counters()
    assert counters["passes"] == np.median(spy.seen) - 1 > 3  # a block was read for the centre before
    assert counters["seconds"]["model"] > 0


def test_rows_that_are_all_in_doubt_are_read_a_few_at_a_time() -> None:
    """Where any axes will do every row may be first: all are near ties, never together in memory."""
    x = np.vstack([np.eye(40), -np.eye(40)]).repeat(12, axis=0)
    spy = Spy(ArrayRows(x))
    with wide():
        selection = Demud(rank=7).open(spy, np.empty((0, 40)))
        passes = selection.peek(), len(spy.calls)
    choice, calls = passes
    assert choice is not None
    assert choice.near_ties == len(x) - 1
    assert max(len(rows) for rows in spy.calls[calls - 4 :]) <= 256
