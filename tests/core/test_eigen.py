"""An updated SVD is the SVD of everything appended: the oracle is `np.linalg.svd` of the stacked factor."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpdisc_core.selectors import eigen
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.selectors.eigen import append_row

EPS = np.finfo(np.float64).eps
Svd = tuple[Floats, Floats]
Rows = Callable[[np.random.Generator, int], Floats]


def svd(factor: Floats) -> Svd:
    """The SVD redone."""
    _, values, axes = np.linalg.svd(factor, full_matrices=False)
    return values, axes


def empty(size: int) -> Svd:
    return np.empty(0), np.empty((0, size))


def appended(rows: Iterable[Floats], begin: Svd) -> Svd:
    """Append rows, each as long as the space is by then."""
    values, axes = begin
    for row in rows:
        values, axes = append_row(values, np.pad(axes, ((0, 0), (0, len(row) - axes.shape[1]))), row)
    return values, axes


def agree(updated: Svd, factor: Floats, updates: int) -> None:
    """Values, orthonormality, Gram matrix, and every leading subspace with a clear gap."""
    values, axes = updated
    exact, directions = svd(factor)
    largest, size = exact.max(initial=0.0), max(len(exact), len(values))
    growth = np.sqrt(max(updates, 1))
    assert axes.shape == (len(values), factor.shape[1])
    assert (np.diff(values) <= 0).all()
    assert (values >= 0).all()
    both = [np.pad(v, (0, size - len(v))) for v in (values, exact)]
    np.testing.assert_allclose(*both, rtol=0, atol=50 * EPS * growth * largest)
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), rtol=0, atol=1e-13)
    gram = (axes.T * values**2) @ axes - factor.T @ factor
    assert np.linalg.norm(gram) <= 1e-13 * growth * largest**2
    for rank in np.flatnonzero(-np.diff(both[1], append=0.0) > 0.05 * largest) + 1:
        ours, theirs = axes[:rank], directions[:rank]
        np.testing.assert_allclose(ours.T @ ours, theirs.T @ theirs, rtol=0, atol=1e-11)


# ---------------------------------------------------------------------------------------- long runs


def random_rows(rng: np.random.Generator, size: int) -> Floats:
    return rng.normal(size=(300, size))


def clustered_rows(rng: np.random.Generator, size: int) -> Floats:
    """Twelve places, some exactly repeated and some almost."""
    rows = rng.normal(size=(12, size))[rng.integers(12, size=300)]
    return rows + rng.choice([0.0, 1e-15, 1e-9], size=(300, 1)) * rng.normal(size=rows.shape)


def repeated_rows(rng: np.random.Generator, size: int) -> Floats:
    """Unit vectors over and over: all singular values stay in large clusters, most rows lie in the span."""
    return np.eye(size)[rng.integers(size, size=300)]


def steep_rows(rng: np.random.Generator, size: int) -> Floats:
    """Directions fade from 1 to 1e-12."""
    turn, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return rng.normal(size=(300, size)) * np.geomspace(1, 1e-12, size) @ turn


def fading_rows(rng: np.random.Generator, size: int) -> Floats:
    """Each row is shorter than the one before it, 1 to 1e-12: DEMUD's residuals, exaggerated."""
    return rng.normal(size=(300, size)) * np.geomspace(1, 1e-12, 300)[:, None]


ROWS = pytest.mark.parametrize("rows", [random_rows, clustered_rows, repeated_rows, steep_rows, fading_rows])


@ROWS
@pytest.mark.parametrize("size", [1, 20, 120])
def test_300_rows(rows: Rows, size: int) -> None:
    factor = rows(np.random.default_rng(size), size)
    agree(appended(factor, empty(size)), factor, 300)


@ROWS
def test_after_a_prior(rows: Rows) -> None:
    factor = rows(np.random.default_rng(7), 60)
    agree(appended(factor[100:], svd(factor[:100])), factor, 200)


@pytest.mark.parametrize("fade", [1.0, 1e-5, 1e-12])
@pytest.mark.parametrize("noise", [1.0, 1e-7, 0.0])
def test_a_space_that_grows_by_one_a_row(fade: float, noise: float) -> None:
    """As DEMUD's does: row t has t coordinates, the last is new. With noise 0 all values are exactly known."""
    rng = np.random.default_rng(3)
    factor = np.diag(np.geomspace(1, fade, 300)) + noise * np.tril(rng.normal(size=(300, 300)), -1) / 20
    values, axes = appended((factor[i, : i + 1] for i in range(300)), empty(0))
    assert len(values) == 300
    agree((values, axes), factor, 300)


# ---------------------------------------------------------------------------------------- any one row


@st.composite
def problems(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
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
def test_any_row(problem: tuple[Floats, Floats, Floats]) -> None:
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
    agree((updated[0] / scale, updated[1]), np.vstack([values[:, None] / scale * axes, row / scale]), 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gap", [0.0, 1e-16, 3e-16, 1e-15, 1e-14, 1e-12, 1e-8])
def test_vectors_of_near_roots_are_orthogonal(gap: float, seed: int) -> None:
    """Where the vectors of the given z, and not of the recomputed one, would be far from it."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    values = np.sort(1 + gap * np.arange(40))[::-1]
    row = rng.normal(size=40) * 10.0 ** -rng.integers(17, size=40) @ axes
    agree(append_row(values, axes, row), np.vstack([values[:, None] * axes, row]), 1)


@pytest.mark.parametrize("seed", range(5))
def test_values_over_16_decades(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes, values = np.linalg.qr(rng.normal(size=(50, 50)))[0], np.geomspace(1, 1e-16, 49)
    row = rng.normal(size=50) * np.geomspace(1, 1e-16, 50) @ axes
    agree(append_row(values, axes[:49], row), np.vstack([values[:, None] * axes[:49], row]), 1)


@pytest.mark.parametrize("seed", [*range(100), 609, 1196, 3095, 3863])
def test_no_problem_is_too_crooked(seed: int) -> None:
    """Anything against anything over 18 decades. LAPACK's own differences d − σ fail 74 and the last four."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 60))
    values = rng.choice([1, 0, 1e-5, 1e-12, 0.3], size=size) + 10.0 ** -rng.integers(0, 18, size=size) * rng.random(
        size
    )
    values, axes = np.sort(values)[::-1], np.eye(size, size + 1)
    row = rng.normal(size=size + 1) * 10.0 ** -rng.integers(0, 18, size=size + 1) * 10.0 ** rng.integers(-8, 8)
    with np.errstate(all="raise", under="ignore"):
        updated = append_row(values, axes, row)
    agree(updated, np.vstack([values[:, None] * axes, row]), 1)
    np.testing.assert_allclose(updated[1] @ updated[1].T, np.eye(len(updated[1])), rtol=0, atol=1e-14)


# ---------------------------------------------------------------------------------------- how many axes


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
        agree(updated, np.vstack([factor, row]), 1)


def test_never_more_axes_than_dimensions() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(50, 8))
    for count in range(51):
        assert len(appended(rows[:count], empty(8))[0]) == min(count, 8)


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


def test_where_lapack_fails_the_svd_is_redone(monkeypatch: pytest.MonkeyPatch) -> None:
    factor = np.random.default_rng(6).normal(size=(30, 10))
    monkeypatch.setattr(eigen, "dlasd4", lambda i, d, z, rho: (d, 0.0, d, 1))
    agree(appended(factor, empty(10)), factor, 30)
