"""An updated SVD is the SVD of everything appended: the oracle is `np.linalg.svd` of the stacked factor."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpdisc_core._types import FloatArray
from interpdisc_core.selectors.exact import svd_update
from interpdisc_core.selectors.exact.svd_update import append_row
from tests.helpers.strategies import examples

EPS = np.finfo(np.float64).eps
Svd = tuple[FloatArray, FloatArray]
Rows = Callable[[np.random.Generator, int], FloatArray]


def svd(factor: FloatArray) -> Svd:
    """The SVD redone."""
    _, values, axes = np.linalg.svd(factor, full_matrices=False)
    return values, axes


def empty(size: int) -> Svd:
    return np.empty(0), np.empty((0, size))


def append_rows(rows: Iterable[FloatArray], start: Svd) -> Svd:
    """Append rows, each as long as the space has dimensions by then."""
    values, axes = start
    for row in rows:
        values, axes = append_row(values, np.pad(axes, ((0, 0), (0, len(row) - axes.shape[1]))), row)
    return values, axes


def assert_is_svd(updated: Svd, factor: FloatArray, updates: int) -> None:
    """Compare values, orthonormality, Gram matrix, and every leading subspace with a clear gap with a dense SVD."""
    values, axes = updated
    exact, directions = svd(factor)
    largest, size = exact.max(initial=0.0), max(len(exact), len(values))
    growth = np.sqrt(max(updates, 1))
    assert axes.shape == (len(values), factor.shape[1])
    assert (np.diff(values) <= 0).all()
    assert (values >= 0).all()
    padded, padded_exact = (np.pad(v, (0, size - len(v))) for v in (values, exact))
    np.testing.assert_allclose(padded, padded_exact, rtol=0, atol=50 * EPS * growth * largest)
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), rtol=0, atol=1e-13)
    gram = (axes.T * values**2) @ axes - factor.T @ factor
    assert np.linalg.norm(gram) <= 1e-13 * growth * largest**2
    for rank in np.flatnonzero(-np.diff(padded_exact, append=0.0) > 0.05 * largest) + 1:
        ours, theirs = axes[:rank], directions[:rank]
        np.testing.assert_allclose(ours.T @ ours, theirs.T @ theirs, rtol=0, atol=1e-11)


# Long runs


def random_rows(rng: np.random.Generator, size: int) -> FloatArray:
    return rng.normal(size=(300, size))


def clustered_rows(rng: np.random.Generator, size: int) -> FloatArray:
    """Twelve points, some exactly repeated and some almost."""
    rows = rng.normal(size=(12, size))[rng.integers(12, size=300)]
    return rows + rng.choice([0.0, 1e-15, 1e-9], size=(300, 1)) * rng.normal(size=rows.shape)


def repeated_rows(rng: np.random.Generator, size: int) -> FloatArray:
    """Unit vectors again and again: all singular values stay in large clusters, most rows lie in the span."""
    return np.eye(size)[rng.integers(size, size=300)]


def steep_rows(rng: np.random.Generator, size: int) -> FloatArray:
    """Directions fade from 1 to 1e-12."""
    turn, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return rng.normal(size=(300, size)) * np.geomspace(1, 1e-12, size) @ turn


def fading_rows(rng: np.random.Generator, size: int) -> FloatArray:
    """Each row is shorter than the one before it, 1 to 1e-12: DEMUD's residuals, exaggerated."""
    return rng.normal(size=(300, size)) * np.geomspace(1, 1e-12, 300)[:, None]


ROWS = pytest.mark.parametrize("rows", [random_rows, clustered_rows, repeated_rows, steep_rows, fading_rows])


@ROWS
@pytest.mark.parametrize("size", [1, 20, 120])
def test_300_rows_one_by_one_give_the_svd_of_all(rows: Rows, size: int) -> None:
    factor = rows(np.random.default_rng(size), size)
    assert_is_svd(append_rows(factor, empty(size)), factor, 300)


@ROWS
def test_rows_after_a_prior_give_the_svd_of_all(rows: Rows) -> None:
    factor = rows(np.random.default_rng(7), 60)
    assert_is_svd(append_rows(factor[100:], svd(factor[:100])), factor, 200)


@pytest.mark.parametrize("fade", [1.0, 1e-5, 1e-12])
@pytest.mark.parametrize("noise", [1.0, 1e-7, 0.0])
def test_a_space_that_grows_by_one_dimension_a_row(fade: float, noise: float) -> None:
    """As DEMUD's does: row t has t coordinates, the last is new. With noise 0 all values are exactly known."""
    rng = np.random.default_rng(3)
    factor = np.diag(np.geomspace(1, fade, 300)) + noise * np.tril(rng.normal(size=(300, 300)), -1) / 20
    values, axes = append_rows((factor[i, : i + 1] for i in range(300)), empty(0))
    assert len(values) == 300
    assert_is_svd((values, axes), factor, 300)


# Any one row


@st.composite
def problems(draw: st.DrawFn) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Values and axes of any kind (equal, zero, steep, nearly equal) and a row inside, outside or between."""
    size = draw(st.integers(0, 9))
    count = draw(st.integers(0, size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    few = [0.0, 1.0, 1.0 + EPS, 1.0 + 9 * EPS, 1.0 + 1e-9, 0.5, 1e-3, 1e-8, 1e-15, 1e-16, 1e-17, 1e-30]
    values = np.sort(draw(st.lists(st.sampled_from(few), min_size=count, max_size=count)))[::-1]
    turn = draw(st.sampled_from([np.eye(size), np.linalg.qr(rng.normal(size=(size, size)))[0]]))
    weights = draw(st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.1, 1e-8, 1e-15, 1e-17]), min_size=size, max_size=size))
    scale = draw(st.sampled_from([1.0, 1e-9, 1e9, 1e-200, 1e150]))
    return values * scale, turn[:count], np.array(weights) @ turn * scale if size else np.empty(0)


@given(problems())
@example((np.empty(0), np.empty((0, 0)), np.empty(0)))
@example((np.array([1.0, 1.0, 1.0, 1e-8]), np.eye(4), np.array([1.0, 1.0, 1.0, 1e-15])))  # a root on its d
@example((np.empty(0), np.empty((0, 3)), np.zeros(3)))
@example((np.ones(3), np.eye(3), np.ones(3)))
@example((np.zeros(3), np.eye(5)[:3], np.ones(5)))
@example((np.array([1.0, 0, 0]), np.eye(5)[:3], np.array([0, 1.0, -1, 0, 1e-12])))
def test_any_row_gives_the_svd_and_changes_no_input(problem: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    values, axes, row = problem
    before = [part.copy() for part in problem]
    updated = append_row(values, axes, row)
    for part, copy in zip(problem, before, strict=True):
        np.testing.assert_array_equal(part, copy)
    assert not any(np.shares_memory(new, old) for new in updated for old in problem)
    for new, again in zip(updated, append_row(values, axes, row), strict=True):
        assert new.tobytes() == again.tobytes()
    # The checks square values; the function need not care.
    scale = max(values.max(initial=0.0), np.abs(row).max(initial=0.0)) or 1.0
    assert_is_svd((updated[0] / scale, updated[1]), np.vstack([values[:, None] / scale * axes, row / scale]), 1)


@given(st.one_of(st.just(0.0), st.floats(-17, -7).map(lambda exponent: 10.0**exponent)), st.integers(0, 2**32 - 1))
@example(3e-16, 0)
def test_vectors_of_near_roots_are_orthogonal(gap: float, seed: int) -> None:
    """Where the vectors of the given z, instead of the recomputed one, would be far from orthogonal."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    values = np.sort(1 + gap * np.arange(40))[::-1]
    row = rng.normal(size=40) * 10.0 ** -rng.integers(17, size=40) @ axes
    assert_is_svd(append_row(values, axes, row), np.vstack([values[:, None] * axes, row]), 1)


@examples(10)
@given(st.integers(0, 2**32 - 1))
def test_values_over_16_decades(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes, values = np.linalg.qr(rng.normal(size=(50, 50)))[0], np.geomspace(1, 1e-16, 49)
    row = rng.normal(size=50) * np.geomspace(1, 1e-16, 50) @ axes
    assert_is_svd(append_row(values, axes[:49], row), np.vstack([values[:, None] * axes[:49], row]), 1)


@given(st.integers(0, 2**32 - 1))
@example(74)
@example(609)
@example(1196)
@example(3095)
@example(3863)
def test_values_and_rows_over_18_decades_in_any_combination(seed: int) -> None:
    """The differences d − σ of LAPACK itself are not accurate enough for the five examples."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 60))
    values = rng.choice([1, 0, 1e-5, 1e-12, 0.3], size=size) + 10.0 ** -rng.integers(0, 18, size=size) * rng.random(
        size
    )
    values, axes = np.sort(values)[::-1], np.eye(size, size + 1)
    row = rng.normal(size=size + 1) * 10.0 ** -rng.integers(0, 18, size=size + 1) * 10.0 ** rng.integers(-8, 8)
    with np.errstate(all="raise", under="ignore"):
        updated = append_row(values, axes, row)
    assert_is_svd(updated, np.vstack([values[:, None] * axes, row]), 1)
    np.testing.assert_allclose(updated[1] @ updated[1].T, np.eye(len(updated[1])), rtol=0, atol=1e-14)


# How many axes


def test_only_a_row_outside_the_span_adds_an_axis() -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(200, 300))
    values, axes = svd(factor)
    for row in [np.zeros(300), factor[17], 1e-9 * factor[18], *(rng.normal(size=(20, 200)) @ axes)]:
        assert len(append_row(values, axes, row)[0]) == 200
    for length in (1.0, 1e-6, 1e-12):
        outside = rng.normal(size=300)
        row = factor[17] + length * outside
        updated = append_row(values, axes, row)
        assert len(updated[0]) == 201
        assert_is_svd(updated, np.vstack([factor, row]), 1)


def test_never_more_axes_than_dimensions() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(50, 8))
    for count in range(51):
        assert len(append_rows(rows[:count], empty(8))[0]) == min(count, 8)


def test_a_zero_row_changes_nothing() -> None:
    values, axes = svd(np.random.default_rng(2).normal(size=(5, 9)))
    updated = append_row(values, axes, np.zeros(9))
    np.testing.assert_array_equal(updated[0], values)
    np.testing.assert_array_equal(updated[1], axes)


def test_a_power_of_two_changes_no_bit() -> None:
    values, axes = svd(np.random.default_rng(4).normal(size=(5, 9)))
    row = np.random.default_rng(5).normal(size=9)
    for exponent in (-900, -30, 30, 900):
        scaled = append_row(np.ldexp(values, exponent), axes, np.ldexp(row, exponent))
        plain = append_row(values, axes, row)
        np.testing.assert_array_equal(scaled[0], np.ldexp(plain[0], exponent))
        np.testing.assert_array_equal(scaled[1], plain[1])


def test_if_lapack_fails_the_small_svd_is_redone(monkeypatch: pytest.MonkeyPatch) -> None:
    factor = np.random.default_rng(6).normal(size=(30, 10))
    monkeypatch.setattr(svd_update, "dlasd4", lambda i, d, z, rho: (d, 0.0, d, 1))
    assert_is_svd(append_rows(factor, empty(10)), factor, 30)
