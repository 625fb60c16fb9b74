"""How picks spread: against literal distances, and under what must not matter."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.spread import coverage, redundancy, spread, typical_distance
from tests.strategies import KINDS, matrix

PROBLEM = st.tuples(st.sampled_from(KINDS), st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**31 - 1))
LINE = [[0.0], [1.0], [2.0], [10.0]]


def distances(values: np.ndarray) -> np.ndarray:
    """Literally: (n, n)."""
    wide = values.astype(np.float64)
    return np.sqrt(((wide[:, None] - wide[None]) ** 2).sum(axis=2))


def picks_of(rows: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(rows)[: 1 + seed % rows].tolist()


def test_on_a_line() -> None:
    """Rows at 0, 1, 2, 10, of which 0, 2 and 10 are picked: each pick is 2 or more from the others, 1 lies within 1."""
    assert redundancy(LINE, [0, 2, 3], 1.9) == 0
    assert redundancy(LINE, [0, 2, 3], 2) == 0.5
    assert coverage(LINE, [0, 2, 3], 1) == (1, 1 / 6.75, 1)
    assert coverage(LINE, [0], 1) == (10, 10 / 6.75, 0.5)
    assert typical_distance(LINE) == 1


@given(PROBLEM, st.floats(0.01, 10))
def test_as_literal_distances_have_it(problem: tuple[str, int, int, int], epsilon: float) -> None:
    values, picked = matrix(*problem), picks_of(problem[1], problem[3])
    far = distances(values)
    scale = float(np.abs(values).max()) + 1e-300
    radius, _, covered = coverage(values, picked, epsilon)
    to_picks = far[:, picked].min(axis=1)
    assert radius == pytest.approx(to_picks.max(), rel=1e-6, abs=1e-6 * scale)
    clear = np.abs(to_picks - epsilon) > 1e-6 * scale  # on which side the others are is a matter of rounding
    assert ((to_picks <= epsilon) & clear).mean() <= covered <= ((to_picks <= epsilon) | ~clear).mean()
    again = [far[row, picked[:place]].min() <= epsilon for place, row in enumerate(picked) if place]
    assert redundancy(values, picked, epsilon) == (np.mean(again) if again else 0)
    others = far + np.diag(np.full(len(far), np.inf))
    nearest = np.median(others.min(axis=1)) if len(far) > 1 else 0
    assert typical_distance(values) == pytest.approx(nearest, rel=1e-6, abs=1e-6 * scale)


@given(PROBLEM)
def test_more_picks_leave_less_far_away(problem: tuple[str, int, int, int]) -> None:
    """The radius never grows with the picks, nor does the share within epsilon shrink; with all rows picked it is 0 and 1."""
    values = matrix(*problem)
    order = np.random.default_rng(problem[3]).permutation(problem[1]).tolist()
    told = [coverage(values, order[:count], 0.5) for count in range(1, len(order) + 1)]
    slack = 1e-7 * float(np.abs(values).max())
    assert all(later[0] <= earlier[0] + slack for earlier, later in itertools.pairwise(told))
    assert all(later[2] >= earlier[2] for earlier, later in itertools.pairwise(told))
    assert (told[-1][0], told[-1][2]) == (0, 1)


@given(PROBLEM, st.floats(0.1, 100))
def test_the_unit_of_length_does_not_matter(problem: tuple[str, int, int, int], factor: float) -> None:
    """Rows in another unit: lengths are in that unit, and shares and ratios stay as they are, off the edge."""
    values, picked = matrix(*problem).astype(np.float64), picks_of(problem[1], problem[3])
    one, other = spread(values, picked), spread(factor * values, picked)
    length = 1e-6 * float(np.abs(values).max())
    assert other.radius == pytest.approx(factor * one.radius, rel=1e-6, abs=factor * length)
    assert other.epsilon == pytest.approx(factor * one.epsilon, rel=1e-6, abs=factor * length)


def test_duplicates_are_at_no_distance() -> None:
    """Also far from the origin, where products alone would not tell: a repeated row is redundant at epsilon 0."""
    values = 1e6 + np.repeat(np.random.default_rng(0).normal(size=(5, 3)), 2, axis=0)
    assert redundancy(values, list(range(10)), 0.0) == pytest.approx(5 / 9)
    assert typical_distance(values) == 0
    assert coverage(values, [0, 2, 4, 6, 8], 0.0) == (0, 0, 1)


def test_a_sample_stands_for_the_rows() -> None:
    """The same seed the same rows, whose nearest are looked for among all: not farther than among the sample."""
    values = np.random.default_rng(1).normal(size=(400, 3))
    assert typical_distance(values, 0, 50) == typical_distance(values, 0, 50)
    assert typical_distance(values, 0, 50) == pytest.approx(typical_distance(values), rel=0.3)
    assert typical_distance(values, 0, 50) < 0.7 * typical_distance(values[:50])


def test_all_rows_alike() -> None:
    """No length to compare to: no division by it."""
    found = spread(np.ones((4, 2)), [0, 1])
    assert (found.epsilon, found.redundancy, found.radius, found.relative_radius, found.covered) == (0, 1, 0, 0, 1)


def test_nothing_is_picked() -> None:
    with pytest.raises(ValueError, match="no picks"):
        coverage(LINE, [], 1)
    assert redundancy(LINE, [], 1) == redundancy(LINE, [2], 1) == 0
