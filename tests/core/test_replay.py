"""The replay of a mission: each day against the days before and no others, and counts that can be done by hand."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation import discovery_curve, expected_random_curve, oracle_curve
from interpdisc_core.lab.replay import (
    Day,
    Replay,
    bounds,
    chronological,
    curve,
    days_of,
    debuts,
    delays,
    expected_curve,
    expected_tally,
    needed,
    needed_by_chance,
    oracle,
    replayed,
    summary,
    tally,
)
from interpdisc_core.selectors import Demud, Seen, Shuffle
from tests.core import literal
from tests.strategies import matrix

SEEDS = st.integers(0, 2**32 - 1)


def lists(replay: Replay) -> list[list[int]]:
    return [rows.tolist() for rows in replay.lists]


def made(parts: Sequence[Sequence[int]]) -> Replay:
    """A replay with these lists."""
    return Replay(tuple(range(len(parts))), tuple(np.array(rows, dtype=np.intp) for rows in parts), ())


@st.composite
def missions(draw: st.DrawFn, images: int = 16) -> tuple[list[Day | None], list[str | None]]:
    """Days, some images without one, and labels, some images without one."""
    count = draw(st.integers(1, images))
    days = draw(st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=count, max_size=count))
    assume(any(day is not None for day in days))
    labels = draw(st.lists(st.sampled_from([None, "", "a", "b", "c", "d"]), min_size=count, max_size=count))
    return days, labels


BUDGETS = st.one_of(st.none(), st.integers(1, 6))


# ------------------------------------------------------------------------------------------- each day after those before


@pytest.mark.parametrize("dimension", [4, 30], ids=["more rows than features", "fewer"])
@pytest.mark.parametrize("method", ["full", "incremental", "static"])
@pytest.mark.parametrize("horizon", [None, 1, 2])
def test_a_day_is_selected_from_after_the_days_before(method: str, horizon: int | None, dimension: int) -> None:
    """Literally: the SVD of all rows of the days before (or the last few), anew for every pick."""
    days: list[Day | None] = [3, 1, 2, 2, 1, 4, 3, 1, 2, 3, 1, 4, 2, 1, 3, 4, 4, 1]
    values = matrix("normal", len(days), dimension, 4)
    found = replayed(values, days, [None] * len(days), Demud(method=method, rank=2), horizon=horizon)  # type: ignore[arg-type]
    assert found.days == (1, 2, 3, 4)
    before: list[list[int]] = []
    for rows, scores in zip(lists(found), found.scores, strict=True):
        today = sorted(rows)
        prior = [row for day in (before if horizon is None else before[-horizon:]) for row in day]
        told = literal.select(
            values[today], values[prior], method=method, rank=2, start="svd", picks=len(today)
        )  # fmt: skip
        assert not told.doubts
        reached = [today[pick.row] for pick in told.picks]
        assert rows == reached + [row for row in today if row not in reached]
        assert scores == pytest.approx([pick.score for pick in told.picks], rel=1e-9)
        before.append(today)


def test_selectors_that_need_the_rows_get_them() -> None:
    """The rows of the last `horizon` days in order; of the first day, none, but as wide as the others."""
    values = matrix("normal", 6, 3, 1)
    given_as: list[Any] = []

    class Asks(Shuffle):
        def open(self, features: Any, prior: Any, labels: Any = None, means: Any = None) -> Any:
            given_as.append((prior, labels))
            return super().open(features, prior)

    replayed(values, [1, 2, 1, 3, 2, 3], ["a", "b", None, "c", "d", "e"], Asks(), horizon=1)
    assert [prior.tolist() for prior, _ in given_as] == [[], values[[0, 2]].tolist(), values[[1, 4]].tolist()]
    assert given_as[0][0].shape == (0, 3)
    assert [labels for _, labels in given_as] == [["a", None], ["b", "d"], ["c", "e"]]


def test_a_summary_is_that_of_the_rows() -> None:
    """DEMUD gets mean and scatter, exactly those of the rows of the days before."""
    values, given_as = matrix("offset", 40, 5, 2), []

    class Asks(Demud):
        def open(self, features: Any, prior: Any, labels: Any = None, means: Any = None) -> Any:
            given_as.append(prior)
            return super().open(features, prior, labels)

    days = [row % 8 for row in range(40)]
    replayed(values, days, [None] * 40, Asks(rank=2), horizon=3)
    assert [prior.count for prior in given_as] == [0, 5, 10, 15, 15, 15, 15, 15]
    wanted = Seen.of(values[[row for row in range(40) if 3 <= row % 8 < 6]])
    assert given_as[6].mean == pytest.approx(wanted.mean)
    assert given_as[6].values == pytest.approx(wanted.values)
    assert np.abs(given_as[6].axes @ wanted.axes.T) == pytest.approx(np.eye(5), abs=1e-8)


@given(SEEDS, SEEDS, st.sampled_from([None, 1, 3]))
def test_the_order_of_a_days_rows_changes_nothing(seed: int, order: int, horizon: int | None) -> None:
    """Rows in general position, given in another order, are ranked as before."""
    rng = np.random.default_rng(seed)
    values, days = matrix("normal", 20, 6, seed), [int(day) for day in rng.permutation(20) % 4]
    labels = [str(label) for label in rng.integers(0, 4, 20)]
    moved = np.random.default_rng(order).permutation(20)
    straight = replayed(values, days, labels, Demud(rank=2), horizon=horizon)
    other = replayed(
        values[moved], [days[i] for i in moved], [labels[i] for i in moved], Demud(rank=2), horizon=horizon
    )  # fmt: skip
    assert [moved[rows].tolist() for rows in other.lists] == lists(straight)
    for a, b in zip(other.scores, straight.scores, strict=True):
        assert a == pytest.approx(b, rel=1e-6)


def test_what_a_person_has_seen_is_not_new_on_the_next_day() -> None:
    """A copy of an image of the day before has score 0, and comes after one that is new."""
    values = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 5]])
    found = replayed(values, [1, 1, 2, 2], [None] * 4, Demud(rank=1))
    assert lists(found)[1] == [3, 2]
    assert lists(replayed(values, [1, 1, 2, 2], [None] * 4, Demud(rank=3)))[1] == [3, 2], "not reached, so last"


@given(missions(), st.integers(1, 4), SEEDS)
def test_most_saves_work_and_changes_no_measurement(
    mission: tuple[list[Day | None], list[str | None]], most: int, seed: int
) -> None:
    """The first `most` of every day are the same, and all of a day with a debut."""
    days, labels = mission
    values = matrix("normal", len(days), 4, seed)
    whole, part = (replayed(values, days, labels, Demud(rank=2), most=end) for end in (None, most))
    assert [rows[:most] for rows in lists(part)] == [rows[:most] for rows in lists(whole)]
    assert [sorted(rows) for rows in lists(part)] == [sorted(rows) for rows in lists(whole)]
    assert summary(part, labels, (1, most)) == summary(whole, labels, (1, most))
    with pytest.raises(PlanError, match=f"only the first {most}"):
        part.looked_at(most + 1)


def test_rows_without_a_day_are_left_out_and_counted() -> None:
    days: list[Day | None] = [None, 2, 1, None, 2]
    found = replayed(matrix("normal", 5, 3, 1), days, ["a", "b", "c", "d", "e"], Shuffle())
    assert found.dayless == 2
    assert [sorted(rows) for rows in lists(found)] == [[2], [1, 4]]
    assert [one.label for one in debuts(found, ["a", "b", "c", "d", "e"])] == ["c", "b", "e"]


def test_it_tells_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    replayed(matrix("normal", 4, 3, 1), [1, 5, 3, 5], [None] * 4, Shuffle(), report=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.full((3, 2), np.nan)}, "not finite"),
        ({"days": [1, 2]}, "do not go together"),
        ({"labels": ["a"]}, "do not go together"),
        ({"days": [None] * 3}, "no image has a day"),
        ({"days": [1, "2", 3]}, "all numbers or all texts"),
        ({"horizon": 0}, "at least 1"),
        ({"most": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_replayed_is_said(changes: dict[str, Any], message: str) -> None:
    settings = {"values": np.eye(3), "days": [1, 2, 3], "labels": ["a", "b", "c"], "selector": Shuffle()} | changes
    with pytest.raises(PlanError, match=message):
        replayed(**settings)


# --------------------------------------------------------------------------------------------------------- naming days


def test_days_are_found_in_names() -> None:
    names = ["0003ML0000.jpg", "1059MR.jpg", "sun.jpg", None, "12"]
    assert days_of(names, r"^(\d{4})") == [3, 1059, None, None, None]
    assert days_of(names, r"^\d{4}") == [3, 1059, None, None, None], "without a group, all that is found"
    assert days_of(["2012-08-06T05:17", "2012-08-07"], r"^\d+-\d+-\d+") == ["2012-08-06", "2012-08-07"]
    assert days_of(["sol-9", "sol-x"], "sol-(.)") == ["9", "x"], "not all are numbers, so all are texts"
    assert days_of(["a"], "(b)?a") == [None], "a group that takes no part finds nothing"
    assert days_of([]) == []
    with pytest.raises(PlanError, match="group"):
        days_of(["a"], "(a)(b)")
    with pytest.raises(PlanError, match="days"):
        days_of(["a"], "(")


# ------------------------------------------------------------------------------------------------------ by hand

DAYS: list[Day | None] = [1, 1, 1, 2, 2, 4, 4, 4]
LABELS: list[str | None] = ["x", "x", "y", None, "x", "z", "y", "w"]
SHOWN = [[1, 2, 0], [3, 4], [6, 5, 7]]


def test_measurements_by_hand() -> None:
    """Three days: x and y come on the first, z and w on the last. Two pictures a day, then one."""
    replay = Replay((1, 2, 4), made(SHOWN).lists, ())
    assert [(one.label, one.day, one.number, one.rows.tolist(), one.images) for one in debuts(replay, LABELS)] == [
        ("x", 1, 0, [0, 1], 3), ("y", 1, 0, [2], 3), ("w", 4, 2, [7], 3), ("z", 4, 2, [5], 3),
    ]  # fmt: skip
    assert needed(replay, LABELS) == {"x": 1, "y": 2, "w": 3, "z": 2}
    assert [needed_by_chance(one) for one in debuts(replay, LABELS)] == [4 / 3, 2, 2, 2]
    assert delays(replay, LABELS, 1) == {"x": 0, "y": 2, "w": None, "z": None}, "days that have images, not sols"
    assert delays(replay, LABELS, 2) == {"x": 0, "y": 0, "w": None, "z": 0}
    assert curve(replay, LABELS, 1).tolist() == [1, 1, 2]
    assert curve(replay, LABELS, 2).tolist() == [1, 2, 2, 2, 2, 3]
    found = tally(replay, LABELS, 2)
    assert (found.days, found.pictures, found.classes, found.found, found.first_day) == (3, 6, 4, 3, 3)
    assert found.delay == 0
    assert found.nauc == pytest.approx(100 * 12 / (1 + 2 + 3 + 4 + 4 + 4))
    assert found.attainable == pytest.approx(100 * 12 / (1 + 2 + 2 + 2 + 3 + 4))
    assert found.prequential == pytest.approx(100 * (1 + 2 + 0 + 1) / (1 + 2 + 1 + 2))
    assert tally(replay, LABELS, 1).delay == 1
    told = summary(replay, LABELS, (1, 2))
    assert (told["days"], told["images"], told["needed"]) == (3, 8, 3)
    assert told["classes"][1] == {
        "label": "y", "day": 1, "images": 1, "of": 3, "needed": 2, "by_chance": 2.0, "delays": {"1": 2, "2": 0},
    }  # fmt: skip
    assert [one["budget"] for one in told["budgets"]] == [1, 2]


def test_no_classes_at_all() -> None:
    found = tally(made([[0], [1]]), [None, ""], 1)
    assert (found.classes, found.found, found.nauc, found.attainable, found.prequential) == (0, 0, 0, 0, 0)
    assert found.delay is None
    assert expected_tally([1, 2], [None, ""], 1) == found
    assert expected_curve([1, 2], [None, ""], 1).tolist() == [0, 0]


def test_a_budget_is_at_least_one() -> None:
    for ask in (lambda: made(SHOWN).looked_at(0), lambda: expected_curve(DAYS, LABELS, 0)):
        with pytest.raises(PlanError, match="at least 1 picture a day"):
            ask()


# ------------------------------------------------------------------------------------------------------ laws


@given(missions(), SEEDS)
def test_a_larger_budget_is_never_worse(mission: tuple[list[Day | None], list[str | None]], seed: int) -> None:
    """More pictures a day: no class is found later, or not any more; at the largest need, each on its first day."""
    days, labels = mission
    replay = replayed(matrix("normal", len(days), 3, seed), days, labels, Shuffle(seed=seed % 100))
    waits = [delays(replay, labels, budget) for budget in (1, 2, 3, 5, None)]
    for some, more in itertools.pairwise(waits):
        assert all(wait is None or ((now := more[name]) is not None and now <= wait) for name, wait in some.items())
    least = needed(replay, labels)
    assert all(rank >= 1 for rank in least.values())
    for budget in range(1, 1 + max(least.values(), default=0)):
        on_first = {name for name, wait in delays(replay, labels, budget).items() if wait == 0}
        assert on_first == {name for name, rank in least.items() if rank <= budget}


@given(missions(), SEEDS, BUDGETS)
def test_nobody_finds_more_than_the_oracle(
    mission: tuple[list[Day | None], list[str | None]], seed: int, budget: int | None
) -> None:
    """After any number of pictures; and its lists are the days' rows."""
    days, labels = mission
    best = oracle(days, labels, budget)
    assert [sorted(rows) for rows in lists(best)] == lists(chronological(days))
    most = curve(best, labels, budget)
    other = replayed(np.zeros((len(days), 1)), days, labels, Shuffle(seed=seed % 1000))
    assert (curve(other, labels, budget) <= most).all()
    assert (expected_curve(days, labels, budget) <= most + 1e-9).all()
    assert tally(best, labels, budget).attainable == pytest.approx(100 if most.any() else 0)
    assert 0 <= tally(other, labels, budget).prequential <= 100 + 1e-9


@given(missions(images=7), st.integers(1, 3))
def test_the_oracle_is_the_best_of_all_orders(
    mission: tuple[list[Day | None], list[str | None]], budget: int
) -> None:  # fmt: skip
    """By trying every choice of every day."""
    days, labels = mission
    parts = lists(chronological(days))
    choices = [list(itertools.permutations(rows, min(budget, len(rows)))) for rows in parts]
    assume(np.prod([len(one) for one in choices]) <= 3000)
    every = [discovery_curve([labels[row] for rows in one for row in rows]) for one in itertools.product(*choices)]
    best = oracle(days, labels, budget)
    assert curve(best, labels, budget).tolist() == np.max(every, axis=0).tolist()
    orders = [made(one) for one in itertools.product(*choices)]
    looks = [_waits(parts, one, labels) for one in orders]
    assert bounds(days, labels, budget).first_day == max(sum(w == 0 for w in one.values()) for one in looks)
    as_good = [
        (sum(w != 0 for w in one.values()), sum(one.values()))
        for one, found in zip(looks, every, strict=True)
        if found.tolist() == np.max(every, axis=0).tolist()
    ]
    waits = [wait for wait in delays(best, labels, budget).values() if wait is not None]
    assert (sum(wait != 0 for wait in waits), sum(waits)) == min(as_good)


@given(missions(images=7), BUDGETS)
def test_expectations_are_means_over_all_orders(
    mission: tuple[list[Day | None], list[str | None]], budget: int | None
) -> None:
    """Curve, and every number of the tally, by enumerating the orders of each day."""
    days, labels = mission
    choices = [list(itertools.permutations(rows)) for rows in lists(chronological(days))]
    assume(np.prod([len(one) for one in choices]) <= 1500)
    every = [made(one) for one in itertools.product(*choices)]
    curves = [curve(one, labels, budget) for one in every]
    assert expected_curve(days, labels, budget) == pytest.approx(np.mean(curves, axis=0))
    tallies, expected = [tally(one, labels, budget) for one in every], expected_tally(days, labels, budget)
    for name in ("pictures", "classes", "found", "first_day", "nauc", "attainable", "prequential"):
        assert getattr(expected, name) == pytest.approx(np.mean([getattr(one, name) for one in tallies])), name
    total = sum(one.delay * one.found for one in tallies if one.delay is not None)
    times = sum(one.found for one in tallies)
    assert expected.delay == (pytest.approx(total / times, abs=1e-12) if times else None)
    for debut in debuts(every[0], labels):
        ranks = [needed(one, labels)[debut.label] for one in every]
        assert needed_by_chance(debut) == pytest.approx(np.mean(ranks))


def _waits(parts: list[list[int]], looked: Replay, labels: list[str | None]) -> dict[str, int]:
    """Days from its debut until a class is looked at, of those that are: `looked` has a budget's rows alone."""
    debut = {labels[row]: number for number in reversed(range(len(parts))) for row in parts[number]}
    found = {labels[row]: number for number in reversed(range(len(parts))) for row in looked.lists[number]}
    return {name: number - debut[name] for name, number in found.items() if name}


def test_what_is_best_is_best_measure_by_measure() -> None:
    """One picture a day; c can be found later and a cannot: all three found, or two on their first day, but not both."""
    days: list[Day | None] = [1, 1, 2, 2, 3]
    labels: list[str | None] = ["a", "b", "a", "c", "c"]
    best = bounds(days, labels, 1)
    assert (best.found, best.first_day, best.attainable, best.prequential) == (3, 2, 100, 100)
    assert tally(oracle(days, labels, 1), labels, 1).first_day == 1


def test_one_day_is_an_ordinary_selection() -> None:
    """All on one day: the curves of `evaluation`."""
    labels = ["a", "b", "a", "c", None, "c", "c", "d"]
    assert expected_curve([7] * 8, labels, None) == pytest.approx(expected_random_curve(labels, 8))
    assert curve(oracle([7] * 8, labels, None), labels, None).tolist() == oracle_curve(4, 8).tolist()


def test_chronological_is_as_given() -> None:
    days: list[Day | None] = ["b", "a", None, "b", "a"]
    assert lists(chronological(days)) == [[1, 4], [0, 3]]
    assert chronological(days).days == ("a", "b")
    assert chronological(days).dayless == 1


def test_the_values_are_not_changed() -> None:
    values: npt.NDArray[np.float64] = matrix("normal", 9, 3, 3)
    values.flags.writeable = False
    replayed(values, [row % 3 for row in range(9)], [None] * 9, Demud(rank=1))
