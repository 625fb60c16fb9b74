"""For any store, copies and threads the picks are those of the literal definition, and the same to the bit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from interpdisc_core.selectors import Choice, ComputeOptions, Demud, Prior
from interpdisc_core.selectors.exact.moments import fit_leading_subspace, sum_moments
from interpdisc_core.selectors.rows import ArrayRows
from tests.helpers import literal_demud
from tests.helpers.strategies import (
    DTYPES,
    METHODS,
    STORES,
    StoredRows,
    comparable_choices,
    draw_features,
    examples,
    make_clusters,
    make_matrix,
    rows_of,
    run_selector,
    small_blocks,
    store_values,
    take_picks,
)
from tests.selectors.test_demud import assert_agree, select_literally

Floats = npt.NDArray[np.float64]
ComputeFields = dict[str, Any]
COMPUTE_FIELDS: list[ComputeFields] = [
    {"copy_bits": bits, "threads": threads, "max_copy_bytes": memory}
    for bits in (8, 16)
    for threads in (1, 2)
    for memory in (0, 1 << 20)
]
over_methods = pytest.mark.parametrize("method", METHODS)


# Any store, any compute options


@dataclass(frozen=True)
class Case:
    """Rows in a store, a prior, settings, fields of `ComputeOptions`, and the rows in a block."""

    stored: StoredRows
    store: str
    prior: Floats
    options: Demud
    compute: ComputeFields
    block: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to 40 rows in one of the stores, read in blocks of 3 rows or more."""
    x, prior = draw(draw_features(rows=40))
    stored = store_values(x, draw(st.sampled_from(DTYPES)))
    start = draw(st.one_of(st.sampled_from(("svd", "mean")), st.integers(0, len(x) - 1)))
    return Case(
        stored,
        draw(st.sampled_from(sorted(STORES))),
        prior,
        Demud(method=draw(st.sampled_from(METHODS)), rank=draw(st.integers(1, 12)), start=start),
        draw(st.sampled_from(COMPUTE_FIELDS)),
        draw(st.sampled_from((3, 5, 16, 2048))),
    )


@given(cases())
def test_every_store_gives_the_picks_of_the_definition(case: Case) -> None:
    """Picks, scores, x̂, r, μ and near ties of the values as stored, for any store, compute options and block size."""
    with small_blocks(case.block):
        expected = select_literally(case.options, case.stored.values, case.prior)
        assume(not expected.doubts)
        choices = run_selector(case.options, case.stored.rows(case.store), case.prior, **case.compute)
        assert_agree(choices, expected, np.vstack([case.stored.values, case.prior]))


@given(cases())
def test_no_store_and_no_compute_options_change_a_bit(case: Case) -> None:
    """The same values in another store, with copies of other bits and other threads: the same picks, scores, x̂, r, μ."""
    with small_blocks(case.block):
        plain = run_selector(case.options, case.stored.values, case.prior)
        assert comparable_choices(
            run_selector(case.options, case.stored.rows(case.store), case.prior, **case.compute)
        ) == comparable_choices(plain)


@examples(12)
@given(
    st.sampled_from(METHODS),
    st.sampled_from(DTYPES),
    st.sampled_from(sorted(STORES)),
    st.sampled_from(COMPUTE_FIELDS),
    st.integers(0, 99),
)
def test_stores_and_compute_options_far_beyond_truncation(
    method: Any, kind: str, store: str, compute: ComputeFields, seed: int
) -> None:
    """240 rows in 15 blocks, k = 4, 40 picks: those of the definition, and the same to the bit."""
    stored, options = store_values(make_clusters(240, 12, seed), kind), Demud(method=method, rank=4)
    with small_blocks(16, query_group=4):
        expected = select_literally(options, stored.values, picks=40)
        assume(not expected.doubts)
        straight = run_selector(options, stored.values, picks=40)
        assert_agree(straight, expected, stored.values)
        choices = run_selector(options, stored.rows(store), picks=40, **compute)
        assert comparable_choices(choices) == comparable_choices(straight)


@over_methods
@pytest.mark.parametrize("count", [1, 9, 40])
def test_a_prior_may_be_items_or_their_summary(method: Any, count: int) -> None:
    """With the same picks, to the bit."""
    values = make_clusters(160 + count, 12, seed=3).astype(np.float64)
    prior, x = values[:count], values[count:]
    options = Demud(method=method, rank=5)
    choices = run_selector(options, x, Prior.from_items(prior), 30)
    assert comparable_choices(choices) == comparable_choices(run_selector(options, x, prior, 30))
    assert_agree(choices, select_literally(options, x, prior, 30), x)


# Extreme values


@examples(20)
@given(
    st.one_of(
        st.tuples(st.just("float64"), st.floats(-69, 69)),
        st.tuples(st.just("float32"), st.floats(-40, 37.4)),
    ),
    st.sampled_from(METHODS),
)
@example(("float64", -69), "full")
@example(("float64", 69), "incremental")
@example(("float32", -40), "static")
@example(("float32", 37.4), "full")
def test_the_size_of_the_features_does_not_matter(scale: tuple[str, float], method: Any) -> None:
    """Features of any size that is accepted (`rows.MAX_MAGNITUDE`): the picks of the definition."""
    dtype, size = scale[0], 10.0 ** scale[1]
    x = (np.clip(make_matrix("normal", 120, 10, seed=4), -3, 3) * size).astype(dtype)
    options = Demud(method=method, rank=3)
    expected = select_literally(options, x, picks=40)
    choices = run_selector(options, x, picks=40)
    assert rows_of(choices) == [pick.row for pick in expected.picks]
    np.testing.assert_allclose(
        [choice.score for choice in choices],
        [pick.score for pick in expected.picks],
        rtol=1e-6 if size < 1e-100 else 1e-9,
    )


@examples(12)
@given(st.integers(-229, 229), st.sampled_from(METHODS))
def test_a_power_of_two_changes_no_pick(power: int, method: Any) -> None:
    """Features times 2^p: the same picks, and scores times 4^p, except for what the scaling in LAPACK changes."""
    x, options = make_matrix("normal", 60, 6, seed=8), Demud(method=method, rank=2)
    plain, scaled = (run_selector(options, x * factor, picks=20) for factor in (1.0, 2.0**power))
    assert rows_of(scaled) == rows_of(plain)
    np.testing.assert_allclose([c.score for c in scaled], [c.score * 4.0**power for c in plain], rtol=1e-12)


@over_methods
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_rows_far_from_0_have_the_picks_of_the_definition(method: Any, dtype: str, offset: float) -> None:
    """In the rounding of their type."""
    x = (make_matrix("normal", 300, 8, seed=5) + offset * np.linspace(-1, 2, 8)).astype(dtype)
    options = Demud(method=method, rank=3)
    assert_agree(run_selector(options, x, picks=60), select_literally(options, x, picks=60), x)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 10),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from(("svd", "mean", 0)),
    st.sampled_from(("full", "static")),
    st.sampled_from(COMPUTE_FIELDS),
)
def test_steep_spectra(
    seed: int, dimension: int, decades: int, rank: int, start: Any, method: Any, compute: ComputeFields
) -> None:
    """Singular values from 1 to 10^-decades: every pick is the best, and its score that of the definition, up to rounding.

    Lengths are compared, √score to 1e-13 of the largest |x − μ|; squares would hide all below 1e-8.
    """
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, dimension)))[0] for n in (25, dimension))
    x = (left * np.geomspace(1, 10.0**-decades, dimension)) @ right.T
    choices = run_selector(Demud(method=method, rank=rank, start=start), x, **compute)
    rows = rows_of(choices)
    for number, choice in enumerate(choices):
        doubts: list[str] = []
        seen = x if method == "static" or number == 0 else x[rows[:number]]
        if number == 0 and start == 0 and method == "full":
            continue
        cut = 0 if number == 0 and start == "mean" and method == "full" else rank
        mean, factor = literal_demud.fit_model(seen, cut, doubts)
        if "two singular values at the cut are equal" in doubts:
            break
        score = np.sqrt(
            literal_demud.score_rows(x, mean, factor, literal_demud.ResidualWeighting("both", np.ones(dimension)))[2]
        )
        score[rows[:number]] = 0
        scale = np.sqrt(literal_demud.tolerance_scale(x, mean))
        assert np.sqrt(choice.score) == pytest.approx(score[choice.row], abs=1e-10 * scale)
        assert score[choice.row] ** 2 >= score.max() ** 2 - 1.1e-12 * scale**2 - 1e-10 * scale * score.max()


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.sampled_from(COMPUTE_FIELDS), st.integers(1, 4))
def test_ties_are_found_among_many_rows(seed: int, method: Any, compute: ComputeFields, rank: int) -> None:
    """Points of a coarse grid, hundreds of them tied or doubled, in many blocks: lowest rows, and ties counted."""
    x = np.random.default_rng(seed).integers(-1, 2, (150, 4)).astype(np.float64)
    options = Demud(method=method, rank=rank, start=0)
    with small_blocks(16):
        expected = select_literally(options, x, picks=8)
        assume(not expected.doubts)
        assert_agree(run_selector(options, x, picks=8, **compute), expected, x)


@over_methods
def test_rows_that_are_small_compared_with_the_scale_are_tied(method: Any) -> None:
    """Two rows at ±1 that the model explains, 400 at about 3e-6: all of those are tied, and the lowest row wins.

    Their bounds differ by more than the tolerance, so a bound below the best score does not rule a row out.
    """
    rng = np.random.default_rng(0)
    dust = rng.normal(size=(400, 4)) * [0, 1, 1, 1]
    dust *= 3e-6 * (1 + 4e-4 * rng.random((400, 1))) / np.linalg.norm(dust, axis=1, keepdims=True)
    giants = np.array([[1.0, 0, 0, 0], [-1, 0, 0, 0]])
    x, prior = (np.vstack([giants, dust]), giants[:0]) if method == "static" else (dust, giants)
    options = Demud(method=method, rank=1)
    expected = select_literally(options, x, prior, picks=12)
    choices = run_selector(options, x, prior, picks=12)
    assert [(c.row, c.near_ties) for c in choices] == [(p.row, p.near_ties) for p in expected.picks]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_width_of_a_tie_does_not_depend_on_the_copies(bits: Any) -> None:
    """A row that is 1.003e-12 of the scale below the best is not tied with it, however roughly rows are copied."""
    x = make_matrix("normal", 40, 5, seed=0)
    for _ in range(30):  # until the first row is a copy of the farthest one, moved towards the mean by this much
        mean = x.mean(axis=0)
        farthest = x[1:][np.argmax(((x[1:] - mean) ** 2).sum(axis=1))] - mean
        x[0] = mean + farthest * (1 - 0.5 * 1.003e-12 * literal_demud.tolerance_scale(x, mean) / (farthest @ farthest))
    (choice,) = run_selector(Demud(start="mean"), x, picks=1, copy_bits=bits)
    (pick,) = select_literally(Demud(start="mean"), x, picks=1).picks
    assert (choice.row, choice.near_ties) == (pick.row, pick.near_ties)


# Resuming


@given(cases(), st.lists(st.integers(0, 39), max_size=4, unique=True), st.integers(0, 12), st.data())
def test_a_replay_at_any_point_gives_the_same_later_picks(
    case: Case, known: list[int], done: int, data: st.DataObject
) -> None:
    """Learned and skipped rows replayed in order: the same further picks to the bit, with any other compute options."""
    actions = [("learn", row) for row in known if row < len(case.stored.array)]
    with small_blocks(case.block):
        straight, later = case.options.open(case.stored.values, case.prior), []
        for action, row in actions:
            getattr(straight, action)(row)
        for number in range(done + 6):
            if (choice := straight.peek()) is None:
                break
            action = "learn" if data.draw(st.integers(0, 4)) > 0 else "skip"
            getattr(straight, action)(choice.row)
            if number < done:
                actions.append((action, choice.row))
            else:
                later.append((choice, action))
        compute_options = ComputeOptions(**case.compute)
        resumed = case.options.open(case.stored.rows(case.store), case.prior, compute_options=compute_options)
        for action, row in actions:
            getattr(resumed, action)(row)
        for expected, action in later:
            choice = resumed.peek()
            assert choice is not None
            assert comparable_choices([choice]) == comparable_choices([expected])
            getattr(resumed, action)(choice.row)


@examples(12)
@given(
    st.sampled_from(METHODS),
    st.one_of(st.sampled_from(("svd", "mean", "random")), st.integers(0, 199)),
    st.sampled_from((None, 0.8)),
    st.integers(0, 50),
)
def test_a_selection_that_is_extended_is_the_longer_selection(
    method: Any, start: Any, variance: float | None, done: int
) -> None:
    """To the bit."""
    x = make_clusters(200, 12, seed=6)
    options = Demud(method=method, rank=5, start=start, variance=variance)
    straight = run_selector(options, x, picks=50)
    extended = options.open(ArrayRows(x), np.empty((0, 12)))
    for row in rows_of(straight[:done]):
        extended.learn(row)
    assert comparable_choices(take_picks(extended, 50 - done)) == comparable_choices(straight[done:])


# The first pick


def make_spectrum(values: Floats, seed: int, count: int = 60, dimension: int = 12) -> Floats:
    """Centered rows (count, dimension) with these singular values."""
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(count, len(values)))
    left = np.linalg.qr(left - left.mean(axis=0))[0]
    right = np.linalg.qr(rng.normal(size=(dimension, len(values))))[0]
    return (left * values) @ right.T


def pick_first(x: Floats, rank: int) -> Choice:
    """The first pick of the start `svd`."""
    return run_selector(Demud(rank=rank), x, picks=1)[0]


@pytest.mark.parametrize(("count", "dimension"), [(60, 12), (12, 60)])
def test_the_first_pick_has_near_ties_if_two_singular_values_are_equal(count: int, dimension: int) -> None:
    """At a cut between values that are 1e-14 or 0 apart any axis is right: the rows that it could put first are counted."""
    for apart in (0.0, 1e-14):
        x = make_spectrum(np.array([3.0, 2, 1, 1 - apart, 0.5, 0.2]), 1, count, dimension)
        assert pick_first(x, 3).near_ties > 0


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_first_pick_if_all_singular_values_are_equal(copies: int, rank: int) -> None:
    """Of 2 to 40 one-hot rows any could be first for a model of fewer directions: one is, and all others are near ties.

    LAPACK finds no eigenvalue at all when asked for the last few of some such matrices.
    """
    for count in range(2, 41):
        choice = pick_first(np.hstack([np.eye(count)] * copies), rank)
        assert 0 <= choice.row < count
        assert choice.near_ties == (count - 1 if rank < count - 1 else choice.near_ties)


@pytest.mark.parametrize(("count", "dimension"), [(60, 12), (12, 60)])
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_the_first_pick_is_certain_if_the_gap_is_clear(count: int, dimension: int, rank: int) -> None:
    """Between values a tenth apart the pick is certain, and the definition's."""
    x = make_spectrum(np.array([3.0, 2, 1, 0.9, 0.5, 0.2]), 1, count, dimension)
    choice, (pick,) = pick_first(x, rank), select_literally(Demud(rank=rank), x, picks=1).picks
    assert (choice.row, choice.near_ties) == (pick.row, 0)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(-15, -1),
    st.floats(0.1, 10),
    st.booleans(),
    st.integers(0, 5),
)
def test_the_axis_error_is_an_upper_bound(
    seed: int, rank: int, gap: int, factor: float, wide: bool, decades: int
) -> None:
    """The sine between the leading subspace and that of a dense SVD is at most the axis errors of both.

    Values fall over `decades`; those at the cut are apart by any part from 1e-15 to 1.
    """
    values = np.geomspace(1, 10.0**-decades, 8) * np.linspace(1, 0.9, 8)
    values[rank:] = np.minimum(values[rank:], values[rank - 1] * (1 - min(factor * 10.0**gap, 0.99)))
    values[rank] = values[rank - 1] * (1 - min(factor * 10.0**gap, 0.99))
    values = np.sort(values)[::-1]
    x = make_spectrum(values, seed, *((9, 40) if wide else (40, 9)))
    source, center = ArrayRows(x), x[:5].mean(axis=0)
    moments = sum_moments(source, 0, len(x), center, not wide)
    model, axis_error = fit_leading_subspace(source, moments, center, rank)
    axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:rank]
    assert len(model.axes) == rank
    sine = np.linalg.norm(axes - (axes @ model.axes.T) @ model.axes, 2)
    assert sine <= 2 * axis_error + 1e-14
