"""What every selector promises, over every member of `Selector` with several settings each."""

import pickle
from dataclasses import replace
from itertools import groupby
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

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
    Selector,
    Shuffle,
)

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
    Autoencoder: [Autoencoder(), Autoencoder(rank=2, hidden=9, epochs=5, batch=7, rate=1e-2, seed=5)],
    Oracle: [Oracle()],
}
EVERY = [settings for member in MEMBERS for settings in SETTINGS.get(member, [])]
over_all = pytest.mark.parametrize("selector", EVERY, ids=repr)
over_priors = pytest.mark.parametrize("known", [0, 9])


def data(known: int, dtype: Any = np.float32) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Thirty rows of twelve features, and `known` rows seen before."""
    whole = np.random.default_rng(20).normal(size=(30 + known, 12)).astype(dtype)
    return whole[known:], whole[:known].astype(np.float64)


def labels(count: int) -> list[str | None]:
    """A class for each row but every eighth; some selectors look at them."""
    return [None if row % 8 == 5 else f"class {row * row % 7}" for row in range(count)]


def opened(selector: Any, features: npt.NDArray[Any], prior: npt.NDArray[np.float64]) -> Any:
    """A selection over rows that have labels."""
    return selector.open(features, prior, labels(len(features)))


def run(
    selector: Any, features: npt.NDArray[Any], prior: npt.NDArray[np.float64], rows: list[int] | None = None
) -> list[Choice]:
    """The picks of a run after `rows` are learned, until there is none."""
    selection, made = opened(selector, features, prior), []
    for row in rows or []:
        selection.learn(row)
    while (choice := selection.peek()) is not None:
        made.append(choice)
        selection.learn(choice.row)
    return made


def told(choices: list[Choice]) -> list[tuple[Any, ...]]:
    """All of each choice, comparable to the bit."""
    return [
        (c.row, c.score, c.near_ties, *(None if v is None else v.tobytes() for v in (c.expected, c.residual, c.mean)))
        for c in choices
    ]


def tied(choices: list[Choice]) -> list[set[int]]:
    """The rows in order, those that follow each other with the same score together."""
    return [{choice.row for choice in same} for _, same in groupby(choices, key=lambda choice: choice.score)]


def test_every_selector_is_here() -> None:
    """A new member of the union is tested: give it settings above."""
    assert set(SETTINGS) == set(MEMBERS)


@over_all
@over_priors
def test_picks_are_distinct_rows(selector: Any, known: int) -> None:
    """Each pick is a row that exists and was not picked before; none is left out of rows in general position."""
    features, prior = data(known)
    rows = [choice.row for choice in run(selector, features, prior)]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(30))
    assert all(type(row) is int for row in rows)
    assert len(rows) == 30 or (isinstance(selector, Demud) and selector.rank >= 12)


@over_all
@over_priors
def test_scores_and_vectors_are_finite(selector: Any, known: int) -> None:
    """Scores are finite and not negative; x̂, r and μ have the width of the features, or all three are absent."""
    features, prior = data(known)
    for choice in run(selector, features, prior):
        assert np.isfinite(choice.score)
        assert choice.score >= 0
        assert choice.near_ties >= 0
        vectors = (choice.expected, choice.residual, choice.mean)
        if any(vector is None for vector in vectors):
            assert vectors == (None, None, None)
        else:
            assert all(v is not None and v.shape == (12,) and np.isfinite(v).all() for v in vectors)


@over_all
@over_priors
@pytest.mark.parametrize("done", [2, 13])
def test_a_replay_goes_on_as_a_straight_run(selector: Any, known: int, done: int) -> None:
    """Opened anew and given the rows so far, a selection goes on with the same picks, to the bit."""
    features, prior = data(known)
    straight = run(selector, features, prior)
    rows = [choice.row for choice in straight[:done]]
    assert told(run(selector, features, prior, rows)) == told(straight[done:])


@over_all
@over_priors
def test_a_peek_changes_nothing(selector: Any, known: int) -> None:
    """Looking twice gives the same answer, and a run that looks twice is the same run."""
    features, prior = data(known)
    selection, made = opened(selector, features, prior), []
    while (choice := selection.peek()) is not None:
        again = selection.peek()
        assert again is not None
        assert told([again]) == told([choice])
        made.append(choice)
        selection.learn(choice.row)
    assert selection.peek() is None
    assert told(made) == told(run(selector, features, prior))


@over_all
@pytest.mark.parametrize("how", ["learn", "absorb", "skip"])
@pytest.mark.parametrize("again", ["learn", "absorb", "skip"])
def test_a_row_is_taken_once(selector: Any, how: str, again: str) -> None:
    """To take a row twice, in whatever way, is a caller's mistake, and says so."""
    selection = opened(selector, *data(0))
    getattr(selection, how)(3)
    with pytest.raises(ValueError, match="row 3"):
        getattr(selection, again)(3)


@over_all
def test_any_row_can_be_learned(selector: Any) -> None:
    """Rows that were not proposed may be learned too; they are then not proposed any more."""
    features, prior = data(0)
    assert {choice.row for choice in run(selector, features, prior, [4, 11])}.isdisjoint({4, 11})


@over_all
@over_priors
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_input_is_not_changed(selector: Any, known: int, dtype: Any) -> None:
    """Features and prior may be read-only, of any float type, and are the same afterwards."""
    features, prior = data(known, dtype)
    before = features.tobytes(), prior.tobytes()
    features.flags.writeable = prior.flags.writeable = False
    run(selector, features, prior)
    assert (features.tobytes(), prior.tobytes()) == before


@over_all
def test_the_same_values_in_another_type_are_the_same_rows(selector: Any) -> None:
    """float32 values given as float64 make the same picks, to the bit."""
    features, prior = data(5)
    assert told(run(selector, features, prior)) == told(run(selector, features.astype(np.float64), prior))


@pytest.mark.parametrize(
    "selector", [s for s in EVERY if not isinstance(s, Shuffle | Oracle)], ids=repr
)  # the order of these is the rows' own
@over_priors
def test_the_order_of_rows_does_not_matter(selector: Any, known: int) -> None:
    """Permuted rows give the permuted picks; rows of the same score may change places. (A start by row or by chance is
    one by position, and so is `svd` with k ≥ d, which leaves no row an error.)"""
    starts = getattr(selector, "start", "none") not in ("svd", "mean", "none")
    no_error = isinstance(selector, Demud) and selector.rank >= 12
    by_position = not known and (starts or no_error) and getattr(selector, "method", "") != "static"
    features, prior = data(known)
    order = np.random.default_rng(21).permutation(30)
    straight = run(selector, features, prior)
    first = [int(np.flatnonzero(order == straight[0].row)[0])] if by_position else []
    permuted = run(selector, features[order], prior, first)
    assert tied([replace(c, row=int(order[c.row])) for c in permuted]) == tied(straight[len(first) :])


@over_all
@over_priors
def test_the_order_of_what_was_known_does_not_matter(selector: Any, known: int) -> None:
    """A prior is a set: its rows in any order give the same picks."""
    features, prior = data(known)
    assert [c.row for c in run(selector, features, prior[::-1])] == [c.row for c in run(selector, features, prior)]


@over_all
@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (3, 0), (2, 1)])
def test_small_matrices(selector: Any, shape: tuple[int, int]) -> None:
    """No rows, one row, no features, one feature: no error, or a PlanError for a start row beyond them."""
    features = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    if isinstance(getattr(selector, "start", None), int) and selector.start >= max(shape[0], 1):
        with pytest.raises(plan.PlanError):
            opened(selector, features, np.empty((0, shape[1])))
        return
    rows = [choice.row for choice in run(selector, features, np.empty((0, shape[1])))]
    assert len(set(rows)) == len(rows) <= shape[0]
    assert (len(rows) > 0) == (shape[0] > 0)


@over_all
@over_priors
@pytest.mark.parametrize("value", [0.0, 3.3])
def test_rows_that_are_all_equal(selector: Any, known: int, value: float) -> None:
    """Rows that equal each other and what is known: scores are finite and not negative, and no row is picked twice."""
    features, prior = np.full((30, 12), value), np.full((known, 12), value)
    made = run(selector, features, prior)
    assert len({choice.row for choice in made}) == len(made)
    assert all(np.isfinite(choice.score) and choice.score >= 0 for choice in made)
    assert made or known


@pytest.mark.parametrize("selector", [s for s in EVERY if not isinstance(s, Shuffle | Oracle)], ids=repr)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(selector: Any, value: float) -> None:
    """It is never ranked as if it were a number. (Some selectors look at no value.)"""
    features, prior = data(5)
    features[17, 3] = value
    with pytest.raises(plan.PlanError, match=r"row 17 .* feature 3"):
        opened(selector, features, prior).peek()


@over_all
def test_settings_travel(selector: Any) -> None:
    """Settings are frozen, hashable and picklable, and go through a plan's JSON with the same digest."""
    assert pickle.loads(pickle.dumps(selector)) == selector
    assert hash(selector) == hash(pickle.loads(pickle.dumps(selector)))
    with pytest.raises(AttributeError):
        selector.kind = "other"
    whole = plan.Plan(selector=selector)
    again = plan.parse(plan.to_json(whole))
    assert again == whole
    assert again.digest == whole.digest
    assert type(again.selector) is type(selector)


def test_digests_tell_settings_apart() -> None:
    """No two of the settings above share a digest."""
    assert len({plan.Plan(selector=selector).digest for selector in EVERY}) == len(EVERY)


@over_all
def test_a_misspelt_setting_is_refused(selector: Any) -> None:
    """A setting that does not exist is an error that names it, never ignored."""
    value = plan.to_json(plan.Plan(selector=selector))
    value["selector"]["rnak"] = 3
    with pytest.raises(plan.PlanError, match="rnak"):
        plan.parse(value)
