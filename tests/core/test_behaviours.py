"""What else people use of DEMUD: signs, weights, a class of interest, missing values, variance, known rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Choice, Demud, Means, Seen
from interpdisc_core.selectors.demud import Selection
from tests.core import literal
from tests.core.test_demud import agree, rows
from tests.strategies import METHODS, clustered, features, matrix, small, told

Floats = npt.NDArray[np.float64]
over_methods = pytest.mark.parametrize("method", METHODS)
over_priors = pytest.mark.parametrize("before", [0, 9])


def go_on(selection: Selection, picks: int) -> list[Choice]:
    """Further picks, each learned."""
    made: list[Choice] = []
    while len(made) < picks and (choice := selection.peek()) is not None:
        made.append(choice)
        selection.learn(choice.row)
    return made


def both(
    settings: Demud, x: npt.NDArray[Any], prior: Floats, picks: int = 40, labels: Sequence[str] | None = None,
    known: Sequence[int] = (), weights: Floats | None = None, means: Means | None = None,
) -> tuple[list[Choice], literal.Literal]:  # fmt: skip
    """The picks of a run, after `known` rows are learned, and the literal definition's."""
    selection = settings.open(x, prior, labels, means)
    for row in known:
        selection.learn(row)
    wanted = literal.select(
        x, prior, method=settings.method, rank=settings.rank, start=settings.start, picks=picks, sign=settings.sign,
        weights=weights, missing=settings.missing, variance=settings.variance, known=known,
        spared=[row for row, label in enumerate(labels or []) if settings.interest and settings.interest in label],
        seek=settings.action == "seek",
    )  # fmt: skip
    return go_on(selection, picks), wanted


def data(before: int, count: int = 120, dimension: int = 9, seed: int = 1) -> tuple[Floats, Floats]:
    """Clustered rows (count, dimension), and `before` seen before."""
    whole = clustered(count + before, dimension, seed)
    return whole[before:], whole[:before]


def agree_where_known(made: list[Choice], wanted: literal.Literal, x: npt.NDArray[Any]) -> None:
    """`agree`, where x has missing values."""
    agree(made, wanted, np.nan_to_num(x))


# ---------------------------------------------------------------------------------------- all of them at once


@dataclass(frozen=True)
class Case:
    """Features with holes, a prior, and settings of every kind."""

    features: npt.NDArray[Any]
    prior: Floats
    settings: Demud
    weights: Floats | None
    labels: tuple[str, ...] | None
    known: tuple[int, ...]
    block: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Every combination of behaviours over small matrices of every kind."""
    x, prior = draw(features())
    count, dimension = x.shape
    missing = draw(st.sampled_from(("refuse", "zero", "ignore")))
    x = x.copy()
    if missing != "refuse":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        x[rng.random(x.shape) < draw(st.sampled_from((0.02, 0.3)))] = np.nan
    weights = draw(st.sampled_from(("", "boostlow", "boosthigh")))
    falling = np.arange(1, dimension + 1) ** (-1.0 / max(np.log2(max(dimension, 2)), 1))
    interest = draw(st.booleans())
    settings = Demud(
        method=draw(st.sampled_from(METHODS)),
        rank=draw(st.integers(1, 8)),
        start=draw(st.one_of(st.sampled_from(("svd", "mean")), st.integers(0, count - 1))),
        sign=draw(st.sampled_from(("both", "low", "high"))),
        weights=weights,
        missing=missing,
        interest="rock" if interest else "",
        action=draw(st.sampled_from(("keep", "seek"))),
        variance=draw(st.sampled_from((None, None, 0.5, 0.9, 1.0))),
    )  # fmt: skip
    return Case(
        x,
        prior,
        settings,
        {"": None, "boostlow": falling, "boosthigh": falling[::-1]}[weights],
        tuple(draw(st.sampled_from(("a rock", "sand", ""))) for _ in range(count)) if interest else None,
        tuple(draw(st.lists(st.integers(0, count - 1), max_size=3, unique=True))) if not interest else (),
        draw(st.sampled_from((4, 2048))),
    )


@given(cases())
def test_every_combination_is_the_literal_definition(case: Case) -> None:
    """Picks, scores, x̂, r, μ and near-ties are the definition's, for any behaviours together."""
    with small(case.block):
        made, wanted = both(
            case.settings, case.features, case.prior, 30, case.labels, case.known, case.weights
        )  # fmt: skip
        assume(not wanted.doubts)
        agree_where_known(made, wanted, np.vstack([case.features, case.prior]))


@given(cases(), st.integers(0, 12), st.sampled_from((8, 16)))
def test_every_combination_is_resumed(case: Case, done: int, bits: Any) -> None:
    """The rows so far learned again, in other copies: the same further picks, to the bit."""
    with small(case.block):
        straight = case.settings.open(case.features, case.prior, case.labels)
        for row in case.known:
            straight.learn(row)
        made = go_on(straight, done + 8)
        resumed = case.settings.open(case.features, case.prior, case.labels, Means(bits=bits))
        for row in (*case.known, *rows(made[:done])):
            resumed.learn(row)
        assert told(go_on(resumed, 8 + max(done - len(made), 0)))[: len(made) - done] == told(made[done:])


# ---------------------------------------------------------------------------------------- signs and weights


@over_methods
@over_priors
@pytest.mark.parametrize("sign", ["low", "high"])
def test_a_sign_counts_only_its_residuals(method: Any, before: int, sign: Any) -> None:
    """`low`: what is below the expectation; `high`: above. The score is the sum over those alone."""
    x, prior = data(before)
    made, wanted = both(Demud(method=method, rank=3, sign=sign), x, prior)
    assert not wanted.doubts
    agree(made, wanted, x)
    for choice in made:
        assert choice.residual is not None
        counted = choice.residual[choice.residual < 0 if sign == "low" else choice.residual > 0]
        assert choice.score == pytest.approx(counted @ counted)
    assert rows(made) != rows(both(Demud(method=method, rank=3), x, prior)[0])


def test_low_and_high_are_mirror_images() -> None:
    """The `low` picks of x are the `high` picks of −x, with the same scores; and the two scores add up to `both`."""
    x, none = data(0)
    low = both(Demud(rank=3, sign="low"), x, none)[0]
    high = both(Demud(rank=3, sign="high"), -x, none)[0]
    assert rows(low) == rows(high)
    np.testing.assert_allclose([c.score for c in low], [c.score for c in high], rtol=1e-12)


@over_methods
@pytest.mark.parametrize("sign", ["both", "low", "high"])
@pytest.mark.parametrize("name", ["boostlow", "boosthigh", "file", "two columns", "zeros"])
def test_weights_multiply_residuals(method: Any, sign: Any, name: str, tmp_path: Path) -> None:
    """`boostlow` is w_i = i^(−1/log2 d), `boosthigh` the reverse; else a file, the last column of it. Score: Σ (w r)²."""
    x, prior = data(0)
    falling = np.arange(1, 10) ** (-1 / np.log2(9))
    weights = {
        "boostlow": falling, "boosthigh": falling[::-1], "file": np.linspace(0, 3, 9), "two columns": np.ones(9),
        "zeros": np.array([1.0, 0, 0, 0, 2, 0, 0, 0, 0]),
    }[name]  # fmt: skip
    file = tmp_path / "w.txt"
    np.savetxt(file, np.column_stack([np.arange(9), weights]) if name == "two columns" else weights)
    settings = Demud(method=method, rank=3, sign=sign, weights=name if name.startswith("boost") else str(file))
    made, wanted = both(settings, x, prior, weights=weights)
    assert not wanted.doubts
    agree(made, wanted, x)


def test_weights_of_one_change_nothing_and_of_none_stop() -> None:
    """With ones the picks are the plain ones; with zeros nothing is new after the first."""
    x, none = data(0)
    plain = both(Demud(rank=3), x, none)[0]
    assert rows(plain) == [p.row for p in both(Demud(rank=3), x, none, weights=np.ones(9))[1].picks]


def test_weights_that_are_all_0_find_nothing_new(tmp_path: Path) -> None:
    """No residual counts: the first pick is the lowest row, and there is no second."""
    np.savetxt(tmp_path / "w", np.zeros(9))
    x, none = data(0)
    made = both(Demud(rank=3, weights=str(tmp_path / "w")), x, none)[0]
    assert [(choice.row, choice.score) for choice in made] == [(0, 0.0)]


@pytest.mark.parametrize(
    ("text", "words"),
    [("1\n2\n", r"9 numbers.*there are 2"), ("1\n" * 8 + "-1\n", "0 or more"), ("1\n" * 8 + "nan\n", "0 or more"),
     ("a\n" * 9, "cannot be read"), (None, "cannot be read")],
)  # fmt: skip
def test_weights_that_cannot_be(text: str | None, words: str, tmp_path: Path) -> None:
    """Too few, negative, not numbers, or no file: a `PlanError` that names the file."""
    file = tmp_path / "weights.txt"
    if text is not None:
        file.write_text(text)
    x, none = data(0)
    with pytest.raises(PlanError, match=rf"(?s)weights\.txt.*{words}"):
        Demud(weights=str(file)).open(x, none)


# ---------------------------------------------------------------------------------------- a class of interest


@over_methods
@over_priors
@pytest.mark.parametrize("action", ["keep", "seek"])
@pytest.mark.parametrize("start", ["svd", "mean", 0])
def test_a_class_of_interest(method: Any, before: int, action: Any, start: Any) -> None:
    """Rows whose label contains it are picked but not absorbed; with `seek` the nearest row to one is next."""
    x, prior = data(before)
    labels = ["rusty rock" if row % 4 == 0 else "sand" for row in range(len(x))]
    settings = Demud(method=method, rank=3, start=start, interest="rock", action=action)
    made, wanted = both(settings, x, prior, labels=labels)
    assert not wanted.doubts
    agree(made, wanted, x)
    assert any(labels[row] != "sand" for row in rows(made))


def test_a_row_of_interest_leaves_the_model_as_it_is() -> None:
    """While only rows of interest are picked, the mean that is told does not change."""
    x, prior = data(9)
    selection = Demud(rank=3, interest="x").open(x, prior, ["x"] * len(x))
    made = go_on(selection, 10)
    assert len({choice.mean.tobytes() for choice in made if choice.mean is not None}) == 1
    static = go_on(Demud(method="static", rank=3).open(x, prior), 10)
    assert rows(made) == rows(static)


def test_the_nearest_of_copies_is_the_lowest() -> None:
    """Of several rows that are as near, `seek` takes the lowest; a row that was taken is not near."""
    x = np.vstack([np.eye(4) * 3, np.eye(4) * 3, np.zeros((1, 4))])
    settings = Demud(rank=2, start=5, interest="x", action="seek")
    made = go_on(settings.open(x, x[:0], ["x" if row in (5, 1) else "" for row in range(9)]), 3)
    assert rows(made)[:3] == [5, 1, 8]


def test_what_is_found_before_anything_was_absorbed_is_known_as_far_as_it_goes() -> None:
    """`seek` from a first pick of interest, to a row with a missing value: x̂ and r have no hole."""
    x = np.array([[0.0, 1, 2], [0, 1, np.nan], [9, 9, 9], [8, -9, 1]])
    settings = Demud(rank=2, start=0, interest="x", action="seek", missing="ignore")
    made, wanted = both(settings, x, x[:0], labels=["x", "", "", ""], picks=3)
    agree_where_known(made, wanted, x)


def test_a_class_of_interest_needs_labels() -> None:
    """Without labels it is a mistake in the plan; a row without one is of no class."""
    x, none = data(0)
    with pytest.raises(PlanError, match="labels"):
        Demud(interest="x").open(x, none)
    assert go_on(Demud(interest="x", rank=3).open(x, none, [None] * len(x)), 5)


# ---------------------------------------------------------------------------------------- missing values


def holed(x: npt.NDArray[Any], part: float, seed: int = 2) -> npt.NDArray[Any]:
    """x with that part of its values missing."""
    return np.where(np.random.default_rng(seed).random(x.shape) < part, np.nan, x).astype(x.dtype)


@over_methods
@over_priors
@pytest.mark.parametrize("start", ["svd", "mean", 0])
@pytest.mark.parametrize("part", [0.01, 0.3])
@pytest.mark.parametrize("missing", ["zero", "ignore"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_missing_values(method: Any, before: int, start: Any, part: float, missing: Any, dtype: str) -> None:
    """`zero`: they are 0. `ignore`: they count as μ, have no residual, and are filled with μ when absorbed."""
    x, prior = data(before)
    x = holed(x, part).astype(dtype)
    made, wanted = both(Demud(method=method, rank=3, start=start, missing=missing), x, prior)
    assert not wanted.doubts
    agree_where_known(made, wanted, x)


@over_methods
def test_missing_values_far_from_0(method: Any) -> None:
    """The same in float32, where rows lie about a point of a size that float32 does not hold exactly."""
    x = (data(0, seed=3)[0] + 1e4 * np.pi).astype(np.float32)
    x[3, 2] = np.nan
    made, wanted = both(Demud(method=method, rank=3, start=5, missing="ignore"), x, np.empty((0, 9)))
    agree_where_known(made, wanted, x)


def test_a_missing_value_has_no_residual_and_is_expected() -> None:
    """Where x is missing r is 0, and x̂ is what the model makes of the rest."""
    x, prior = holed(data(0)[0], 0.2), data(9)[1]
    for choice in go_on(Demud(rank=3, missing="ignore").open(x, prior), 20):
        hole = np.isnan(x[choice.row])
        assert choice.residual is not None
        assert choice.expected is not None
        assert not choice.residual[hole].any()
        assert np.isfinite(choice.expected).all()
        np.testing.assert_allclose((choice.expected + choice.residual)[~hole], x[choice.row][~hole], atol=1e-12)


def test_rows_of_which_nothing_is_known() -> None:
    """Rows that are all missing, and a feature that no row has, are no error and nothing new."""
    x = data(0, count=30)[0].copy()
    x[[3, 7]], x[:, 4] = np.nan, np.nan
    made, wanted = both(Demud(rank=50, missing="ignore"), x, np.empty((0, 9)))
    agree_where_known(made, wanted, x)
    assert not {3, 7} & set(rows(made))


def test_every_row_may_have_a_hole() -> None:
    """Ties are told apart from rounding also where no row is whole: copies are tied, and the lowest is picked."""
    once = np.random.default_rng(4).normal(size=(6, 5))
    x = np.vstack([once, once, once])
    x[np.arange(18), np.arange(18) % 6 % 5] = np.nan
    for method in METHODS:
        made, wanted = both(Demud(method=method, rank=2, start="mean", missing="ignore"), x, x[:0])  # type: ignore[arg-type]
        assert [(c.row, c.near_ties) for c in made] == [(p.row, p.near_ties) for p in wanted.picks]


@over_methods
@pytest.mark.parametrize("start", ["svd", "mean", 0])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 19, 97])
def test_a_value_that_is_not_finite_is_refused(method: Any, start: Any, bad: float, row: int) -> None:
    """The sentence names the row and the feature, wherever it is; nothing is picked on top of it."""
    x = data(0)[0].copy()
    x[row, 6] = bad
    selection = Demud(method=method, rank=3, start=start).open(x, x[:0])
    with small(16), pytest.raises(PlanError, match=rf"row {row} .* feature 6 \({bad}\)"):
        go_on(selection, 2)


@pytest.mark.parametrize("missing", ["zero", "ignore"])
def test_an_infinity_is_not_missing(missing: Any) -> None:
    """It is refused whatever missing values mean."""
    x = data(0)[0].copy()
    x[50, 1] = -np.inf
    with pytest.raises(PlanError, match=r"row 50 .* feature 1 \(-inf\)"):
        go_on(Demud(missing=missing).open(x, x[:0]), 2)


# ---------------------------------------------------------------------------------------- variance


@over_methods
@over_priors
@pytest.mark.parametrize("variance", [0.3, 0.7, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("start", ["svd", "mean", 0])
def test_k_by_variance(method: Any, before: int, variance: float, start: Any) -> None:
    """k is the least number of directions that hold that part of Σ S², of the whole set or of the prior."""
    x, prior = data(before)
    made, wanted = both(Demud(method=method, variance=variance, start=start), x, prior)
    assert not wanted.doubts
    agree(made, wanted, x)


def test_k_by_variance_is_of_squares() -> None:
    """Of singular values 2, 1, 1, a half of Σ S is in two directions, and of Σ S² in one."""
    x = np.vstack([np.diag([2.0, 1, 1]), -np.diag([2.0, 1, 1])]) / np.sqrt(2)
    for part, rank in ((0.5, 1), (0.67, 2), (0.83, 2), (0.84, 3)):
        made, fixed = (
            go_on(Demud(method="static", variance=v, rank=k).open(x, x[:0]), 6) for v, k in ((part, 50), (None, rank))
        )
        np.testing.assert_allclose([c.score for c in made], [c.score for c in fixed], atol=1e-12)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1])
def test_a_part_of_the_variance_is_between_0_and_1(value: float) -> None:
    """Else it is a mistake in the plan."""
    with pytest.raises(PlanError, match="variance"):
        Demud(variance=value)


# ---------------------------------------------------------------------------------------- known and interesting


@over_methods
@over_priors
@pytest.mark.parametrize("start", ["svd", 3])
def test_known_rows_are_absorbed_without_being_picked(method: Any, before: int, start: Any) -> None:
    """Rows that are learned first are never picked, and are as if they had been seen before."""
    x, prior = data(before)
    known = [5, 3, 60, 61]
    made, wanted = both(Demud(method=method, rank=3, start=start), x, prior, known=known)
    assert not wanted.doubts
    agree(made, wanted, x)
    assert not set(known) & set(rows(made))


def test_known_rows_are_a_prior() -> None:
    """`full` after known rows picks what it would with them as the prior and without them among the rows."""
    x, none = data(0)
    made, _ = both(Demud(rank=3), x, none, known=[0, 1, 2, 3, 4])
    prior = go_on(Demud(rank=3).open(x[5:], Seen.of(x[:5])), 40)
    assert rows(made) == [row + 5 for row in rows(prior)]


@over_methods
@over_priors
def test_interesting_rows_are_picked_and_not_absorbed(method: Any, before: int) -> None:
    """`skip` takes a row and leaves the model: the literal definition with that row spared."""
    x, prior = data(before)
    settings = Demud(method=method, rank=3)
    selection, made = settings.open(x, prior), []
    spared = set(range(0, 120, 3))
    for _ in range(40):
        choice = selection.peek()
        assert choice is not None
        made.append(choice)
        (selection.skip if choice.row in spared else selection.learn)(choice.row)
    wanted = literal.select(x, prior, method=method, rank=3, start="svd", picks=40, spared=spared)
    assert not wanted.doubts
    agree(made, wanted, x)
    with pytest.raises(ValueError, match=f"row {made[0].row}"):
        selection.skip(made[0].row)


def test_a_skipped_start_gives_way_to_the_next_row() -> None:
    """A start row that was taken without being absorbed leaves the next one to start from, then the first."""
    x = matrix("normal", 5, 3, seed=1)
    selection, starts = Demud(start=3).open(x, x[:0]), []
    while (choice := selection.peek()) is not None:
        starts.append(choice.row)
        selection.skip(choice.row)
    assert starts == [3, 4, 0, 1, 2]
