"""The bounds of a shard hold, at every pick and for every model; and it screens few rows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.selectors import ComputeOptions, Demud
from interpdisc_core.selectors.decision import PLAIN_SCORE, ScoreFunction, Subspace
from interpdisc_core.selectors.exact.bound_form import build_bound_form
from interpdisc_core.selectors.exact.shard import RowShard
from interpdisc_core.selectors.exact.shard_messages import ScoreQuery, ShardCandidates
from interpdisc_core.selectors.exact.shard_pool import LocalShardPool
from interpdisc_core.selectors.rows import ArrayRows, Rows, gather_float64
from tests.helpers.strategies import (
    DTYPES,
    KINDS,
    METHODS,
    STORES,
    SelectionProblem,
    draw_problems,
    examples,
    make_clusters,
    make_matrix,
    small_blocks,
    store_values,
)

Floats = npt.NDArray[Any]


def true_scores(x: Floats, model: Subspace, score_function: ScoreFunction = PLAIN_SCORE) -> Floats:
    """Scores (n,) of rows under a model, in extended precision; a missing value has no residual."""
    z = x.astype(np.longdouble) - model.mean
    missing = np.isnan(z)
    z[missing] = 0
    axes = model.axes.astype(np.longdouble)
    residual = z - (z @ axes.T) @ axes
    residual[missing] = 0
    return score_function.score(residual)


def bounds_of(shard: RowShard) -> tuple[Floats, Floats, Floats]:
    """Bounds carried to the present model, lower and upper bounds of screened rows (n,), in the unit of the rows."""
    square = shard.unit**2
    return shard.upper_bounds * square, shard._lower_bounds * square, shard._upper_bounds * square


class WatchedShardPool(LocalShardPool):
    """Compares every bound of every shard at every pick with the true scores; `looseness` has bound / score of each."""

    def __init__(self, rows: Rows, threads: int = 1) -> None:
        super().__init__(rows, threads)
        self.looseness: list[Floats] = []
        self.pick_count, self.tie_width = 0, 0.0

    def begin_query(self, query: ScoreQuery) -> float:
        """Carried bounds are at least the scores, and some row has a score of at least the lower bound."""
        lower_bound = super().begin_query(query)
        self.pick_count, self.tie_width = self.pick_count + 1, query.tie_width
        self.scores = [
            true_scores(gather_float64(s.rows, np.arange(s.start, s.stop)), query.model, s.score_function)
            for s in self.shards
        ]
        self.best = max(
            (scores[s.is_free].max() for s, scores in zip(self.shards, self.scores, strict=True) if s.is_free.any())
        )
        for shard, scores in zip(self.shards, self.scores, strict=True):
            if not shard.is_free.any():
                continue
            carried = bounds_of(shard)[0]
            assert (carried[shard.is_free] >= scores[shard.is_free]).all()
            self.looseness.append((carried / np.maximum(scores, 1e-300))[shard.is_free & (shard.epoch >= 0)])
        assert lower_bound <= self.best
        return lower_bound

    def finish_query(self, score_floor: float) -> list[ShardCandidates]:
        """Every row that can be tied with the best is a candidate, and screened rows are within their bounds."""
        responses = super().finish_query(score_floor)
        for shard, scores, response in zip(self.shards, self.scores, responses, strict=True):
            if not shard.is_free.any():
                continue
            is_screened, (_, lower, upper) = shard._is_screened & shard.is_free, bounds_of(shard)
            assert (lower[is_screened] <= scores[is_screened]).all()
            assert (scores[is_screened] <= upper[is_screened]).all()
            assert response.lower_bound <= self.best
            upper_bounds = dict(zip(response.rows, response.upper_bounds, strict=True))
            for row in np.flatnonzero(shard.is_free & (scores >= self.best - 0.999 * self.tie_width)):
                assert upper_bounds.get(int(row) + shard.start, -1.0) >= scores[row]
        return responses


def run_watched(
    options: Demud, rows: Rows, picks: int, prior: Floats | None = None, bits: Any = 16, threads: int = 1
) -> WatchedShardPool:
    """A run, in which every third pick is skipped, with all bounds compared with the true scores."""
    pool = WatchedShardPool(rows, threads)
    prior = np.empty((0, rows.shape[1])) if prior is None else prior
    selection = options.open(rows, prior, compute_options=ComputeOptions(copy_bits=bits, shard_pool=pool))
    for number in range(picks):
        if (choice := selection.peek()) is None:
            break
        (selection.skip if number % 3 == 2 else selection.learn)(choice.row)
    return pool


# Bounds


@given(draw_problems(), st.sampled_from(DTYPES), st.sampled_from((8, 16)), st.sampled_from((3, 2048)))
def test_bounds_hold_at_every_pick(problem: SelectionProblem, kind: str, bits: int, block: int) -> None:
    """For any features, store, method, rank and start."""
    rows = store_values(problem.features, kind).rows("array")
    with small_blocks(block):
        run_watched(problem.settings, rows, 25, problem.prior, bits, threads=2)


@examples(12)
@given(
    st.sampled_from(METHODS),
    st.sampled_from((8, 16)),
    st.sampled_from(("float64", "float16", "int8")),
    st.sampled_from((0, 25)),
    st.sampled_from(sorted(STORES)),
    st.integers(0, 99),
)
def test_bounds_hold_many_models_later(method: Any, bits: int, kind: str, known: int, store: str, seed: int) -> None:
    """Over 60 models of 400 clustered rows, most of which are carried over many of them, with and without a prior."""
    values = make_clusters(400 + known, 16, seed)
    stored = store_values(values[known:], kind)
    with small_blocks(64, query_group=8):
        pool = run_watched(Demud(method=method, rank=5), stored.rows(store), 60, values[:known], bits)
    assert pool.pick_count == 60
    assert pool.sum_counters().rows_screened < 0.6 * 60 * 400


@pytest.mark.parametrize("sign", ["both", "low", "high"])
@pytest.mark.parametrize("weights", [None, "falling", "some are 0"])
def test_bounds_hold_for_every_score_function(sign: Any, weights: str | None, tmp_path: Any) -> None:
    """If only a part of a residual counts, with and without missing values."""
    x = make_clusters(200, 10, seed=3)
    with_missing = np.where(np.random.default_rng(3).random(x.shape) < 0.02, np.nan, x)
    file = tmp_path / "weights"
    np.savetxt(file, np.linspace(2, 0.1, 10) * (np.arange(10) % 3 > 0 if weights == "some are 0" else 1))
    options = Demud(rank=4, sign=sign, weights=str(file) if weights else "", missing="ignore")
    with small_blocks(32):
        for values in (x, with_missing):
            run_watched(options, ArrayRows(values), 40)


@pytest.mark.parametrize("offset", [10.0, 1e4])
def test_bounds_hold_with_missing_values_far_from_0(offset: float) -> None:
    """float32 rows about a mean that float32 does not hold: the copies are about a point that it does."""
    x = (make_clusters(150, 6, seed=4) + offset * np.pi).astype(np.float32)
    x[3, 2] = np.nan
    run_watched(Demud(rank=2, start=5, missing="ignore"), ArrayRows(x), 20)


@examples(12)
@given(st.floats(-69, 69), st.sampled_from(METHODS))
def test_bounds_hold_for_features_of_any_size(exponent: float, method: Any) -> None:
    """Also if float32 does not hold their squares; no bound is NaN."""
    x = make_matrix("normal", 60, 8, seed=5) * 10.0**exponent
    run_watched(Demud(method=method, rank=3), ArrayRows(x), 20)


def orthonormal(rng: np.random.Generator, count: int, dimension: int, near: Floats | None = None) -> Floats:
    """Random axes (count, dimension), or ones near to others."""
    if near is None or not len(near):
        return np.linalg.qr(rng.normal(size=(dimension, count)))[0].T
    turned = near[:count] + 10.0 ** rng.uniform(-9, 0) * rng.normal(size=(min(count, len(near)), dimension))
    return np.linalg.qr(turned.T)[0].T


@given(
    st.sampled_from(KINDS),
    st.integers(1, 20),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
    st.integers(0, 5),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    st.sampled_from((8, 16)),
)
def test_bounds_hold_for_any_two_models(
    kind: str, count: int, dimension: int, seed: int, q: int, later_q: int, near: bool, in_basis: bool, bits: Any
) -> None:
    """From one random model to another, near or far, of other ranks, by features or by coordinates in a basis."""
    rng = np.random.default_rng(seed)
    x = make_matrix(kind, count, dimension, seed).astype(np.float64)
    basis, origin = orthonormal(rng, dimension, dimension), x.mean(axis=0) + rng.normal(size=dimension)

    def model(rank: int, other: Subspace | None) -> Subspace:
        axes = orthonormal(rng, min(rank, dimension), dimension, other.axes if near and other else None)
        mean = other.mean + 1e-6 * rng.normal(size=dimension) if near and other else 2 * rng.normal(size=dimension)
        return Subspace(mean, axes, (basis @ (mean - origin), axes @ basis.T) if in_basis else None)

    old_model = model(q, None)
    new_model = model(later_q, old_model)
    shard = RowShard(ArrayRows(x), 0, count, x[0].copy(), q, ScoreFunction(), bits, in_file=False)
    shard.copy_rows(slice(0, count), x)
    shard.begin_query(ScoreQuery(1, old_model, {}, 0.0))
    shard.finish_query(-np.inf)
    _, lower, upper = bounds_of(shard)
    assert (lower <= true_scores(x, old_model)).all()
    assert (true_scores(x, old_model) <= upper).all()
    shard.begin_query(ScoreQuery(2, new_model, {1: build_bound_form(old_model, new_model)}, 0.0))
    assert (shard.epoch == 1).all()
    assert (true_scores(x, new_model) <= bounds_of(shard)[0]).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_the_error_of_a_copy_along_the_axes_counts(bits: Any) -> None:
    """A model of all directions explains the rows to the last bit, but not their copies; a later one has fewer axes."""
    x = make_matrix("normal", 200, 3, seed=9)
    old_model, new_model = Subspace(np.zeros(3), np.eye(3)), Subspace(np.zeros(3), np.eye(3)[:1])
    shard = RowShard(ArrayRows(x), 0, 200, np.zeros(3), 3, ScoreFunction(), bits, in_file=False)
    shard.copy_rows(slice(0, 200), x)
    shard.begin_query(ScoreQuery(1, old_model, {}, 0.0))
    shard.finish_query(-np.inf)
    shard.begin_query(ScoreQuery(2, new_model, {1: build_bound_form(old_model, new_model)}, 0.0))
    assert (shard.epoch == 1).all()
    carried, scores = bounds_of(shard)[0], true_scores(x, new_model)
    assert (scores <= carried).all()
    assert np.median(carried / scores) < (1.05 if bits == 8 else 1.001)


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 6), st.floats(-9, 0))
def test_a_form_bounds_what_a_model_gives_up(seed: int, q: int, later_q: int, turn: float) -> None:
    """|(I − P)(μ_s + U_sᵀp − μ)| ≤ |(p, m) F| + slack |(p, m)|, and hardly less than |(p, m) F|."""
    rng = np.random.default_rng(seed)
    old_model = Subspace(rng.normal(size=8), orthonormal(rng, q, 8))
    new_axes = orthonormal(rng, later_q, 8) if turn > -1 else orthonormal(rng, q, 8, old_model.axes)
    new_model = Subspace(old_model.mean + 10.0**turn * rng.normal(size=8), new_axes)
    form, p = build_bound_form(old_model, new_model), rng.normal(size=(20, q))
    lengths = np.sqrt(true_scores(old_model.mean + p @ old_model.axes, new_model))
    mean_distance = np.linalg.norm(old_model.mean - new_model.mean)
    variables = np.column_stack([p, np.full(20, mean_distance)])
    size = np.linalg.norm(variables, axis=1)
    bound = np.linalg.norm(variables @ form.factor, axis=1)
    assert form.mean_distance == pytest.approx(mean_distance)
    assert (lengths <= (bound + form.slack * size) * (1 + 1e-6)).all()
    assert (bound <= lengths + 1e-4 * size + 1e-12).all()
    assert (form.slack, form.orthogonal_slack) < (2e-4, 2e-4)


# Laziness


@pytest.mark.parametrize("method", METHODS)
def test_bounds_are_tight(method: Any) -> None:
    """On clustered rows the median of bound / score is below 2, and few rows are screened for a pick."""
    x, picks = make_clusters(1500, 24, seed=6).astype(np.float32), 50
    pool = run_watched(Demud(method=method, rank=6), ArrayRows(x), picks)
    assert np.median(np.concatenate(pool.looseness)) < 2
    counters = pool.sum_counters()
    assert counters.rows_screened < 0.3 * picks * len(x)
    assert counters.bounds_evaluated <= picks * len(x)
    assert counters.rows_read == 0


def test_a_static_model_screens_all_rows_twice_at_most() -> None:
    """Scores of a fixed model stay: all rows are screened once or twice, and a few more for each pick."""
    x, picks = make_clusters(1000, 12, seed=7), 40
    pool = run_watched(Demud(method="static", rank=4), ArrayRows(x), picks)
    assert pool.sum_counters().rows_screened <= 2 * len(x) + picks * 64


# State


def make_shard(x: Floats, start: int = 0, stop: int | None = None) -> RowShard:
    """A shard of rows [start, stop), with its copies."""
    stop = len(x) if stop is None else stop
    shard = RowShard(ArrayRows(x), start, stop, np.zeros(x.shape[1]), 2, ScoreFunction(), 16, in_file=False)
    shard.copy_rows(slice(start, stop), x[start:stop])
    return shard


def test_taken_rows_are_no_candidates() -> None:
    """A shard without free rows has none."""
    x = make_matrix("normal", 6, 4, seed=9)
    shard, model = make_shard(x, 2), Subspace(np.zeros(4), np.empty((0, 4)))
    order = 2 + np.argsort(-true_scores(x[2:], model))
    for number, row in enumerate(order):
        shard.begin_query(
            ScoreQuery(number, model, {epoch: build_bound_form(model, model) for epoch in shard.epochs}, 0.0)
        )
        assert shard.finish_query(-np.inf).rows == [row]
        shard.drop_row(int(row))
    assert shard.begin_query(ScoreQuery(9, model, {}, 0.0)) == -np.inf
    assert shard.finish_query(0.0) == ShardCandidates([], [], -np.inf, set())


def test_taking_a_row_again_is_an_error() -> None:
    """That names it by its index among all rows."""
    shard = make_shard(make_matrix("normal", 6, 4, seed=9), 2, 5)
    shard.drop_row(3)
    with pytest.raises(ValueError, match="row 3"):
        shard.drop_row(3)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_radius_is_the_largest_distance_from_the_center(bits: Any) -> None:
    """At least that, up to the rounding of float32, and at most the error of a copy more."""
    x = make_clusters(200, 12, seed=8)
    for dtype in ("float64", "float32"):
        pool = run_watched(Demud(), ArrayRows(x.astype(dtype)), 1, bits=bits)
        (shard,) = pool.shards
        distance = np.linalg.norm(x.astype(dtype).astype(np.float64) - shard.copies.center, axis=1).max()
        assert distance * (1 - 1e-6) <= pool.get_max_radius() <= distance * (1.02 if bits == 8 else 1.0001)
