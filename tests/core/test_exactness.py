"""Whatever the store, the copies and the threads: the picks are the literal definition's, and the same to the bit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interpdisc_core.selectors import Choice, Demud, Means, Rows, Seen
from interpdisc_core.selectors.leading import leading, moments
from interpdisc_core.selectors.rows import ArrayRows
from tests.core import literal
from tests.core.test_demud import agree, rows
from tests.strategies import METHODS, STORES, TYPES, Stored, clustered, features, matrix, small, stored, told

Floats = npt.NDArray[np.float64]
MEANS = [Means(bits=bits, threads=threads, memory=memory) for bits in (8, 16) for threads in (1, 2)
         for memory in (0, 1 << 20)]  # fmt: skip


def run(
    settings: Demud, source: Rows | npt.NDArray[Any], prior: Floats | Seen, means: Means = MEANS[-1], picks: int = 10**6
) -> list[Choice]:  # fmt: skip
    """The picks of a straight run."""
    selection, made = settings.open(source, prior, means=means), []
    while len(made) < picks and (choice := selection.peek()) is not None:
        made.append(choice)
        selection.learn(choice.row)
    return made


def truth(settings: Demud, x: npt.NDArray[Any], prior: Floats, picks: int = 10**6) -> literal.Literal:
    """The literal definition's picks."""
    return literal.select(x, prior, method=settings.method, rank=settings.rank, start=settings.start, picks=picks)


# ---------------------------------------------------------------------------------------- any store, any means


@dataclass(frozen=True)
class Case:
    """Rows in a store, a prior, settings, means, and how small the blocks are."""

    kept: Stored
    store: str
    prior: Floats
    settings: Demud
    means: Means
    block: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to 40 rows in one of the stores, seen through blocks of 3 rows or more."""
    x, prior = draw(features(rows=40))
    kept = stored(x, draw(st.sampled_from(TYPES)))
    start = draw(st.one_of(st.sampled_from(("svd", "mean")), st.integers(0, len(x) - 1)))
    return Case(
        kept,
        draw(st.sampled_from(sorted(STORES))),
        prior,
        Demud(method=draw(st.sampled_from(METHODS)), rank=draw(st.integers(1, 12)), start=start),
        draw(st.sampled_from(MEANS)),
        draw(st.sampled_from((3, 5, 16, 2048))),
    )


@given(cases())
def test_every_store_gives_the_picks_of_the_definition(case: Case) -> None:
    """Picks, scores, x̂, r, μ and near-ties of the values as stored, for any store, means and size of block."""
    with small(case.block):
        wanted = truth(case.settings, case.kept.values, case.prior)
        assume(not wanted.doubts)
        made = run(case.settings, case.kept.rows(case.store), case.prior, case.means)
        agree(made, wanted, np.vstack([case.kept.values, case.prior]))


@given(cases())
def test_no_means_change_a_bit(case: Case) -> None:
    """The same values in another store, copied in other bits by other threads: the same picks, scores, x̂, r, μ."""
    with small(case.block):
        plain = run(case.settings, case.kept.values, case.prior)
        assert told(run(case.settings, case.kept.rows(case.store), case.prior, case.means)) == told(plain)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("method", METHODS)
def test_every_store_by_every_means_far_beyond_truncation(kind: str, method: str) -> None:
    """Every store, every means, 240 rows in 15 blocks, k = 4, 40 picks: the definition's, and all of them alike."""
    kept = stored(clustered(240, 12, seed=2), kind)
    settings, prior = Demud(method=method, rank=4), np.empty((0, 12))  # type: ignore[arg-type]
    with small(16, group=4):
        wanted = truth(settings, kept.values, prior, picks=40)
        assert not wanted.doubts
        straight = run(settings, kept.values, prior, picks=40)
        agree(straight, wanted, kept.values)
        made = {store: run(settings, kept.rows(store), prior, picks=40) for store in STORES}
        assert [store for store in STORES if told(made[store]) != told(straight)] == []
        others = [run(settings, kept.rows("zarr 64"), prior, means, picks=40) for means in MEANS]
        assert [means for means, other in zip(MEANS, others, strict=True) if told(other) != told(straight)] == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 9, 40])
def test_a_prior_may_be_rows_or_their_summary(method: str, count: int) -> None:
    """`Seen.of` the prior's rows is the same prior, to the bit."""
    whole = clustered(160 + count, 12, seed=3).astype(np.float64)
    prior, x = whole[:count], whole[count:]
    settings = Demud(method=method, rank=5)  # type: ignore[arg-type]
    made = run(settings, x, Seen.of(prior), picks=30)
    assert told(made) == told(run(settings, x, prior, picks=30))
    agree(made, truth(settings, x, prior, picks=30), x)


# ---------------------------------------------------------------------------------------- far out


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1e-150, 1e-60, 1e-40, 1e-30, 1e-20, 1e-10, 1e10, 1e17, 1e20, 1e30, 3e37, 1e60, 1e150])
def test_the_size_of_the_features_does_not_matter(dtype: str, method: str, size: float) -> None:
    """Features of any size that their type holds, squares within float64's reach: the definition's picks."""
    within = dtype == "float64" or 1e-40 <= size < 1e38
    if not within:
        pytest.skip("beyond float32")
    x = (np.clip(matrix("normal", 120, 10, seed=4), -3, 3) * size).astype(dtype)
    settings = Demud(method=method, rank=3)  # type: ignore[arg-type]
    wanted = truth(settings, x, np.empty((0, 10)), picks=40)
    made = run(settings, x, np.empty((0, 10)), picks=40)
    assert rows(made) == [pick.row for pick in wanted.picks]
    np.testing.assert_allclose(
        [choice.score for choice in made], [pick.score for pick in wanted.picks], rtol=1e-6 if size < 1e-100 else 1e-9
    )


@pytest.mark.parametrize("power", [-400, -160, -32, 32, 160, 400])
@pytest.mark.parametrize("method", METHODS)
def test_a_power_of_two_changes_no_pick(method: str, power: int) -> None:
    """Features times 2^p: the same picks, and scores times 4^p, but for what LAPACK's own scaling changes."""
    x = matrix("normal", 60, 6, seed=8)
    settings, none = Demud(method=method, rank=2), np.empty((0, 6))  # type: ignore[arg-type]
    here, there = (run(settings, x * factor, none, picks=20) for factor in (1.0, 2.0**power))
    assert rows(there) == rows(here)
    np.testing.assert_allclose([c.score for c in there], [c.score * 4.0**power for c in here], rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_a_large_offset(method: str, dtype: str, offset: float) -> None:
    """Rows that all lie far from 0 on one side, in the type's own rounding: the definition's picks."""
    x = (matrix("normal", 300, 8, seed=5) + offset * np.linspace(-1, 2, 8)).astype(dtype)
    settings = Demud(method=method, rank=3)  # type: ignore[arg-type]
    agree(run(settings, x, np.empty((0, 8)), picks=60), truth(settings, x, np.empty((0, 8)), picks=60), x)


@given(
    st.integers(0, 2**32 - 1), st.integers(2, 10), st.integers(1, 9), st.integers(1, 12),
    st.sampled_from(("svd", "mean", 0)), st.sampled_from(("full", "static")), st.sampled_from(MEANS),
)  # fmt: skip
def test_steep_spectra(
    seed: int, dimension: int, decades: int, rank: int, start: Any, method: Any, means: Means
) -> None:  # fmt: skip
    """Singular values from 1 to 10^-decades: every pick is the best, and its score the definition's, to rounding.

    Lengths are compared, √score to 1e-13 of the largest |x − μ|; squares would hide all below 1e-8.
    """
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, dimension)))[0] for n in (25, dimension))
    x = (left * np.geomspace(1, 10.0**-decades, dimension)) @ right.T
    made = run(Demud(method=method, rank=rank, start=start), x, np.empty((0, dimension)), means)
    for number, choice in enumerate(made):
        doubts: list[str] = []
        seen = x if method == "static" or number == 0 else x[rows(made[:number])]
        if number == 0 and start == 0 and method == "full":
            continue
        cut = 0 if number == 0 and start == "mean" and method == "full" else rank
        mean, factor = literal.prior_model(seen, cut, doubts)
        if "two singular values at the cut are alike" in doubts:
            break
        score = np.sqrt(literal.explain(x, mean, factor, literal.Weigh("both", np.ones(dimension)))[2])
        score[rows(made[:number])] = 0
        scale = np.sqrt(literal.extent(x, mean))
        assert np.sqrt(choice.score) == pytest.approx(score[choice.row], abs=1e-10 * scale)
        assert score[choice.row] ** 2 >= score.max() ** 2 - 1.1e-12 * scale**2 - 1e-10 * scale * score.max()


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.sampled_from(MEANS), st.integers(1, 4))
def test_ties_are_told_among_many(seed: int, method: str, means: Means, rank: int) -> None:
    """Points of a coarse grid, hundreds of them tied or doubled, in many blocks: lowest rows, and ties counted."""
    x = np.random.default_rng(seed).integers(-1, 2, (150, 4)).astype(np.float64)
    settings, none = Demud(method=method, rank=rank, start=0), np.empty((0, 4))  # type: ignore[arg-type]
    with small(16):
        wanted = truth(settings, x, none, picks=8)
        assume(not wanted.doubts)
        agree(run(settings, x, none, means, picks=8), wanted, x)


@pytest.mark.parametrize("method", METHODS)
def test_rows_that_are_small_beside_the_scale_are_tied(method: str) -> None:
    """Two rows at ±1 that the model holds, 400 at about 3e-6: all of those are tied, and the lowest row wins.

    Their bounds differ by more than they may be apart, so a bound below the best score does not rule a row out.
    """
    rng = np.random.default_rng(0)
    dust = rng.normal(size=(400, 4)) * [0, 1, 1, 1]
    dust *= 3e-6 * (1 + 4e-4 * rng.random((400, 1))) / np.linalg.norm(dust, axis=1, keepdims=True)
    giants = np.array([[1.0, 0, 0, 0], [-1, 0, 0, 0]])
    x, prior = (np.vstack([giants, dust]), giants[:0]) if method == "static" else (dust, giants)
    settings = Demud(method=method, rank=1)  # type: ignore[arg-type]
    wanted = truth(settings, x, prior, picks=12)
    made = run(settings, x, prior, picks=12)
    assert [(c.row, c.near_ties) for c in made] == [(p.row, p.near_ties) for p in wanted.picks]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_width_of_a_tie_does_not_depend_on_the_copies(bits: Any) -> None:
    """A row that is 1.003e-12 of the scale below the best is not tied with it, however roughly rows are copied."""
    x = matrix("normal", 40, 5, seed=0)
    for _ in range(30):  # until the first row is a copy of the farthest, drawn in by just so much
        mean = x.mean(axis=0)
        farthest = x[1:][np.argmax(((x[1:] - mean) ** 2).sum(axis=1))] - mean
        x[0] = mean + farthest * (1 - 0.5 * 1.003e-12 * literal.extent(x, mean) / (farthest @ farthest))
    settings = Demud(start="mean")
    (choice,), (pick,) = run(settings, x, x[:0], Means(bits=bits), picks=1), truth(settings, x, x[:0], picks=1).picks
    assert (choice.row, choice.near_ties) == (pick.row, pick.near_ties)


# ---------------------------------------------------------------------------------------- going on


@given(cases(), st.lists(st.integers(0, 39), max_size=4, unique=True), st.integers(0, 12), st.data())
def test_a_replay_at_any_point_gives_the_same_later_picks(
    case: Case, others: list[int], done: int, data: st.DataObject
) -> None:
    """Learned, skipped and known rows told again in order: the same further picks to the bit, by any other means."""
    count = len(case.kept.array)
    deeds: list[tuple[bool, int]] = [(True, row) for row in others if row < count]
    with small(case.block):
        straight, later = case.settings.open(case.kept.values, case.prior), []
        for learned, row in deeds:
            (straight.learn if learned else straight.skip)(row)
        for number in range(done + 6):
            if (choice := straight.peek()) is None:
                break
            learned = data.draw(st.integers(0, 4)) > 0
            (straight.learn if learned else straight.skip)(choice.row)
            if number < done:
                deeds.append((learned, choice.row))
            else:
                later.append((choice, learned))
        resumed = case.settings.open(case.kept.rows(case.store), case.prior, means=case.means)
        for learned, row in deeds:
            (resumed.learn if learned else resumed.skip)(row)
        for choice, learned in later:
            again = resumed.peek()
            assert again is not None
            assert told([again]) == told([choice])
            (resumed.learn if learned else resumed.skip)(choice.row)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", ["svd", "mean", "random", 4])
@pytest.mark.parametrize("variance", [None, 0.8])
def test_thirty_picks_and_twenty_more_are_fifty(method: Any, start: Any, variance: float | None) -> None:
    """A selection that is extended is the longer one, to the bit."""
    x = clustered(200, 12, seed=6)
    settings, none = Demud(method=method, rank=5, start=start, variance=variance), np.empty((0, 12))
    fifty = run(settings, x, none, picks=50)
    extended, more = settings.open(ArrayRows(x), none), []
    for choice in fifty[:30]:
        extended.learn(choice.row)
    for _ in range(20):
        choice = extended.peek()
        assert choice is not None
        more.append(choice)
        extended.learn(choice.row)
    assert told(more) == told(fifty[30:])


# ---------------------------------------------------------------------------------------- the first pick


def spectrum(values: Floats, seed: int, count: int = 60, dimension: int = 12) -> Floats:
    """Centred rows (count, dimension) with these singular values."""
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(count, len(values)))
    left = np.linalg.qr(left - left.mean(axis=0))[0]
    right = np.linalg.qr(rng.normal(size=(dimension, len(values))))[0]
    return (left * values) @ right.T


def first(x: Floats, rank: int) -> Choice:
    """The first pick of a start `svd`."""
    return run(Demud(rank=rank), x, x[:0], picks=1)[0]


@pytest.mark.parametrize(("count", "dimension"), [(60, 12), (12, 60)])
def test_the_first_pick_is_doubted_where_two_singular_values_are_alike(count: int, dimension: int) -> None:
    """At a cut between values that are 1e-14 or 0 apart any axis will do: the rows this could put first are counted."""
    for apart in (0.0, 1e-14):
        x = spectrum(np.array([3.0, 2, 1, 1 - apart, 0.5, 0.2]), 1, count, dimension)
        assert first(x, 3).near_ties > 0


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_first_pick_where_all_singular_values_are_alike(copies: int, rank: int) -> None:
    """Of 2 to 40 one-hot rows any could be first for a model of fewer directions: one is, and all are near ties.

    LAPACK finds no eigenvalue at all when asked for the last few of some such matrices.
    """
    for count in range(2, 41):
        choice = first(np.hstack([np.eye(count)] * copies), rank)
        assert 0 <= choice.row < count
        assert choice.near_ties == (count - 1 if rank < count - 1 else choice.near_ties)


@pytest.mark.parametrize(("count", "dimension"), [(60, 12), (12, 60)])
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_the_first_pick_is_certain_where_the_gap_is_clear(count: int, dimension: int, rank: int) -> None:
    """Between values a tenth apart the pick is certain, and the definition's."""
    x = spectrum(np.array([3.0, 2, 1, 0.9, 0.5, 0.2]), 1, count, dimension)
    choice, (pick,) = first(x, rank), truth(Demud(rank=rank), x, x[:0], picks=1).picks
    assert (choice.row, choice.near_ties) == (pick.row, 0)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(-15, -1), st.floats(0.1, 10), st.booleans(),
    st.integers(0, 5),
)  # fmt: skip
def test_the_axes_are_no_further_off_than_is_said(
    seed: int, rank: int, gap: int, factor: float, wide: bool, decades: int
) -> None:
    """The sine between the leading subspace and that of a dense SVD is at most the doubt of both, as it is stated.

    Values fall over `decades`; those at the cut are apart by any part from 1e-15 to 1.
    """
    values = np.geomspace(1, 10.0**-decades, 8) * np.linspace(1, 0.9, 8)
    values[rank:] = np.minimum(values[rank:], values[rank - 1] * (1 - min(factor * 10.0**gap, 0.99)))
    values[rank] = values[rank - 1] * (1 - min(factor * 10.0**gap, 0.99))
    values = np.sort(values)[::-1]
    x = spectrum(values, seed, *((9, 40) if wide else (40, 9)))
    source, centre = ArrayRows(x), x[:5].mean(axis=0)
    model, doubt = leading(source, moments(source, 0, len(x), centre, not wide), centre, rank)
    axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:rank]
    assert len(model.axes) == rank
    sine = np.linalg.norm(axes - (axes @ model.axes.T) @ model.axes, 2)
    assert sine <= 2 * doubt + 1e-14
