"""DEMUD picks exactly what its literal definition picks (`literal_demud`), and has the right limiting cases."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Choice, Demud
from tests.helpers import literal_demud
from tests.helpers.strategies import (
    METHODS,
    SelectionProblem,
    comparable_choices,
    draw_features,
    draw_problems,
    examples,
    make_matrix,
    rows_of,
    run_selector,
    take_picks,
)

GROWING = ("full", "incremental")
over_methods = pytest.mark.parametrize("method", METHODS)
over_growing = pytest.mark.parametrize("method", GROWING)


def assert_agree(choices: list[Choice], expected: literal_demud.LiteralSelection, x: npt.NDArray[Any]) -> None:
    """Picks and near ties equal; scores to 1e-9 of the largest; x̂, r and μ to 1e-9 of the largest |x|."""
    assert rows_of(choices) == [pick.row for pick in expected.picks]
    assert [choice.near_ties for choice in choices] == [pick.near_ties for pick in expected.picks]
    largest, size = max((pick.score for pick in expected.picks), default=0.0), float(np.abs(x).max(initial=0.0))
    for choice, pick in zip(choices, expected.picks, strict=True):
        assert choice.score == pytest.approx(pick.score, rel=0, abs=1e-9 * largest)
        np.testing.assert_allclose(choice.expected, pick.expected, rtol=0, atol=1e-9 * size)
        np.testing.assert_allclose(choice.residual, pick.residual, rtol=0, atol=1e-9 * size)
        np.testing.assert_allclose(choice.mean, pick.mean, rtol=0, atol=1e-9 * size)


def select_literally(
    options: Demud, x: npt.NDArray[Any], prior: npt.NDArray[Any] | None = None, picks: int = 10**6
) -> literal_demud.LiteralSelection:
    """The picks of the literal definition, with these settings."""
    prior = x[:0] if prior is None else prior
    return literal_demud.select_literally(
        x, prior, method=options.method, rank=options.rank, start=options.start, picks=picks
    )


# The definition


@given(draw_problems())
def test_equals_the_literal_definition(problem: SelectionProblem) -> None:
    """Picks, scores, x̂, r, μ and near ties, for any method, rank, start, prior and type."""
    expected = select_literally(problem.settings, problem.features, problem.prior)
    assume(not expected.doubts)
    choices = run_selector(problem.settings, problem.features, problem.prior)
    assert_agree(choices, expected, np.vstack([problem.features, problem.prior]))


@examples(20)
@given(
    st.sampled_from(METHODS),
    st.sampled_from((0, 1, 5, 30)),
    st.sampled_from(("normal", "float32", "scaled", "offset")),
    st.integers(0, 99),
)
def test_equals_the_literal_definition_far_beyond_truncation(method: Any, known: int, kind: str, seed: int) -> None:
    """On 60 rows of 20 features with k = 6: 50 picks after the first direction was truncated."""
    values, options = make_matrix(kind, 60 + known, 20, seed), Demud(method=method, rank=6)
    expected = select_literally(options, values[known:], values[:known])
    assume(not expected.doubts)
    assert_agree(run_selector(options, values[known:], values[:known].astype(float)), expected, values)


@pytest.mark.parametrize("rank", range(1, 7))
def test_a_steep_spectrum_is_truncated_where_the_definition_truncates_it(rank: int) -> None:
    """Singular values that fall tenfold each, 1 … 1e-6: truncated anywhere, the scores are exact.

    A second-moment matrix alone has the directions at 1e-6 to four digits only. (Rotated within feature space, the
    literal scores stay the same to 2e-10 here.)
    """
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(n, 7)))[0] for n in (40, 16))
    x = (left * 10.0 ** -np.arange(7)) @ right.T
    options = Demud(method="static", rank=rank)
    expected, choices = select_literally(options, x, picks=40), run_selector(options, x)
    expected_scores = {pick.row: pick.score for pick in expected.picks}
    assert choices[0].row == expected.picks[0].row
    tolerance = 1e-8 * expected.picks[0].score
    np.testing.assert_allclose(
        [c.score for c in choices], [expected_scores[c.row] for c in choices], rtol=0, atol=tolerance
    )


@over_growing
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_late_picks_are_as_exact_as_early_ones(method: Any, seed: int) -> None:
    """If each pick is a quarter of the last, down to 1e-7, every score has seven correct digits.

    That needs new directions to be orthogonalized twice.
    """
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, 12)))[0] for n in (60, 30))
    x = (left * 10.0 ** -(0.6 * np.arange(12))) @ right.T
    options = Demud(method=method, rank=50, start=0)
    expected, choices = select_literally(options, x, picks=13), run_selector(options, x, picks=13)
    assert rows_of(choices) == [pick.row for pick in expected.picks]
    np.testing.assert_allclose([c.score for c in choices], [pick.score for pick in expected.picks], rtol=1e-7)


@given(draw_features(rows=16), st.integers(1, 6), st.sampled_from(GROWING))
def test_the_first_k_plus_2_picks_are_the_farthest_from_the_affine_hull(
    drawn: tuple[npt.NDArray[Any], npt.NDArray[np.float64]], rank: int, method: Any
) -> None:
    """Until a direction is truncated, DEMUD is the greedy farthest point from the affine hull of the picks (by QR)."""
    x = drawn[0].astype(np.float64)
    rows, scores = [0], [0.0]
    while len(rows) < min(rank + 2, len(x)):
        hull, _ = np.linalg.qr((x[rows[1:]] - x[rows[0]]).T)
        z = x - x[rows[0]]
        distance = ((z - (z @ hull) @ hull.T) ** 2).sum(axis=1)
        order = np.argsort(-distance)
        scale = (z**2).sum(axis=1).max()
        if distance[order[0]] < 1e-9 * scale or distance[order[0]] == 0:
            break
        assume(distance[order[0]] - distance[order[1]] > 1e-9 * scale)
        rows.append(int(order[0]))
        scores.append(float(distance[order[0]]))
    choices = run_selector(Demud(method=method, rank=rank, start=0), x, picks=len(rows))
    assert rows_of(choices) == rows
    np.testing.assert_allclose([choice.score for choice in choices], scores, rtol=0, atol=1e-9 * max(scores))


@given(draw_problems(GROWING))
def test_an_expectation_plus_its_residual_is_the_row(problem: SelectionProblem) -> None:
    """x = x̂ + r, the score is |r|², and r is orthogonal to x̂ − μ."""
    for choice in run_selector(problem.settings, problem.features, problem.prior):
        x = problem.features[choice.row].astype(np.float64)
        size = float(np.abs(problem.features).max(initial=0.0)) + 1e-300
        assert choice.expected is not None
        assert choice.residual is not None
        assert choice.mean is not None
        np.testing.assert_allclose(choice.expected + choice.residual, x, rtol=0, atol=1e-14 * size)
        if choice.score:
            assert choice.score == pytest.approx(choice.residual @ choice.residual, rel=1e-12)
        assert abs(choice.residual @ (choice.expected - choice.mean)) <= 1e-11 * size**2 * len(x)


# Ties and duplicates


@over_growing
@pytest.mark.parametrize("rank", [1, 2, 3, 50])
def test_ties_go_to_the_lowest_row(method: Any, rank: int) -> None:
    """Seen from the origin the unit vectors are equally new: they are picked in row order, and ties are counted."""
    x = np.vstack([np.zeros(6), np.eye(6)])
    choices = run_selector(Demud(method=method, rank=rank, start=0), x, picks=min(rank + 2, 7))
    assert rows_of(choices) == list(range(min(rank + 2, 7)))
    if rank == 50:
        assert [choice.near_ties for choice in choices] == [0, 5, 4, 3, 2, 1, 0]


@over_growing
@pytest.mark.parametrize("seed", [0, 1, 51, 189, 283, 296])
def test_a_common_offset_changes_no_pick(method: Any, seed: int) -> None:
    """Integer points full of ties, moved by 2^20 as a whole: every difference is exact, so every pick is the same.

    The error bounds of the search must hold for |x| much larger than |x − c|, or the lowest tied row is ruled out.
    """
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, (40, int(rng.integers(2, 6)))).astype(np.float64)
    options = Demud(method=method, rank=5, start=0)
    near, far = (run_selector(options, x + offset, picks=3) for offset in (0.0, 2.0**20))
    assert [(c.row, c.near_ties) for c in far] == [(c.row, c.near_ties) for c in near]


@over_methods
def test_a_duplicate_of_a_pick_is_never_new(method: Any) -> None:
    """Every row three times: the growing methods pick each once and stop; static ranks all copies."""
    values = np.random.default_rng(1).normal(size=(5, 8))
    choices = run_selector(Demud(method=method, rank=50), np.vstack([values, values, values]))
    assert sorted(rows_of(choices)) == list(range(15 if method == "static" else 5))


@over_growing
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rows_of_an_exhausted_span_are_not_picked(method: Any, rank: int) -> None:
    """Of rows in a plane, k ≥ 2 needs three; k = 1 continues beyond truncation. No pick consists of rounding."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 40)) + rng.normal(size=40)
    choices = run_selector(Demud(method=method, rank=rank), x)
    assert len(choices) == 3 if rank >= 2 else len(choices) > 10
    assert all(choice.score > 1e-12 for choice in choices[1:])


# Limiting cases


@over_methods
@pytest.mark.parametrize("start", ["svd", "mean", "random", 0])
def test_the_only_image_is_the_pick_and_of_no_images_there_is_none(method: Any, start: Any) -> None:
    """Its score is 0: there is nothing it differs from."""
    options = Demud(method=method, start=start)
    (choice,) = run_selector(options, np.array([[1.5, -2.0, 3.0]], dtype=np.float32))
    assert (choice.row, choice.score) == (0, 0.0)
    np.testing.assert_array_equal(choice.expected, [1.5, -2.0, 3.0])
    for known in (0, 3):
        assert run_selector(options, np.empty((0, 5), np.float32), np.ones((known, 5))) == []


@over_methods
@pytest.mark.parametrize("start", ["svd", "mean", 0])
@pytest.mark.parametrize("value", [2.0, 0.1])
def test_of_identical_images_only_the_first_is_new(method: Any, start: Any, value: float) -> None:
    """Static ranks the others after it, in row order."""
    choices = run_selector(Demud(method=method, rank=3, start=start), np.full((7, 4), value))
    assert rows_of(choices) == (list(range(7)) if method == "static" else [0])
    assert all(choice.score < 1e-30 for choice in choices)


@over_methods
def test_rows_without_features_are_all_equal(method: Any) -> None:
    """One pick and no more (static: all, in order), and no error."""
    choices = run_selector(Demud(method=method), np.empty((3, 0)))
    assert rows_of(choices) == ([0, 1, 2] if method == "static" else [0])


@over_methods
@pytest.mark.parametrize(("count", "rank"), [(4, 4), (4, 50), (4, 3)])
def test_with_fewer_images_than_directions_each_is_picked_once(method: Any, count: int, rank: int) -> None:
    """k ≥ N: k is only an upper limit."""
    x = np.random.default_rng(4).normal(size=(count, 9))
    assert sorted(rows_of(run_selector(Demud(method=method, rank=rank), x))) == list(range(count))


@over_growing
def test_with_fewer_features_than_directions_a_selection_ends(method: Any) -> None:
    """d < k: after d + 1 rows in general position everything is explained."""
    choices = run_selector(Demud(method=method, rank=50), np.random.default_rng(5).normal(size=(40, 3)))
    assert len(choices) == 4
    assert choices[-1].score > 0


@over_methods
@pytest.mark.parametrize("copies", [1, 2])
def test_nothing_is_new_if_the_prior_equals_the_data(method: Any, copies: int) -> None:
    """Whatever the method, if the rank suffices."""
    x = np.random.default_rng(6).normal(size=(12, 5)).astype(np.float32)
    assert run_selector(Demud(method=method, rank=5), x, np.vstack([x] * copies).astype(float)) == []


@given(st.sampled_from(METHODS), st.integers(1, 12), st.floats(0.01, 1))
@example("full", 6, 0.7)
@example("incremental", 3, 0.1)
@example("static", 11, 1 / 3)
def test_a_copy_of_the_prior_is_not_new(method: Any, count: int, value: float) -> None:
    """The mean of n copies may be off by rounding, which is no novelty."""
    assert run_selector(Demud(method=method, rank=3), np.full((2, 4), value), np.full((count, 4), value)) == []


@over_methods
def test_a_row_at_the_mean_of_the_prior_is_not_new(method: Any) -> None:
    """Copies of a row that lies amid the prior are within rounding of μ."""
    rng = np.random.default_rng(8)
    center, steps = rng.normal(size=6), rng.normal(size=(5, 6))
    prior = np.vstack([center + steps, center - steps])
    assert run_selector(Demud(method=method, rank=2), np.tile(center, (3, 1)), prior) == []


@over_methods
def test_a_prior_replaces_the_start(method: Any) -> None:
    """With a prior the first pick is what the prior explains least, whatever `start` is."""
    values = np.random.default_rng(9).normal(size=(20, 6))
    starts: list[Any] = ["svd", "mean", "random", 3, 10**6]
    runs = [run_selector(Demud(method=method, rank=2, start=start), values[5:], values[:5]) for start in starts]
    (rows,) = {tuple(rows_of(choices)) for choices in runs}
    assert rows[0] != 3


@over_methods
@pytest.mark.parametrize("start", [5, 10**9])
def test_a_start_row_that_does_not_exist_is_refused_with_both_numbers(method: Any, start: int) -> None:
    with pytest.raises(PlanError, match=rf"start row {start} .*\b5 rows"):
        Demud(method=method, start=start).open(np.zeros((5, 2)), np.empty((0, 2)))


@pytest.mark.parametrize(("field", "value"), [("rank", 0), ("rank", -1), ("start", -1)])
def test_a_setting_outside_its_range_is_refused_with_its_value(field: str, value: int) -> None:
    with pytest.raises(PlanError, match=f"demud: {field} must be .*{value}"):
        Demud(**{field: value})


@over_growing
def test_a_random_start_is_the_start_by_a_row_that_the_seed_draws(method: Any) -> None:
    """The same row for the same seed; ten seeds draw at least four rows of thirty."""
    x, first_rows = np.random.default_rng(10).normal(size=(30, 6)), set()
    for seed in range(10):
        options = Demud(method=method, rank=3, start="random", seed=seed)
        rows = rows_of(run_selector(options, x))
        assert rows == rows_of(run_selector(options, x))
        assert rows == rows_of(run_selector(Demud(method=method, rank=3, start=rows[0]), x))
        first_rows.add(rows[0])
    assert len(first_rows) >= 4


# State


@given(draw_problems(), st.integers(0, 24))
@example(SelectionProblem(np.vstack([np.zeros(6), np.eye(6)]), np.empty((0, 6)), Demud(rank=2)), 3)
def test_a_replayed_selection_continues_as_a_straight_one(problem: SelectionProblem, done: int) -> None:
    """A new selection that learns the rows so far makes the same further picks, to the bit."""
    straight = run_selector(problem.settings, problem.features, problem.prior)
    resumed = problem.settings.open(problem.features, problem.prior)
    for row in rows_of(straight[:done]):
        resumed.learn(row)
    assert comparable_choices(take_picks(resumed)) == comparable_choices(straight[done:])


@over_methods
def test_peeks_change_nothing_also_at_the_null_tolerance(method: Any) -> None:
    """A selection that peeks only at the end makes the pick of one that peeks before each learn, to the bit.

    The last rows leave the span by more than rounding but by less than 1e-10 of the largest singular value.
    """
    rng = np.random.default_rng(11)
    x = np.zeros((64, 64))
    x[:60, 0] = np.where(np.arange(60) % 2, 10.0, -10.0)
    x[np.arange(60), np.arange(60) + 1] = 1.0 + rng.random(60) / 10
    x[60:, 0] = (-9.0, 9.0, -8.0, 8.0)
    x[60:, 62] = (3e-9, -3e-9, 5e-9, -4e-9)
    options = Demud(method=method, rank=100, start=0)
    straight = run_selector(options, x)
    for done in (10, 59, 60, 61, 62):
        silent = options.open(x, np.empty((0, 64)))
        for row in rows_of(straight[:done]):
            silent.learn(row)
        choice = silent.peek()
        expected = straight[done] if done < len(straight) else None
        assert (choice and (choice.row, choice.score)) == (expected and (expected.row, expected.score)), done


@given(draw_problems())
def test_the_input_is_not_changed_and_no_row_is_picked_twice(problem: SelectionProblem) -> None:
    """A read-only matrix will do; to learn a row twice is refused."""
    x, prior = problem.features.copy(), problem.prior.copy()
    x.flags.writeable = prior.flags.writeable = False
    rows = rows_of(run_selector(problem.settings, x, prior))
    assert x.tobytes() == problem.features.tobytes()
    assert prior.tobytes() == problem.prior.tobytes()
    assert len(set(rows)) == len(rows)
    assert all(0 <= row < len(x) for row in rows)
    selection = problem.settings.open(x, prior)
    selection.learn(0)
    with pytest.raises(ValueError, match="row 0"):
        selection.learn(0)


@given(draw_problems(), st.sampled_from(["F", "strided", "big-endian"]))
def test_the_memory_layout_of_the_matrix_does_not_matter(problem: SelectionProblem, layout: str) -> None:
    """Column-major, strided and byte-swapped features give the same picks as plain ones."""
    plain = problem.features
    expected = select_literally(problem.settings, plain, problem.prior)
    assume(not expected.doubts)
    other = {
        "F": lambda: np.asfortranarray(plain),
        "strided": lambda: np.repeat(plain, 2, axis=1)[:, ::2],
        "big-endian": lambda: plain.astype(plain.dtype.newbyteorder(">")),
    }[layout]()
    assert_agree(run_selector(problem.settings, other, problem.prior), expected, np.vstack([plain, problem.prior]))


@over_methods
def test_more_rows_than_a_block_give_the_picks_of_the_definition(method: Any) -> None:
    x, options = make_matrix("float32", 5000, 6, seed=12), Demud(method=method, rank=3)
    expected = select_literally(options, x, picks=12)
    assert not expected.doubts
    assert_agree(run_selector(options, x, picks=12), expected, x)
