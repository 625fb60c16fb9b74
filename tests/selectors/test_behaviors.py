"""Behaviors of DEMUD beyond the paper: signs, weights, a class of interest, missing values, variance, known rows."""

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
from interpdisc_core.selectors import Choice, ComputeOptions, Demud, Prior
from tests.helpers import literal_demud
from tests.helpers.strategies import (
    METHODS,
    comparable_choices,
    draw_features,
    examples,
    make_clusters,
    make_matrix,
    rows_of,
    run_selector,
    small_blocks,
    take_picks,
)
from tests.selectors.test_demud import assert_agree

Floats = npt.NDArray[np.float64]
over_methods = pytest.mark.parametrize("method", METHODS)
NO_ITEMS = np.empty((0, 9))


def run_both(
    options: Demud,
    x: npt.NDArray[Any],
    prior: Floats,
    picks: int = 40,
    labels: Sequence[str] | None = None,
    known: Sequence[int] = (),
    weights: Floats | None = None,
) -> tuple[list[Choice], literal_demud.LiteralSelection]:
    """The picks of a run, after `known` rows are learned, and those of the literal definition."""
    selection = options.open(x, prior, labels)
    for row in known:
        selection.learn(row)
    interesting = [row for row, label in enumerate(labels or []) if options.interest and options.interest in label]
    expected = literal_demud.select_literally(
        x,
        prior,
        method=options.method,
        rank=options.rank,
        start=options.start,
        picks=picks,
        sign=options.sign,
        weights=weights,
        missing=options.missing,
        variance=options.variance,
        known=known,
        interesting=interesting,
        seek=options.action == "seek",
    )
    return take_picks(selection, picks), expected


def clusters(known: int = 0, count: int = 120, seed: int = 1) -> tuple[Floats, Floats]:
    """Clustered rows (count, 9), and `known` rows as a prior."""
    values = make_clusters(count + known, 9, seed)
    return values[known:], values[:known]


def with_holes(x: npt.NDArray[Any], share: float, seed: int = 2) -> npt.NDArray[Any]:
    """x with a share of its values missing."""
    return np.where(np.random.default_rng(seed).random(x.shape) < share, np.nan, x).astype(x.dtype)


def boost_weights(name: str, dimension: int) -> Floats | None:
    """`boostlow`: w_i = i^(−1/log2 d); `boosthigh`: the reverse; None for no name."""
    falling = np.arange(1, dimension + 1) ** (-1.0 / max(np.log2(max(dimension, 2)), 1))
    return {"": None, "boostlow": falling, "boosthigh": falling[::-1]}[name]


# All behaviors in combination


@dataclass(frozen=True)
class Case:
    """Features, which may have missing values, a prior, and settings of every kind."""

    features: npt.NDArray[Any]
    prior: Floats
    options: Demud
    weights: Floats | None
    labels: tuple[str, ...] | None
    known: tuple[int, ...]
    block: int

    def assert_equals_definition(self, picks: int) -> None:
        """Picks, scores, x̂, r, μ and near ties are those of the definition, unless rounding decides."""
        with small_blocks(self.block):
            choices, expected = run_both(
                self.options, self.features, self.prior, picks, self.labels, self.known, self.weights
            )
            assume(not expected.doubts)
            assert_agree(choices, expected, np.vstack([np.nan_to_num(self.features), self.prior]))


@st.composite
def cases(draw: st.DrawFn, clustered: bool = False) -> Case:
    """Every combination of behaviors, over small matrices of every kind, or over 120 clustered rows."""
    if clustered:
        seed = draw(st.integers(0, 99))
        x, prior = clusters(draw(st.sampled_from((0, 9))), seed=seed)
        x = x.astype(draw(st.sampled_from(("float64", "float32"))))
    else:
        x, prior = draw(draw_features())
    count, dimension = x.shape
    missing = draw(st.sampled_from(("refuse", "zero", "ignore")))
    if missing != "refuse":
        x = with_holes(x, draw(st.sampled_from((0.01, 0.3))), draw(st.integers(0, 99)))
    weights = draw(st.sampled_from(("", "boostlow", "boosthigh")))
    has_interest = draw(st.booleans())
    options = Demud(
        method=draw(st.sampled_from(METHODS)),
        rank=draw(st.integers(1, 8)),
        start=draw(st.one_of(st.sampled_from(("svd", "mean")), st.integers(0, count - 1))),
        sign=draw(st.sampled_from(("both", "low", "high"))),
        weights=weights,
        missing=missing,
        interest="rock" if has_interest else "",
        action=draw(st.sampled_from(("keep", "seek"))),
        variance=draw(st.sampled_from((None, None, 0.3, 0.5, 0.9, 0.999, 1.0))),
    )
    names = np.random.default_rng(draw(st.integers(0, 99))).choice(["a rock", "sand", "sand", ""], count)
    return Case(
        x,
        prior,
        options,
        boost_weights(weights, dimension),
        tuple(str(name) for name in names) if has_interest else None,
        tuple(draw(st.lists(st.integers(0, count - 1), max_size=3, unique=True))) if not has_interest else (),
        draw(st.sampled_from((4, 2048))),
    )


@given(cases())
def test_every_combination_equals_the_literal_definition(case: Case) -> None:
    case.assert_equals_definition(picks=30)


@examples(30)
@given(cases(clustered=True))
def test_every_combination_equals_the_literal_definition_far_beyond_truncation(case: Case) -> None:
    """40 picks of 120 rows, many more than there are directions."""
    case.assert_equals_definition(picks=40)


@given(cases(), st.integers(0, 12), st.sampled_from((8, 16)))
def test_every_combination_resumes_with_the_same_picks(case: Case, done: int, bits: Any) -> None:
    """A new selection that learns the rows so far, with copies of other bits, makes the same picks, to the bit."""
    with small_blocks(case.block):
        straight = case.options.open(case.features, case.prior, case.labels)
        for row in case.known:
            straight.learn(row)
        choices = take_picks(straight, done + 8)
        resumed = case.options.open(case.features, case.prior, case.labels, ComputeOptions(copy_bits=bits))
        for row in (*case.known, *rows_of(choices[:done])):
            resumed.learn(row)
        assert comparable_choices(take_picks(resumed, 8)) == comparable_choices(choices[done:])


# Signs and weights


@over_methods
@pytest.mark.parametrize("sign", ["low", "high"])
def test_a_sign_counts_only_residuals_of_that_sign(method: Any, sign: Any) -> None:
    """`low`: x below the expectation; `high`: above. The score is the sum over those alone."""
    x, prior = clusters(9)
    choices = run_selector(Demud(method=method, rank=3, sign=sign), x, prior, 40)
    for choice in choices:
        assert choice.residual is not None
        counted = choice.residual[choice.residual < 0 if sign == "low" else choice.residual > 0]
        assert choice.score == pytest.approx(counted @ counted)
    assert rows_of(choices) != rows_of(run_selector(Demud(method=method, rank=3), x, prior, 40))


def test_low_and_high_are_mirror_images() -> None:
    """The `low` picks of x are the `high` picks of −x, with the same scores."""
    x, _ = clusters()
    low = run_selector(Demud(rank=3, sign="low"), x, picks=40)
    high = run_selector(Demud(rank=3, sign="high"), -x, picks=40)
    assert rows_of(low) == rows_of(high)
    np.testing.assert_allclose([c.score for c in low], [c.score for c in high], rtol=1e-12)


@over_methods
@pytest.mark.parametrize("sign", ["both", "low", "high"])
@pytest.mark.parametrize("name", ["file", "two columns", "zeros"])
def test_weights_of_a_file_multiply_residuals(method: Any, sign: Any, name: str, tmp_path: Path) -> None:
    """The last column of the file; a score is Σ (w r)²."""
    x, prior = clusters()
    weights = {
        "file": np.linspace(0, 3, 9),
        "two columns": np.ones(9),
        "zeros": np.array([1.0, 0, 0, 0, 2, 0, 0, 0, 0]),
    }
    file = tmp_path / "w.txt"
    np.savetxt(file, np.column_stack([np.arange(9), weights[name]]) if name == "two columns" else weights[name])
    options = Demud(method=method, rank=3, sign=sign, weights=str(file))
    choices, expected = run_both(options, x, prior, weights=weights[name])
    assert not expected.doubts
    assert_agree(choices, expected, x)


def test_weights_of_1_change_nothing(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "w", np.ones(9))
    x, _ = clusters()
    weighted = run_selector(Demud(rank=3, weights=str(tmp_path / "w")), x, picks=40)
    assert rows_of(weighted) == rows_of(run_selector(Demud(rank=3), x, picks=40))


def test_with_weights_of_0_nothing_is_new_after_the_first_pick(tmp_path: Path) -> None:
    """No residual counts: the first pick is the lowest row, and there is no second."""
    np.savetxt(tmp_path / "w", np.zeros(9))
    choices = run_selector(Demud(rank=3, weights=str(tmp_path / "w")), clusters()[0], picks=40)
    assert [(choice.row, choice.score) for choice in choices] == [(0, 0.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", r"9 numbers.*there are 2"),
        ("1\n" * 8 + "-1\n", "0 or more"),
        ("1\n" * 8 + "nan\n", "0 or more"),
        ("a\n" * 9, "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_does_not_hold_weights_is_refused_by_name(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(PlanError, match=rf"(?s)weights\.txt.*{message}"):
        Demud(weights=str(file)).open(clusters()[0], NO_ITEMS)


# A class of interest


def test_a_row_of_interest_leaves_the_model_unchanged() -> None:
    """While only rows of interest are picked, μ does not change."""
    x, prior = clusters(9)
    choices = run_selector(Demud(rank=3, interest="x"), x, prior, 10, ["x"] * len(x))
    assert len({choice.mean.tobytes() for choice in choices if choice.mean is not None}) == 1
    static = run_selector(Demud(method="static", rank=3), x, prior, 10)
    assert rows_of(choices) == rows_of(static)


def test_seek_takes_the_lowest_of_equally_near_free_rows() -> None:
    x = np.vstack([np.eye(4) * 3, np.eye(4) * 3, np.zeros((1, 4))])
    options = Demud(rank=2, start=5, interest="x", action="seek")
    choices = run_selector(options, x, picks=3, labels=["x" if row in (5, 1) else "" for row in range(9)])
    assert rows_of(choices) == [5, 1, 8]


def test_seek_before_anything_was_learned_fills_missing_values() -> None:
    """From a first pick of interest to a row with a missing value: x̂ and r have no missing value."""
    x = np.array([[0.0, 1, 2], [0, 1, np.nan], [9, 9, 9], [8, -9, 1]])
    options = Demud(rank=2, start=0, interest="x", action="seek", missing="ignore")
    choices, expected = run_both(options, x, x[:0], labels=["x", "", "", ""], picks=3)
    assert_agree(choices, expected, np.nan_to_num(x))


def test_a_class_of_interest_needs_labels() -> None:
    """Without labels it is an error of the plan; a row without a label is of no class."""
    x, _ = clusters()
    with pytest.raises(PlanError, match="labels"):
        Demud(interest="x").open(x, NO_ITEMS)
    assert run_selector(Demud(interest="x", rank=3), x, picks=5, labels=[None] * len(x))


# Missing values


@over_methods
def test_missing_values_of_rows_far_from_0(method: Any) -> None:
    """In float32, about a point that float32 does not hold exactly."""
    x = (clusters(seed=3)[0] + 1e4 * np.pi).astype(np.float32)
    x[3, 2] = np.nan
    choices, expected = run_both(Demud(method=method, rank=3, start=5, missing="ignore"), x, NO_ITEMS)
    assert_agree(choices, expected, np.nan_to_num(x))


def test_a_missing_value_has_no_residual_and_an_expectation() -> None:
    x, prior = with_holes(clusters()[0], 0.2), clusters(9)[1]
    for choice in run_selector(Demud(rank=3, missing="ignore"), x, prior, 20):
        missing = np.isnan(x[choice.row])
        assert choice.residual is not None
        assert choice.expected is not None
        assert not choice.residual[missing].any()
        assert np.isfinite(choice.expected).all()
        np.testing.assert_allclose((choice.expected + choice.residual)[~missing], x[choice.row][~missing], atol=1e-12)


def test_rows_without_any_value_are_not_new() -> None:
    """Rows that are all missing, and a feature that no row has, are no error."""
    x = clusters(count=30)[0].copy()
    x[[3, 7]], x[:, 4] = np.nan, np.nan
    choices, expected = run_both(Demud(rank=50, missing="ignore"), x, NO_ITEMS)
    assert_agree(choices, expected, np.nan_to_num(x))
    assert not {3, 7} & set(rows_of(choices))


@over_methods
def test_ties_are_distinguished_from_rounding_if_every_row_has_a_missing_value(method: Any) -> None:
    """Copies are tied, and the lowest is picked."""
    values = np.random.default_rng(4).normal(size=(6, 5))
    x = np.vstack([values, values, values])
    x[np.arange(18), np.arange(18) % 6 % 5] = np.nan
    choices, expected = run_both(Demud(method=method, rank=2, start="mean", missing="ignore"), x, x[:0])
    assert [(c.row, c.near_ties) for c in choices] == [(p.row, p.near_ties) for p in expected.picks]


@given(
    st.sampled_from(METHODS),
    st.sampled_from(("svd", "mean", 0)),
    st.sampled_from((np.nan, np.inf, -np.inf)),
    st.integers(0, 119),
    st.integers(0, 8),
)
def test_a_value_that_is_not_finite_is_refused(method: Any, start: Any, bad: float, row: int, feature: int) -> None:
    """The error names row and feature, wherever it is; nothing is picked after it is read."""
    x = clusters()[0].copy()
    x[row, feature] = bad
    selection = Demud(method=method, rank=3, start=start).open(x, x[:0])
    with small_blocks(16), pytest.raises(PlanError, match=rf"row {row} .* feature {feature} \({bad}\)"):
        take_picks(selection, 2)


@pytest.mark.parametrize("missing", ["zero", "ignore"])
def test_an_infinite_value_is_not_missing(missing: Any) -> None:
    x = clusters()[0].copy()
    x[50, 1] = -np.inf
    with pytest.raises(PlanError, match=r"row 50 .* feature 1 \(-inf\)"):
        run_selector(Demud(missing=missing), x, picks=2)


# Variance


def test_variance_counts_squared_singular_values() -> None:
    """Of singular values 2, 1, 1, half of Σ S is in two directions, and half of Σ S² in one."""
    x = np.vstack([np.diag([2.0, 1, 1]), -np.diag([2.0, 1, 1])]) / np.sqrt(2)
    for part, rank in ((0.5, 1), (0.67, 2), (0.83, 2), (0.84, 3)):
        by_variance = run_selector(Demud(method="static", variance=part), x, picks=6)
        by_rank = run_selector(Demud(method="static", rank=rank), x, picks=6)
        np.testing.assert_allclose([c.score for c in by_variance], [c.score for c in by_rank], atol=1e-12)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1])
def test_a_part_of_the_variance_is_above_0_and_at_most_1(value: float) -> None:
    with pytest.raises(PlanError, match="variance"):
        Demud(variance=value)


# Known and interesting rows


def test_known_rows_count_as_a_prior() -> None:
    """`full` after known rows picks as it does with them as the prior instead of among the rows."""
    x, _ = clusters()
    choices, _ = run_both(Demud(rank=3), x, NO_ITEMS, known=[0, 1, 2, 3, 4])
    with_prior = run_selector(Demud(rank=3), x[5:], Prior.from_items(x[:5]), 40)
    assert rows_of(choices) == [row + 5 for row in rows_of(with_prior)]


@over_methods
@pytest.mark.parametrize("known", [0, 9])
def test_skipped_rows_are_picked_and_not_learned(method: Any, known: int) -> None:
    """`skip` takes a row and leaves the model: the literal definition with that row of interest."""
    x, prior = clusters(known)
    options = Demud(method=method, rank=3)
    selection, choices = options.open(x, prior), []
    skipped = set(range(0, 120, 3))
    for _ in range(40):
        choice = selection.peek()
        assert choice is not None
        choices.append(choice)
        (selection.skip if choice.row in skipped else selection.learn)(choice.row)
    expected = literal_demud.select_literally(
        x, prior, method=method, rank=3, start="svd", picks=40, interesting=skipped
    )
    assert not expected.doubts
    assert_agree(choices, expected, x)


def test_if_the_start_row_was_skipped_the_next_row_is_the_start() -> None:
    """And after the last row the first."""
    x = make_matrix("normal", 5, 3, seed=1)
    selection, starts = Demud(start=3).open(x, x[:0]), []
    while (choice := selection.peek()) is not None:
        starts.append(choice.row)
        selection.skip(choice.row)
    assert starts == [3, 4, 0, 1, 2]
