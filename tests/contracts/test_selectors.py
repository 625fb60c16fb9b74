"""The contract of every selector: laws over every member of `Selector`, with settings, prior and type drawn."""

import pickle
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core import plan
from interpdisc_core.selectors import (
    Autoencoder,
    Choice,
    Demud,
    FarthestFirst,
    IsolationForest,
    LocalRx,
    NearestNeighbours,
    Oracle,
    Rx,
    Selection,
    Selector,
    Shuffle,
)
from tests.helpers.strategies import comparable_choices, examples, rows_of, take_picks

MEMBERS = get_args(get_args(Selector)[0])
SETTINGS: dict[type, list[Any]] = {
    Demud: [
        Demud(),
        Demud(rank=3),
        Demud(rank=3, start="mean"),
        Demud(rank=3, start="random", seed=5),
        Demud(rank=1, start=7),
        Demud(method="incremental", rank=3),
        Demud(method="incremental", rank=2, start=0),
        Demud(method="static", rank=3),
    ],
    Shuffle: [Shuffle(), Shuffle(seed=9)],
    FarthestFirst: [FarthestFirst(), FarthestFirst(start="random", seed=5), FarthestFirst(start=7)],
    NearestNeighbours: [NearestNeighbours(), NearestNeighbours(k=1), NearestNeighbours(k=40, of="mean")],
    IsolationForest: [IsolationForest(trees=20), IsolationForest(trees=20, sample=8, seed=5)],
    Rx: [Rx(), Rx(rank=3), Rx(shrink=0.0), Rx(shrink=1.0), Rx(rank=4, shrink=0.2)],
    LocalRx: [LocalRx(), LocalRx(neighbours=4, shrink=0.5), LocalRx(neighbours=20, shrink=1.0)],
    Autoencoder: [Autoencoder(epochs=4), Autoencoder(rank=2, hidden=9, epochs=5, batch=7, rate=1e-2, seed=5)],
    Oracle: [Oracle()],
}
READS_NO_VALUES = (Shuffle, Oracle)
for_each_selector = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
few_examples = examples(8)


@dataclass(frozen=True)
class Case:
    """Settings of a selector, rows (30, 12), and a prior (n0, 12)."""

    selector: Any
    features: npt.NDArray[Any]
    prior: npt.NDArray[np.float64]

    def open(self, features: npt.NDArray[Any] | None = None, prior: npt.NDArray[np.float64] | None = None) -> Selection:
        """A selection over these rows, or others, with labels."""
        features = self.features if features is None else features
        selection: Selection = self.selector.open(
            features, self.prior if prior is None else prior, labels_of(len(features))
        )
        return selection


def labels_of(count: int) -> list[str | None]:
    """A class for each row except every eighth."""
    return [None if row % 8 == 5 else f"class {row * row % 7}" for row in range(count)]


@st.composite
def cases(draw: st.DrawFn, member: type) -> Case:
    """Any of the settings above, with and without a prior, rows of any float type and kind."""
    known, dtype = draw(st.sampled_from((0, 1, 9))), draw(st.sampled_from((np.float32, np.float16, np.float64)))
    values = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(30 + known, 12)).astype(dtype)
    return Case(draw(st.sampled_from(SETTINGS[member])), values[known:], values[:known].astype(np.float64))


def group_ties(choices: list[Choice]) -> list[set[int]]:
    """The rows in order; consecutive rows of the same score are one set."""
    return [{choice.row for choice in group} for _, group in groupby(choices, key=lambda choice: choice.score)]


def test_every_selector_has_settings_here() -> None:
    assert set(SETTINGS) == set(MEMBERS)


@for_each_selector
@few_examples
@given(data=st.data())
def test_a_run_picks_every_row_once_with_finite_scores_and_changes_no_input(member: type, data: st.DataObject) -> None:
    """Peeking twice gives the same answer, and a run that peeks twice is the same run."""
    case = data.draw(cases(member))
    before = case.features.tobytes(), case.prior.tobytes()
    case.features.flags.writeable = case.prior.flags.writeable = False
    selection, choices = case.open(), list[Choice]()
    while (choice := selection.peek()) is not None:
        again = selection.peek()
        assert again is not None
        assert comparable_choices([again]) == comparable_choices([choice])
        choices.append(choice)
        selection.learn(choice.row)
    assert selection.peek() is None
    assert (case.features.tobytes(), case.prior.tobytes()) == before
    assert comparable_choices(take_picks(case.open())) == comparable_choices(choices)

    rows = rows_of(choices)
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(30))
    assert all(type(row) is int for row in rows)
    assert len(rows) == 30 or (isinstance(case.selector, Demud) and case.selector.rank >= 12)
    for choice in choices:
        assert np.isfinite(choice.score)
        assert choice.score >= 0
        assert choice.near_ties >= 0
        vectors = (choice.expected, choice.residual, choice.mean)
        if any(vector is None for vector in vectors):
            assert vectors == (None, None, None)
        else:
            assert all(v is not None and v.shape == (12,) and np.isfinite(v).all() for v in vectors)


@for_each_selector
@few_examples
@given(data=st.data())
def test_a_replay_continues_as_the_straight_run(member: type, data: st.DataObject) -> None:
    """A new selection that is given the rows so far makes the same further picks, to the bit, also from float64 rows."""
    case = data.draw(cases(member))
    straight = take_picks(case.open())
    done = data.draw(st.integers(0, len(straight)))
    resumed = case.open(case.features.astype(np.float64))
    for row in rows_of(straight[:done]):
        resumed.learn(row)
    assert comparable_choices(take_picks(resumed)) == comparable_choices(straight[done:])


@for_each_selector
@few_examples
@given(data=st.data())
def test_the_order_of_rows_and_of_the_prior_does_not_matter(member: type, data: st.DataObject) -> None:
    """The prior is a set; permuted rows give the permuted picks, except that rows of the same score may change places.

    (A start by row or by chance depends on the position, and so does `svd` with k ≥ d, which leaves no row an error. The
    order of a shuffle and of the oracle is that of the rows.)
    """
    case = data.draw(cases(member))
    straight = take_picks(case.open())
    assert rows_of(take_picks(case.open(prior=case.prior[::-1]))) == rows_of(straight)
    if member in READS_NO_VALUES:
        return
    selector = case.selector
    starts_by_position = getattr(selector, "start", "none") not in ("svd", "mean", "none")
    has_no_error = isinstance(selector, Demud) and selector.rank >= 12
    is_static = getattr(selector, "method", "") == "static"
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(30)
    permuted, skipped = case.open(case.features[order]), 0
    if not len(case.prior) and (starts_by_position or has_no_error) and not is_static:
        permuted.learn(int(np.flatnonzero(order == straight[0].row)[0]))
        skipped = 1
    picks = [replace(choice, row=int(order[choice.row])) for choice in take_picks(permuted)]
    assert group_ties(picks) == group_ties(straight[skipped:])


@for_each_selector
@given(data=st.data())
def test_a_row_is_taken_once_in_whatever_way(member: type, data: st.DataObject) -> None:
    """Any row may be taken, proposed or not; to take it again is an error that names it; it is not proposed any more."""
    case = data.draw(cases(member))
    selection, ways = case.open(), ("learn", "absorb", "skip")
    rows = data.draw(st.lists(st.integers(0, 29), min_size=1, max_size=3, unique=True))
    for row in rows:
        getattr(selection, data.draw(st.sampled_from(ways)))(row)
    for row in rows:
        with pytest.raises(ValueError, match=f"row {row}"):
            getattr(selection, data.draw(st.sampled_from(ways)))(row)
    choice = selection.peek()
    assert choice is None or choice.row not in rows


@for_each_selector
@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (3, 0), (2, 1)], ids=str)
def test_small_matrices_are_no_error(member: type, shape: tuple[int, int]) -> None:
    """No rows, one row, no features, one feature; a start row beyond the rows is a PlanError."""
    features = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for selector in SETTINGS[member]:
        case = Case(selector, features, np.empty((0, shape[1])))
        if isinstance(getattr(selector, "start", None), int) and selector.start >= max(shape[0], 1):
            with pytest.raises(plan.PlanError):
                case.open()
            continue
        rows = rows_of(take_picks(case.open()))
        assert len(set(rows)) == len(rows) <= shape[0]
        assert (len(rows) > 0) == (shape[0] > 0)


@for_each_selector
@pytest.mark.parametrize("known", [0, 9])
def test_equal_rows_have_finite_scores(member: type, known: int) -> None:
    """Rows that equal each other and the prior: scores are finite and not negative, and no row is picked twice."""
    for selector in SETTINGS[member]:
        for value in (0.0, 3.3):
            choices = take_picks(Case(selector, np.full((30, 12), value), np.full((known, 12), value)).open())
            assert len(set(rows_of(choices))) == len(choices)
            assert all(np.isfinite(choice.score) and choice.score >= 0 for choice in choices)
            assert choices or known


@pytest.mark.parametrize("member", [member for member in MEMBERS if member not in READS_NO_VALUES])
@given(data=st.data())
def test_a_value_that_is_not_finite_is_refused(member: type, data: st.DataObject) -> None:
    """It is never ranked like a number; the error names row and feature."""
    case = data.draw(cases(member))
    row, feature = data.draw(st.integers(0, 29)), data.draw(st.integers(0, 11))
    features = case.features.copy()
    features[row, feature] = data.draw(st.sampled_from((np.nan, np.inf, -np.inf)))
    with pytest.raises(plan.PlanError, match=rf"row {row} .* feature {feature} "):
        take_picks(case.open(features), 2)


@for_each_selector
def test_settings_go_through_a_plan_and_a_pickle_unchanged(member: type) -> None:
    """Settings are frozen, hashable and picklable; JSON gives back the same digest; an unknown setting is named."""
    for selector in SETTINGS[member]:
        assert pickle.loads(pickle.dumps(selector)) == selector
        assert hash(selector) == hash(pickle.loads(pickle.dumps(selector)))
        with pytest.raises(AttributeError):
            selector.kind = "other"
        original = plan.Plan(selector=selector)
        value = plan.plan_to_json(original)
        parsed = plan.parse_plan(value)
        assert parsed == original
        assert parsed.digest == original.digest
        assert type(parsed.selector) is member
        value["selector"]["rnak"] = 3
        with pytest.raises(plan.PlanError, match="rnak"):
            plan.parse_plan(value)


def test_different_settings_have_different_digests() -> None:
    selectors = [selector for member in MEMBERS for selector in SETTINGS[member]]
    assert len({plan.Plan(selector=selector).digest for selector in selectors}) == len(selectors)
