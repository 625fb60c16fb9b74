"""How picks cover a collection: compared with literal distances, and under changes that must not matter."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.metrics.diversity import coverage, redundancy, score_diversity, typical_distance
from tests.helpers.strategies import KINDS, make_matrix

PROBLEM = st.tuples(st.sampled_from(KINDS), st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**31 - 1))
LINE = [[0.0], [1.0], [2.0], [10.0]]


def distances(values: np.ndarray) -> np.ndarray:
    """Literally: (n, n)."""
    wide = values.astype(np.float64)
    return np.sqrt(((wide[:, None] - wide[None]) ** 2).sum(axis=2))


def picks_of(rows: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(rows)[: 1 + seed % rows].tolist()


def test_scores_on_a_line_by_hand() -> None:
    """Rows at 0, 1, 2, 10, of which 0, 2 and 10 are picks: each pick is 2 or more from the others, 1 lies within 1."""
    assert redundancy(LINE, [0, 2, 3], 1.9) == 0
    assert redundancy(LINE, [0, 2, 3], 2) == 0.5
    assert coverage(LINE, [0, 2, 3], 1) == (1, 1 / 6.75, 1)
    assert coverage(LINE, [0], 1) == (10, 10 / 6.75, 0.5)
    assert typical_distance(LINE) == 1


@given(PROBLEM, st.floats(0.01, 10))
def test_scores_equal_those_from_literal_distances(problem: tuple[str, int, int, int], epsilon: float) -> None:
    values, picks = make_matrix(*problem), picks_of(problem[1], problem[3])
    far = distances(values)
    scale = float(np.abs(values).max()) + 1e-300
    radius, _, covered = coverage(values, picks, epsilon)
    to_picks = far[:, picks].min(axis=1)
    assert radius == pytest.approx(to_picks.max(), rel=1e-6, abs=1e-6 * scale)
    clear = np.abs(to_picks - epsilon) > 1e-6 * scale  # on which side the others are depends on rounding
    assert ((to_picks <= epsilon) & clear).mean() <= covered <= ((to_picks <= epsilon) | ~clear).mean()
    is_repeat = [far[row, picks[:position]].min() <= epsilon for position, row in enumerate(picks) if position]
    assert redundancy(values, picks, epsilon) == (np.mean(is_repeat) if is_repeat else 0)
    others = far + np.diag(np.full(len(far), np.inf))
    nearest = np.median(others.min(axis=1)) if len(far) > 1 else 0
    assert typical_distance(values) == pytest.approx(nearest, rel=1e-6, abs=1e-6 * scale)


@given(PROBLEM)
def test_more_picks_never_increase_the_radius_or_lower_the_coverage(problem: tuple[str, int, int, int]) -> None:
    """With all rows picks they are 0 and 1."""
    values = make_matrix(*problem)
    order = np.random.default_rng(problem[3]).permutation(problem[1]).tolist()
    scores = [coverage(values, order[:count], 0.5) for count in range(1, len(order) + 1)]
    slack = 1e-7 * float(np.abs(values).max())
    assert all(later[0] <= earlier[0] + slack for earlier, later in itertools.pairwise(scores))
    assert all(later[2] >= earlier[2] for earlier, later in itertools.pairwise(scores))
    assert (scores[-1][0], scores[-1][2]) == (0, 1)


@given(PROBLEM, st.floats(0.1, 100))
def test_shares_do_not_depend_on_the_unit_of_length(problem: tuple[str, int, int, int], factor: float) -> None:
    """Lengths scale with it."""
    values, picks = make_matrix(*problem).astype(np.float64), picks_of(problem[1], problem[3])
    original, scaled = score_diversity(values, picks), score_diversity(factor * values, picks)
    length = 1e-6 * float(np.abs(values).max())
    assert scaled.radius == pytest.approx(factor * original.radius, rel=1e-6, abs=factor * length)
    assert scaled.epsilon == pytest.approx(factor * original.epsilon, rel=1e-6, abs=factor * length)


def test_duplicates_have_distance_0_even_far_from_the_origin() -> None:
    """Where dot products alone would round."""
    values = 1e6 + np.repeat(np.random.default_rng(0).normal(size=(5, 3)), 2, axis=0)
    assert redundancy(values, list(range(10)), 0.0) == pytest.approx(5 / 9)
    assert typical_distance(values) == 0
    assert coverage(values, [0, 2, 4, 6, 8], 0.0) == (0, 0, 1)


def test_the_typical_distance_of_a_sample_is_that_to_all_rows() -> None:
    """The same for the same seed, and smaller than among the sample only."""
    values = np.random.default_rng(1).normal(size=(400, 3))
    assert typical_distance(values, 0, 50) == typical_distance(values, 0, 50)
    assert typical_distance(values, 0, 50) == pytest.approx(typical_distance(values), rel=0.3)
    assert typical_distance(values, 0, 50) < 0.7 * typical_distance(values[:50])


def test_equal_rows_have_radius_0() -> None:
    scores = score_diversity(np.ones((4, 2)), [0, 1])
    assert (scores.epsilon, scores.redundancy, scores.radius, scores.relative_radius, scores.covered) == (0, 1, 0, 0, 1)


def test_the_coverage_of_no_picks_is_refused() -> None:
    with pytest.raises(ValueError, match="no picks"):
        coverage(LINE, [], 1)
    assert redundancy(LINE, [], 1) == redundancy(LINE, [2], 1) == 0
