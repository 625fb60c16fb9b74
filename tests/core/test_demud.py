"""DEMUD picks exactly what its literal definition picks (`literal.py`), and what it must in the limiting cases."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Choice, Demud, Means
from tests.core import literal
from tests.strategies import METHODS, Problem, features, matrix, problems

GROWING = ("full", "incremental")


def run(
    settings: Demud, x: npt.ArrayLike, prior: npt.ArrayLike | None = None, picks: int = 10**6,
    labels: list[str] | None = None, means: Means | None = None,
) -> list[Choice]:  # fmt: skip
    """The picks of a straight run, until nothing is new or `picks` are made."""
    x = np.asarray(x)
    before = np.empty((0, x.shape[1])) if prior is None else np.asarray(prior, dtype=np.float64)
    selection, made = settings.open(x, before, labels, means), []
    while len(made) < picks and (choice := selection.peek()) is not None:
        made.append(choice)
        selection.learn(choice.row)
    return made


def rows(choices: list[Choice]) -> list[int]:
    """The picked rows in order."""
    return [choice.row for choice in choices]


def agree(made: list[Choice], truth: literal.Literal, x: npt.NDArray[Any]) -> None:
    """Picks and near-ties equal; scores to 1e-9 of the largest; x̂, r and μ to 1e-9 of the largest |x|."""
    assert rows(made) == [pick.row for pick in truth.picks]
    assert [choice.near_ties for choice in made] == [pick.near_ties for pick in truth.picks]
    largest, size = max((pick.score for pick in truth.picks), default=0.0), float(np.abs(x).max(initial=0.0))
    for choice, pick in zip(made, truth.picks, strict=True):
        assert choice.score == pytest.approx(pick.score, rel=0, abs=1e-9 * largest)
        np.testing.assert_allclose(choice.expected, pick.expected, rtol=0, atol=1e-9 * size)
        np.testing.assert_allclose(choice.residual, pick.residual, rtol=0, atol=1e-9 * size)
        np.testing.assert_allclose(choice.mean, pick.mean, rtol=0, atol=1e-9 * size)


def compare(x: npt.NDArray[Any], prior: npt.NDArray[Any], settings: Demud, picks: int = 10**6) -> literal.Literal:
    """Run both and hold them to each other, unless rounding alone decides."""
    truth = literal.select(x, prior, method=settings.method, rank=settings.rank, start=settings.start, picks=picks)
    assume(not truth.doubts)
    agree(run(settings, x, prior, picks), truth, x)
    return truth


# ---------------------------------------------------------------------------------------- the definition


@given(problems())
def test_equals_the_literal_definition(problem: Problem) -> None:
    """Picks, scores, x̂, r, μ and near-ties are the definition's: any method, rank, start, prior, dtype."""
    compare(problem.features, problem.prior, problem.settings)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prior", [0, 1, 5, 30])
@pytest.mark.parametrize("kind", ["normal", "float32", "scaled", "offset"])
def test_equals_the_literal_definition_far_beyond_truncation(method: str, prior: int, kind: str) -> None:
    """The same on 90 rows of 20 features with k = 6: 80 picks after the first direction was cut."""
    whole = matrix(kind, 90 + prior, 20, seed=7)
    settings = Demud(method=method, rank=6)
    truth = literal.select(whole[prior:], whole[:prior], method=method, rank=6, start="svd", picks=90)
    assert not truth.doubts
    agree(run(settings, whole[prior:], whole[:prior]), truth, whole)


@pytest.mark.parametrize("rank", range(1, 7))
def test_a_steep_spectrum_is_cut_where_the_definition_cuts_it(rank: int) -> None:
    """Singular values that fall tenfold each, 1 … 1e-6: a cut at any of them leaves the scores exact.

    A second-moment matrix alone holds the directions at 1e-6 to four digits only. (Turned within feature space, the
    literal scores stay the same to 2e-10 here.)
    """
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(n, 7)))[0] for n in (40, 16))
    x = (left * 10.0 ** -np.arange(7)) @ right.T
    truth = literal.select(x, x[:0], method="static", rank=rank, start="svd", picks=40)
    wanted = {pick.row: pick.score for pick in truth.picks}
    made = run(Demud(method="static", rank=rank), x)
    assert made[0].row == truth.picks[0].row
    largest = truth.picks[0].score
    np.testing.assert_allclose([c.score for c in made], [wanted[c.row] for c in made], rtol=0, atol=1e-8 * largest)


@pytest.mark.parametrize("method", GROWING)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_late_picks_are_as_exact_as_early_ones(method: str, seed: int) -> None:
    """Where each pick is a quarter of the last, down to 1e-7, every score keeps seven digits of its own.

    That needs new directions to be made orthogonal twice.
    """
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, 12)))[0] for n in (60, 30))
    x = (left * 10.0 ** -(0.6 * np.arange(12))) @ right.T
    truth = literal.select(x, x[:0], method=method, rank=50, start=0, picks=13)
    made = run(Demud(method=method, rank=50, start=0), x, picks=13)
    assert rows(made) == [pick.row for pick in truth.picks]
    np.testing.assert_allclose([c.score for c in made], [pick.score for pick in truth.picks], rtol=1e-7)


@given(features(rows=16), st.integers(1, 6), st.sampled_from(GROWING))
def test_the_first_k_plus_2_picks_are_the_farthest_from_the_affine_hull(
    given_: tuple[npt.NDArray[Any], npt.NDArray[np.float64]], rank: int, method: str
) -> None:
    """Until a direction is cut, DEMUD is the greedy farthest point from the affine hull of the picks (by QR)."""
    x = given_[0].astype(np.float64)
    picked, scores = [0], [0.0]
    while len(picked) < min(rank + 2, len(x)):
        hull, _ = np.linalg.qr((x[picked[1:]] - x[picked[0]]).T)
        z = x - x[picked[0]]
        distance = ((z - (z @ hull) @ hull.T) ** 2).sum(axis=1)
        order = np.argsort(-distance)
        scale = (z**2).sum(axis=1).max()
        if distance[order[0]] < 1e-9 * scale or distance[order[0]] == 0:
            break
        assume(distance[order[0]] - distance[order[1]] > 1e-9 * scale)
        picked.append(int(order[0]))
        scores.append(float(distance[order[0]]))
    made = run(Demud(method=method, rank=rank, start=0), x, picks=len(picked))
    assert rows(made) == picked
    np.testing.assert_allclose([choice.score for choice in made], scores, rtol=0, atol=1e-9 * max(scores))


@given(problems(GROWING))
def test_an_expectation_and_its_residual_are_the_row(problem: Problem) -> None:
    """x = x̂ + r, the score is |r|², and r is at right angles to x̂ − μ."""
    for choice in run(problem.settings, problem.features, problem.prior):
        x = problem.features[choice.row].astype(np.float64)
        size = float(np.abs(problem.features).max(initial=0.0)) + 1e-300
        assert choice.expected is not None
        assert choice.residual is not None
        assert choice.mean is not None
        np.testing.assert_allclose(choice.expected + choice.residual, x, rtol=0, atol=1e-14 * size)
        if choice.score:
            assert choice.score == pytest.approx(choice.residual @ choice.residual, rel=1e-12)
        assert abs(choice.residual @ (choice.expected - choice.mean)) <= 1e-11 * size**2 * len(x)


# ---------------------------------------------------------------------------------------- ties and duplicates


@pytest.mark.parametrize("method", GROWING)
@pytest.mark.parametrize("rank", [1, 2, 3, 50])
def test_ties_go_to_the_lowest_row(method: str, rank: int) -> None:
    """The unit vectors are all alike from the origin: they are picked in row order, and the ties are counted."""
    made = run(Demud(method=method, rank=50, start=0), np.vstack([np.zeros(6), np.eye(6)]))
    assert rows(made) == [0, 1, 2, 3, 4, 5, 6]
    assert [choice.near_ties for choice in made] == [0, 5, 4, 3, 2, 1, 0]
    first = run(Demud(method=method, rank=rank, start=0), np.vstack([np.zeros(6), np.eye(6)]), picks=min(rank + 2, 7))
    assert rows(first) == list(range(min(rank + 2, 7)))


@pytest.mark.parametrize("method", GROWING)
@pytest.mark.parametrize("seed", [0, 1, 51, 189, 283, 296])
def test_a_common_offset_changes_no_pick(method: str, seed: int) -> None:
    """Integer points full of ties, moved by 2^20 as a whole: every difference is exact, so every pick is the same.

    The screening's error bound must hold for |x| much larger than |x − o|, or the lowest tied row is screened out.
    """
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, (40, int(rng.integers(2, 6)))).astype(np.float64)
    here, there = (run(Demud(method=method, rank=5, start=0), x + offset, picks=3) for offset in (0.0, 2.0**20))
    assert [(c.row, c.near_ties) for c in there] == [(c.row, c.near_ties) for c in here]


@pytest.mark.parametrize("method", METHODS)
def test_a_duplicate_of_a_pick_is_never_new(method: str) -> None:
    """Every row three times: the growing methods pick each once and stop; static ranks copies side by side."""
    once = np.random.default_rng(1).normal(size=(5, 8))
    made = run(Demud(method=method, rank=50), np.vstack([once, once, once]))
    if method == "static":
        assert sorted(rows(made)) == list(range(15))
    else:
        assert len(made) == 5
        assert {row % 5 for row in rows(made)} == set(range(5))
        assert max(rows(made)) < 5


@pytest.mark.parametrize("method", GROWING)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rows_of_an_exhausted_span_are_not_picked(method: str, rank: int) -> None:
    """Of rows in a plane, k ≥ 2 needs three; k = 1 goes on past truncation. Picks are never made of rounding."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 40)) + rng.normal(size=40)
    made = run(Demud(method=method, rank=rank), x)
    assert len(made) == 3 if rank >= 2 else len(made) > 10
    assert all(choice.score > 1e-12 for choice in made[1:])


# ---------------------------------------------------------------------------------------- defined answers


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", ["svd", "mean", "random", 0])
def test_one_image(method: str, start: Any) -> None:
    """The only image is the pick, with score 0: there is nothing it differs from."""
    (choice,) = run(Demud(method=method, start=start), np.array([[1.5, -2.0, 3.0]], dtype=np.float32))
    assert (choice.row, choice.score) == (0, 0.0)
    np.testing.assert_array_equal(choice.expected, [1.5, -2.0, 3.0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", ["svd", "mean", 0])
@pytest.mark.parametrize("value", [2.0, 0.1])
def test_identical_images(method: str, start: Any, value: float) -> None:
    """Of identical images the first is picked, and nothing after it is new; static ranks them in row order."""
    made = run(Demud(method=method, rank=3, start=start), np.full((7, 4), value))
    assert rows(made) == (list(range(7)) if method == "static" else [0])
    assert all(choice.score < 1e-30 for choice in made)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", ["svd", "mean", "random", 0])
@pytest.mark.parametrize("prior", [0, 3])
def test_no_images(method: str, start: Any, prior: int) -> None:
    """Of no rows there is no pick, and no error."""
    assert run(Demud(method=method, start=start), np.empty((0, 5), np.float32), np.ones((prior, 5))) == []


@pytest.mark.parametrize("method", METHODS)
def test_rows_without_features(method: str) -> None:
    """Rows of width 0 are all alike: one pick and no more (static: all, in order), and no error."""
    made = run(Demud(method=method), np.empty((3, 0)))
    assert rows(made) == ([0, 1, 2] if method == "static" else [0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("count", "rank"), [(4, 4), (4, 50), (4, 3)])
def test_fewer_images_than_directions(method: str, count: int, rank: int) -> None:
    """k ≥ N: every image of a set in general position is picked once; k is only an upper limit."""
    x = np.random.default_rng(4).normal(size=(count, 9))
    made = run(Demud(method=method, rank=rank), x)
    assert sorted(rows(made)) == list(range(count))


@pytest.mark.parametrize("method", GROWING)
def test_fewer_features_than_directions(method: str) -> None:
    """d < k: after d + 1 rows in general position everything is explained and the selection stops."""
    made = run(Demud(method=method, rank=50), np.random.default_rng(5).normal(size=(40, 3)))
    assert len(made) == 4
    assert made[-1].score > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("copies", [1, 2])
def test_a_prior_that_equals_the_data(method: str, copies: int) -> None:
    """What is all known already holds no pick, whatever the method, where the rank suffices."""
    x = np.random.default_rng(6).normal(size=(12, 5)).astype(np.float32)
    assert run(Demud(method=method, rank=5), x, np.vstack([x] * copies)) == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 11])
@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3])
def test_a_prior_of_copies_of_the_one_image_there_is(method: str, count: int, value: float) -> None:
    """A mean of n copies may be off by a rounding: that is no novelty. Picks are never made of rounding noise."""
    x = np.full((2, 4), value)
    assert run(Demud(method=method, rank=3), x, np.full((count, 4), value)) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_row_at_the_mean_of_the_prior(method: str) -> None:
    """Copies of one row, which the prior lies around evenly: they are within rounding of μ, so nothing is new."""
    rng = np.random.default_rng(8)
    centre, steps = rng.normal(size=6), rng.normal(size=(5, 6))
    assert run(Demud(method=method, rank=2), np.tile(centre, (3, 1)), np.vstack([centre + steps, centre - steps])) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_prior_replaces_the_start(method: str) -> None:
    """With a prior the first pick is what the prior explains least, whatever `start` says."""
    whole = np.random.default_rng(9).normal(size=(20, 6))
    starts: list[Any] = ["svd", "mean", "random", 3, 10**6]
    (picks,) = {tuple(rows(run(Demud(method=method, rank=2, start=s), whole[5:], whole[:5]))) for s in starts}
    assert picks[0] != 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", [5, 10**9])
def test_a_start_row_beyond_the_rows(method: str, start: int) -> None:
    """A start row that does not exist is a mistake in the plan; the sentence has both numbers."""
    with pytest.raises(PlanError, match=rf"start row {start} .*\b5 rows"):
        Demud(method=method, start=start).open(np.zeros((5, 2)), np.empty((0, 2)))


@pytest.mark.parametrize(("field", "value"), [("rank", 0), ("rank", -1), ("start", -1)])
def test_settings_that_mean_nothing(field: str, value: int) -> None:
    """A rank below 1 or a negative start is refused with a sentence that has the number."""
    with pytest.raises(PlanError, match=str(value)):
        Demud(**{field: value})


@pytest.mark.parametrize("method", GROWING)
@pytest.mark.parametrize("seed", range(4))
def test_a_random_start_is_a_start_by_row(method: str, seed: int) -> None:
    """`random` draws the first row by its seed, always the same one, and goes on as from that row."""
    x = np.random.default_rng(10).normal(size=(30, 6))
    drawn = run(Demud(method=method, rank=3, start="random", seed=seed), x)
    assert rows(drawn) == rows(run(Demud(method=method, rank=3, start="random", seed=seed), x))
    assert rows(drawn) == rows(run(Demud(method=method, rank=3, start=drawn[0].row), x))


def test_a_random_start_depends_on_its_seed() -> None:
    """Ten seeds draw at least four different first rows of thirty."""
    x = np.random.default_rng(10).normal(size=(30, 6))
    assert len({run(Demud(start="random", seed=seed), x, picks=1)[0].row for seed in range(10)}) >= 4


# ---------------------------------------------------------------------------------------- state


@given(problems(), st.integers(0, 24))
@example(Problem(np.vstack([np.zeros(6), np.eye(6)]), np.empty((0, 6)), Demud(rank=2)), 3)
def test_a_replayed_selection_goes_on_as_a_straight_one(problem: Problem, done: int) -> None:
    """Opened anew and given the rows so far, a selection makes the same further picks, to the bit."""
    straight = run(problem.settings, problem.features, problem.prior)
    resumed = problem.settings.open(problem.features, problem.prior)
    for choice in straight[:done]:
        resumed.learn(choice.row)
    for choice in straight[done:]:
        again = resumed.peek()
        assert again is not None
        assert (again.row, again.score) == (choice.row, choice.score)
        assert again.expected is not None
        assert choice.expected is not None
        assert again.expected.tobytes() == choice.expected.tobytes()
        resumed.learn(again.row)
    assert resumed.peek() is None


@pytest.mark.parametrize("method", METHODS)
def test_a_look_changes_nothing(method: str) -> None:
    """Any number of peeks before a learn leaves the picks as they are, to the bit, also at the null tolerance.

    The last rows leave the span by more than a rounding but by less than 1e-10 of the largest singular value.
    """
    rng = np.random.default_rng(11)
    x = np.zeros((64, 64))
    x[:60, 0] = np.where(np.arange(60) % 2, 10.0, -10.0)
    x[np.arange(60), np.arange(60) + 1] = 1.0 + rng.random(60) / 10
    x[60:, 0] = (-9.0, 9.0, -8.0, 8.0)
    x[60:, 62] = (3e-9, -3e-9, 5e-9, -4e-9)
    settings, silent = Demud(method=method, rank=100, start=0), Demud(method=method, rank=100, start=0)
    straight = run(settings, x)
    for done in (10, 59, 60, 61, 62):
        resumed = silent.open(x, np.empty((0, 64)))
        for choice in straight[:done]:
            resumed.learn(choice.row)
        again = resumed.peek()
        wanted = straight[done] if done < len(straight) else None
        assert (again and (again.row, again.score)) == (wanted and (wanted.row, wanted.score)), done


@given(problems())
def test_the_input_is_not_changed(problem: Problem) -> None:
    """Features and prior are read, never written; a read-only matrix will do."""
    x, prior = problem.features.copy(), problem.prior.copy()
    x.flags.writeable = prior.flags.writeable = False
    run(problem.settings, x, prior)
    assert x.tobytes() == problem.features.tobytes()
    assert prior.tobytes() == problem.prior.tobytes()


@given(problems())
def test_no_row_is_picked_twice(problem: Problem) -> None:
    """Picks are distinct rows; and to learn a row twice is refused."""
    picked = rows(run(problem.settings, problem.features, problem.prior))
    assert len(set(picked)) == len(picked)
    assert all(0 <= row < len(problem.features) for row in picked)
    selection = problem.settings.open(problem.features, problem.prior)
    selection.learn(0)
    with pytest.raises(ValueError, match="row 0"):
        selection.learn(0)


@given(problems(), st.sampled_from(["F", "strided", "big-endian"]))
def test_how_the_matrix_lies_in_memory_does_not_matter(problem: Problem, layout: str) -> None:
    """Column-major, strided and byte-swapped features give the same picks as plain ones."""
    plain = problem.features
    truth = literal.select(
        plain, problem.prior, method=problem.settings.method, rank=problem.settings.rank,
        start=problem.settings.start, picks=10**6,
    )  # fmt: skip
    assume(not truth.doubts)
    other = {
        "F": lambda: np.asfortranarray(plain),
        "strided": lambda: np.repeat(plain, 2, axis=1)[:, ::2],
        "big-endian": lambda: plain.astype(plain.dtype.newbyteorder(">")),
    }[layout]()
    agree(run(problem.settings, other, problem.prior), truth, plain)


@pytest.mark.parametrize("method", METHODS)
def test_more_rows_than_are_widened_at_a_time(method: str) -> None:
    """5,000 rows go through in blocks of a few thousand; the picks are still the definition's."""
    x = matrix("float32", 5000, 6, seed=12)
    truth = literal.select(x, x[:0], method=method, rank=3, start="svd", picks=12)
    assert not truth.doubts
    agree(run(Demud(method=method, rank=3), x, picks=12), truth, x)
