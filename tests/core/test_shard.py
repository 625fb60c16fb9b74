"""What a shard says of its rows' scores is so, at every pick and for every model; and it hardly looks at any."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.selectors import Demud, Means
from interpdisc_core.selectors.choice import Measure, Subspace
from interpdisc_core.selectors.crew import LocalCrew
from interpdisc_core.selectors.rows import ArrayRows, Rows, take
from interpdisc_core.selectors.shard import Found, Look, Shard, form
from tests.strategies import KINDS, METHODS, STORES, TYPES, Problem, clustered, matrix, problems, small, stored

Floats = npt.NDArray[Any]


def scores(x: Floats, model: Subspace, measure: Measure = Measure()) -> Floats:  # noqa: B008 - frozen
    """Scores (n,) of rows under a model as they are, in extended precision; what is missing is as expected."""
    z = x.astype(np.longdouble) - model.mean
    missing = np.isnan(z)
    z[missing] = 0
    axes = model.axes.astype(np.longdouble)
    residual = z - (z @ axes.T) @ axes
    residual[missing] = 0
    return measure.of(residual)


def bounds(shard: Shard) -> tuple[Floats, Floats, Floats]:
    """Bounds carried to the present model, and low and high bounds of rows looked at (n,), in the rows' own unit."""
    square = shard.unit**2  # the shard's own unit of length
    return shard.bound * square, shard._low * square, shard._high * square


class WatchedCrew(LocalCrew):
    """Holds every bound of every shard at every pick to the rows' true scores; `loose` has bound / score of each."""

    def __init__(self, rows: Rows, threads: int = 1) -> None:
        super().__init__(rows, threads)
        self.loose: list[Floats] = []
        self.picks, self.tied = 0, 0.0

    def begin(self, look: Look) -> float:
        """Bounds carried here are at least the scores, and some row has the score that one is said to have."""
        low = super().begin(look)
        self.picks, self.tied = self.picks + 1, look.tied
        self.truth = [scores(take(s.rows, np.arange(s.start, s.stop)), look.model, s.measure) for s in self.shards]
        self.best = max((true[s.free].max() for s, true in zip(self.shards, self.truth, strict=True) if s.free.any()))
        for shard, true in zip(self.shards, self.truth, strict=True):
            if not shard.free.any():
                continue
            carried = bounds(shard)[0]
            assert (carried[shard.free] >= true[shard.free]).all()
            self.loose.append((carried / np.maximum(true, 1e-300))[shard.free & (shard.epoch >= 0)])
        assert low <= self.best
        return low

    def finish(self, floor: float) -> list[Found]:
        """Every row that can be tied with the best is found, and what was looked at is within its bounds."""
        found = super().finish(floor)
        for shard, true, part in zip(self.shards, self.truth, found, strict=True):
            if not shard.free.any():
                continue
            looked, (_, low, high) = shard._looked & shard.free, bounds(shard)
            assert (low[looked] <= true[looked]).all()
            assert (true[looked] <= high[looked]).all()
            assert part.low <= self.best
            highs = dict(zip(part.rows, part.highs, strict=True))
            tied = np.flatnonzero(shard.free & (true >= self.best - 0.999 * self.tied))
            for row in tied:
                assert highs.get(int(row) + shard.start, -1.0) >= true[row]
        return found


def watched(settings: Demud, rows: Rows, prior: Floats, picks: int, bits: Any = 16, threads: int = 1) -> WatchedCrew:
    """A run, every third pick skipped, all of whose bounds are held to the truth."""
    crew = WatchedCrew(rows, threads)
    selection = settings.open(rows, prior, means=Means(bits=bits, crew=crew))
    for number in range(picks):
        if (choice := selection.peek()) is None:
            break
        (selection.skip if number % 3 == 2 else selection.learn)(choice.row)
    return crew


# ---------------------------------------------------------------------------------------- bounds


@given(problems(), st.sampled_from(TYPES), st.sampled_from((8, 16)), st.sampled_from((3, 2048)))
def test_bounds_hold_at_every_pick(problem: Problem, kind: str, bits: int, block: int) -> None:
    """Carried bounds, and low and high of rows looked at, hold for any features, store, method, rank and start."""
    rows = stored(problem.features, kind).rows("array")
    with small(block):
        watched(problem.settings, rows, problem.prior, 25, bits, threads=2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["float64", "float16", "int8"])
def test_bounds_hold_many_models_later(method: str, bits: int, kind: str) -> None:
    """The same over 60 models of 400 clustered rows, most of which are carried over many of them."""
    rows = stored(clustered(400, 16, seed=1), kind).rows("zarr 64")
    with small(64, group=8):
        crew = watched(Demud(method=method, rank=5), rows, np.empty((0, 16)), 60, bits)  # type: ignore[arg-type]
    assert crew.picks == 60
    assert crew.counts().screened < 0.6 * 60 * 400


@pytest.mark.parametrize("store", sorted(STORES))
def test_bounds_hold_with_a_prior(store: str) -> None:
    """The same where the models begin with 25 items that were seen before."""
    whole = clustered(225, 10, seed=2)
    kept = stored(whole[25:], "float32")
    with small(32):
        watched(Demud(rank=4), kept.rows(store), whole[:25], 30)


@pytest.mark.parametrize("sign", ["both", "low", "high"])
@pytest.mark.parametrize("weights", [None, "falling", "some are 0"])
@pytest.mark.parametrize("missing", [False, True])
def test_bounds_hold_for_every_measure(sign: Any, weights: str | None, missing: bool, tmp_path: Any) -> None:
    """The same where only some of a residual counts, and where values are missing."""
    x = clustered(200, 10, seed=3)
    if missing:
        x[np.random.default_rng(3).random(x.shape) < 0.02] = np.nan
    file = tmp_path / "weights"
    np.savetxt(file, np.linspace(2, 0.1, 10) * (np.arange(10) % 3 > 0 if weights == "some are 0" else 1))
    settings = Demud(rank=4, sign=sign, weights=str(file) if weights else "", missing="ignore")
    with small(32):
        watched(settings, ArrayRows(x), np.empty((0, 10)), 40)


@pytest.mark.parametrize("offset", [10.0, 1e4])
def test_bounds_hold_where_values_are_missing_far_from_0(offset: float) -> None:
    """float32 rows about a mean that float32 does not hold: the copies are about a point that it does."""
    x = (clustered(150, 6, seed=4) + offset * np.pi).astype(np.float32)
    x[3, 2] = np.nan
    watched(Demud(rank=2, start=5, missing="ignore"), ArrayRows(x), np.empty((0, 6)), 20)


@pytest.mark.parametrize("size", [1e-150, 1e-30, 1e-18, 1e18, 1e30, 1e150])
@pytest.mark.parametrize("method", METHODS)
def test_bounds_hold_at_any_size(method: str, size: float) -> None:
    """Features so large or small that float32 does not hold their squares: the bounds hold, none is NaN."""
    x = matrix("normal", 90, 8, seed=5) * size
    watched(Demud(method=method, rank=3), ArrayRows(x), np.empty((0, 8)), 30)  # type: ignore[arg-type]


def orthonormal(rng: np.random.Generator, count: int, dimension: int, near: Floats | None = None) -> Floats:
    """Axes (count, dimension), anywhere or near to others'."""
    if near is None or not len(near):
        return np.linalg.qr(rng.normal(size=(dimension, count)))[0].T
    turned = near[:count] + 10.0 ** rng.uniform(-9, 0) * rng.normal(size=(min(count, len(near)), dimension))
    return np.linalg.qr(turned.T)[0].T


@given(
    st.sampled_from(KINDS), st.integers(1, 20), st.integers(1, 12), st.integers(0, 2**32 - 1), st.integers(0, 5),
    st.integers(0, 5), st.booleans(), st.booleans(), st.sampled_from((8, 16)),
)  # fmt: skip
def test_bounds_hold_for_any_two_models(
    kind: str, count: int, dimension: int, seed: int, q: int, later: int, near: bool, within: bool, bits: Any
) -> None:
    """From one random model to another, near or far, of other ranks, by features or by coordinates in a basis."""
    rng = np.random.default_rng(seed)
    x = matrix(kind, count, dimension, seed).astype(np.float64)
    basis, origin = orthonormal(rng, dimension, dimension), x.mean(axis=0) + rng.normal(size=dimension)

    def model(rank: int, other: Subspace | None) -> Subspace:
        axes = orthonormal(rng, min(rank, dimension), dimension, other.axes if near and other else None)
        mean = other.mean + 1e-6 * rng.normal(size=dimension) if near and other else 2 * rng.normal(size=dimension)
        return Subspace(mean, axes, (basis @ (mean - origin), axes @ basis.T) if within else None)

    then = model(q, None)
    now = model(later, then)
    shard = Shard(ArrayRows(x), 0, count, x[0].copy(), q, Measure(), bits, scratch=False)
    shard.put(slice(0, count), x)
    shard.begin(Look(1, then, {}, 0.0))
    shard.finish(-np.inf)
    _, low, high = bounds(shard)
    assert (low <= scores(x, then)).all()
    assert (scores(x, then) <= high).all()
    shard.begin(Look(2, now, {1: form(then, now)}, 0.0))
    assert (shard.epoch == 1).all()
    assert (scores(x, now) <= bounds(shard)[0]).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_what_a_copy_loses_along_the_axes_counts(bits: Any) -> None:
    """Rows that a model of all directions holds to the last bit, but not their copies: a later one gives them up."""
    x = matrix("normal", 200, 3, seed=9)
    then, now = Subspace(np.zeros(3), np.eye(3)), Subspace(np.zeros(3), np.eye(3)[:1])
    shard = Shard(ArrayRows(x), 0, 200, np.zeros(3), 3, Measure(), bits, scratch=False)
    shard.put(slice(0, 200), x)
    shard.begin(Look(1, then, {}, 0.0))
    shard.finish(-np.inf)
    shard.begin(Look(2, now, {1: form(then, now)}, 0.0))
    assert (shard.epoch == 1).all()
    carried = bounds(shard)[0]
    assert (scores(x, now) <= carried).all()
    assert np.median(carried / scores(x, now)) < (1.05 if bits == 8 else 1.001)


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 6), st.floats(-9, 0))
def test_a_form_is_what_a_model_gives_up(seed: int, q: int, later: int, turn: float) -> None:
    """|(I − P)(μ_s + U_sᵀp − μ)| is at most |(p, far)·near| + slack |(p, far)|, and hardly less than the former."""
    rng = np.random.default_rng(seed)
    then = Subspace(rng.normal(size=8), orthonormal(rng, q, 8))
    turned = orthonormal(rng, later, 8) if turn > -1 else orthonormal(rng, q, 8, then.axes)
    now = Subspace(then.mean + 10.0**turn * rng.normal(size=8), turned)
    carry, p = form(then, now), rng.normal(size=(20, q))
    y = then.mean + p @ then.axes
    true = np.sqrt(scores(y, now))
    far = np.linalg.norm(then.mean - now.mean)
    variables = np.column_stack([p, np.full(20, far)])
    length = np.linalg.norm(variables, axis=1)
    bound = np.linalg.norm(variables @ carry.near, axis=1)
    assert carry.far == pytest.approx(far)
    assert (true <= (bound + carry.slack * length) * (1 + 1e-6)).all()
    assert (bound <= true + 1e-4 * length + 1e-12).all()
    assert (carry.slack, carry.slack_apart) < (2e-4, 2e-4)


# ---------------------------------------------------------------------------------------- laziness


@pytest.mark.parametrize("method", METHODS)
def test_bounds_are_not_vacuous(method: str) -> None:
    """On clustered rows the median of bound / score is below 2, and few rows are looked at for a pick."""
    x, picks = clustered(1500, 24, seed=6).astype(np.float32), 50
    crew = watched(Demud(method=method, rank=6), ArrayRows(x), np.empty((0, 24)), picks)  # type: ignore[arg-type]
    assert np.median(np.concatenate(crew.loose)) < 2
    counts = crew.counts()
    assert counts.screened < 0.3 * picks * len(x)
    assert counts.bounds <= picks * len(x)
    assert counts.read == 0


def test_a_static_model_needs_two_looks_at_most() -> None:
    """Scores of a fixed model stay: all rows are looked at once or twice, and a few more for each pick."""
    x, picks = clustered(1000, 12, seed=7), 40
    crew = watched(Demud(method="static", rank=4), ArrayRows(x), np.empty((0, 12)), picks)
    assert crew.counts().screened <= 2 * len(x) + picks * 64


# ---------------------------------------------------------------------------------------- state


def shard_of(x: Floats, start: int = 0, stop: int | None = None) -> Shard:
    """A shard of rows [start, stop), copied."""
    stop = len(x) if stop is None else stop
    shard = Shard(ArrayRows(x), start, stop, np.zeros(x.shape[1]), 2, Measure(), 16, scratch=False)
    shard.put(slice(start, stop), x[start:stop])
    return shard


def test_rows_that_were_taken_are_never_found() -> None:
    """Taken rows are not among the rivals, and a shard without free rows has none."""
    x = matrix("normal", 6, 4, seed=9)
    shard, model = shard_of(x, 2), Subspace(np.zeros(4), np.empty((0, 4)))
    order = 2 + np.argsort(-scores(x[2:], model))
    for number, row in enumerate(order):
        shard.begin(Look(number, model, {epoch: form(model, model) for epoch in shard.epochs}, 0.0))
        found = shard.finish(-np.inf)
        assert found.rows == [row]
        shard.drop(int(row))
    assert shard.begin(Look(9, model, {}, 0.0)) == -np.inf
    assert shard.finish(0.0) == Found([], [], -np.inf, set())


def test_a_row_is_taken_once() -> None:
    """To take a row again is a mistake, told by its number in the whole."""
    shard = shard_of(matrix("normal", 6, 4, seed=9), 2, 5)
    shard.drop(3)
    with pytest.raises(ValueError, match="row 3"):
        shard.drop(3)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_reach_is_the_largest_distance_from_the_centre(bits: Any) -> None:
    """At least that, but for a float32 rounding, and at most a copy's error more."""
    x = clustered(200, 12, seed=8)
    for dtype in ("float64", "float32"):
        crew = WatchedCrew(ArrayRows(x.astype(dtype)))
        Demud().open(x.astype(dtype), np.empty((0, 12)), means=Means(bits=bits, crew=crew)).peek()
        (shard,) = crew.shards
        away = np.linalg.norm(x.astype(dtype).astype(np.float64) - shard.sketch.centre, axis=1).max()
        assert away * (1 - 1e-6) <= crew.reach() <= away * (1.02 if bits == 8 else 1.0001)
