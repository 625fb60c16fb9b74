"""The replay of a mission: each day is ranked by the days before only; metrics by hand and by enumeration."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation.replay import (
    DayKey,
    ReplayResult,
    extract_days,
    find_debuts,
    replay_chronological,
    replay_days,
)
from interpdisc_core.evaluation.replay_metrics import (
    bound_replay_metrics,
    compute_delays,
    compute_needed_budgets,
    compute_replay_metrics,
    expected_needed_budget,
    expected_replay_curve,
    expected_replay_metrics,
    replay_curve,
    replay_oracle,
    summarize_replay,
)
from interpdisc_core.metrics.discovery import discovery_curve, expected_random_curve, oracle_curve
from interpdisc_core.selectors import Demud, Prior, Shuffle
from tests.helpers import literal_demud
from tests.helpers.strategies import make_matrix

SEEDS = st.integers(0, 2**32 - 1)


def rankings_of(replay: ReplayResult) -> list[list[int]]:
    return [rows.tolist() for rows in replay.rankings]


def make_replay(parts: Sequence[Sequence[int]]) -> ReplayResult:
    """A replay with these rankings."""
    return ReplayResult(tuple(range(len(parts))), tuple(np.array(rows, dtype=np.intp) for rows in parts), ())


@st.composite
def missions(draw: st.DrawFn, images: int = 16) -> tuple[list[DayKey | None], list[str | None]]:
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
def test_a_day_is_ranked_by_the_days_before_only(method: str, horizon: int | None, dimension: int) -> None:
    """As by the literal definition: the SVD of all rows of the days before (or the last few), for every pick again."""
    days: list[DayKey | None] = [3, 1, 2, 2, 1, 4, 3, 1, 2, 3, 1, 4, 2, 1, 3, 4, 4, 1]
    values = make_matrix("normal", len(days), dimension, 4)
    replay = replay_days(values, days, [None] * len(days), Demud(method=method, rank=2), horizon=horizon)  # type: ignore[arg-type]
    assert replay.days == (1, 2, 3, 4)
    before: list[list[int]] = []
    for rows, scores in zip(rankings_of(replay), replay.scores, strict=True):
        today = sorted(rows)
        prior = [row for day in (before if horizon is None else before[-horizon:]) for row in day]
        literal = literal_demud.select_literally(
            values[today], values[prior], method=method, rank=2, start="svd", picks=len(today)
        )
        assert not literal.doubts
        ranked = [today[pick.row] for pick in literal.picks]
        assert rows == ranked + [row for row in today if row not in ranked]
        assert scores == pytest.approx([pick.score for pick in literal.picks], rel=1e-9)
        before.append(today)


def test_selectors_that_need_rows_get_those_of_the_horizon() -> None:
    """In order; none on the first day, but with the same number of columns."""
    values = make_matrix("normal", 6, 3, 1)
    opened_with: list[Any] = []

    class RecordingSelector(Shuffle):
        def open(self, features: Any, prior: Any, labels: Any = None, compute_options: Any = None) -> Any:
            opened_with.append((prior, labels))
            return super().open(features, prior)

    replay_days(values, [1, 2, 1, 3, 2, 3], ["a", "b", None, "c", "d", "e"], RecordingSelector(), horizon=1)
    assert [prior.tolist() for prior, _ in opened_with] == [[], values[[0, 2]].tolist(), values[[1, 4]].tolist()]
    assert opened_with[0][0].shape == (0, 3)
    assert [labels for _, labels in opened_with] == [["a", None], ["b", "d"], ["c", "e"]]


def test_demud_gets_the_exact_mean_and_scatter_of_the_days_before() -> None:
    values, opened_with = make_matrix("offset", 40, 5, 2), []

    class RecordingSelector(Demud):
        def open(self, features: Any, prior: Any, labels: Any = None, compute_options: Any = None) -> Any:
            opened_with.append(prior)
            return super().open(features, prior, labels)

    days = [row % 8 for row in range(40)]
    replay_days(values, days, [None] * 40, RecordingSelector(rank=2), horizon=3)
    assert [prior.count for prior in opened_with] == [0, 5, 10, 15, 15, 15, 15, 15]
    expected = Prior.from_items(values[[row for row in range(40) if 3 <= row % 8 < 6]])
    assert opened_with[6].mean == pytest.approx(expected.mean)
    assert opened_with[6].values == pytest.approx(expected.values)
    assert np.abs(opened_with[6].axes @ expected.axes.T) == pytest.approx(np.eye(5), abs=1e-8)


@given(SEEDS, SEEDS, st.sampled_from([None, 1, 3]))
def test_the_ranking_does_not_depend_on_the_order_of_a_days_rows(seed: int, order: int, horizon: int | None) -> None:
    """Rows in general position, given in another order, are ranked as before."""
    rng = np.random.default_rng(seed)
    values, days = make_matrix("normal", 20, 6, seed), [int(day) for day in rng.permutation(20) % 4]
    labels = [str(label) for label in rng.integers(0, 4, 20)]
    moved = np.random.default_rng(order).permutation(20)
    straight = replay_days(values, days, labels, Demud(rank=2), horizon=horizon)
    other = replay_days(
        values[moved], [days[i] for i in moved], [labels[i] for i in moved], Demud(rank=2), horizon=horizon
    )
    assert [moved[rows].tolist() for rows in other.rankings] == rankings_of(straight)
    for a, b in zip(other.scores, straight.scores, strict=True):
        assert a == pytest.approx(b, rel=1e-6)


def test_a_copy_of_an_image_of_the_day_before_ranks_last() -> None:
    values = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 5]])
    replay = replay_days(values, [1, 1, 2, 2], [None] * 4, Demud(rank=1))
    assert rankings_of(replay)[1] == [3, 2]
    assert rankings_of(replay_days(values, [1, 1, 2, 2], [None] * 4, Demud(rank=3)))[1] == [3, 2], "not ranked, so last"


@given(missions(), st.integers(1, 4), SEEDS)
def test_a_limit_changes_no_metric_of_budgets_up_to_it(
    mission: tuple[list[DayKey | None], list[str | None]], limit: int, seed: int
) -> None:
    """The first rows of every day are the same, and all of a day with a debut."""
    days, labels = mission
    values = make_matrix("normal", len(days), 4, seed)
    full, limited = (replay_days(values, days, labels, Demud(rank=2), limit=end) for end in (None, limit))
    assert [rows[:limit] for rows in rankings_of(limited)] == [rows[:limit] for rows in rankings_of(full)]
    assert [sorted(rows) for rows in rankings_of(limited)] == [sorted(rows) for rows in rankings_of(full)]
    assert summarize_replay(limited, labels, (1, limit)) == summarize_replay(full, labels, (1, limit))
    with pytest.raises(PlanError, match=f"only the first {limit}"):
        limited.rows_within_budget(limit + 1)


def test_rows_without_a_day_are_left_out_and_counted() -> None:
    days: list[DayKey | None] = [None, 2, 1, None, 2]
    replay = replay_days(make_matrix("normal", 5, 3, 1), days, ["a", "b", "c", "d", "e"], Shuffle())
    assert replay.undated_count == 2
    assert [sorted(rows) for rows in rankings_of(replay)] == [[2], [1, 4]]
    assert [debut.label for debut in find_debuts(replay, ["a", "b", "c", "d", "e"])] == ["c", "b", "e"]


def test_progress_is_reported_after_each_day() -> None:
    reports: list[tuple[int, int]] = []
    replay_days(
        make_matrix("normal", 4, 3, 1),
        [1, 5, 3, 5],
        [None] * 4,
        Shuffle(),
        report_progress=lambda *days: reports.append(days),
    )
    assert reports == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.full((3, 2), np.nan)}, "not finite"),
        ({"days": [1, 2]}, "must have the same number of rows"),
        ({"labels": ["a"]}, "must have the same number of rows"),
        ({"days": [None] * 3}, "no image has a day"),
        ({"days": [1, "2", 3]}, "all numbers or all texts"),
        ({"horizon": 0}, "at least 1"),
        ({"limit": 0}, "at least 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    settings = {"values": np.eye(3), "days": [1, 2, 3], "labels": ["a", "b", "c"], "selector": Shuffle()} | changes
    with pytest.raises(PlanError, match=message):
        replay_days(**settings)


# --------------------------------------------------------------------------------------------------------- days


def test_days_are_extracted_from_names() -> None:
    names = ["0003ML0000.jpg", "1059MR.jpg", "sun.jpg", None, "12"]
    assert extract_days(names, r"^(\d{4})") == [3, 1059, None, None, None]
    assert extract_days(names, r"^\d{4}") == [3, 1059, None, None, None], "without a group, the whole match"
    assert extract_days(["2012-08-06T05:17", "2012-08-07"], r"^\d+-\d+-\d+") == ["2012-08-06", "2012-08-07"]
    assert extract_days(["sol-9", "sol-x"], "sol-(.)") == ["9", "x"], "not all are numbers, so all are texts"
    assert extract_days(["a"], "(b)?a") == [None], "a group that does not match"
    assert extract_days([]) == []
    with pytest.raises(PlanError, match="group"):
        extract_days(["a"], "(a)(b)")
    with pytest.raises(PlanError, match="days"):
        extract_days(["a"], "(")


# ------------------------------------------------------------------------------------------------------ by hand

DAYS: list[DayKey | None] = [1, 1, 1, 2, 2, 4, 4, 4]
LABELS: list[str | None] = ["x", "x", "y", None, "x", "z", "y", "w"]
RANKINGS = [[1, 2, 0], [3, 4], [6, 5, 7]]


def test_metrics_by_hand() -> None:
    """Three days: x and y come on the first, z and w on the last. Two pictures a day, then one."""
    replay = ReplayResult((1, 2, 4), make_replay(RANKINGS).rankings, ())
    assert [
        (debut.label, debut.day, debut.day_number, debut.rows.tolist(), debut.day_images)
        for debut in find_debuts(replay, LABELS)
    ] == [
        ("x", 1, 0, [0, 1], 3),
        ("y", 1, 0, [2], 3),
        ("w", 4, 2, [7], 3),
        ("z", 4, 2, [5], 3),
    ]
    assert compute_needed_budgets(replay, LABELS) == {"x": 1, "y": 2, "w": 3, "z": 2}
    assert [expected_needed_budget(debut) for debut in find_debuts(replay, LABELS)] == [4 / 3, 2, 2, 2]
    assert compute_delays(replay, LABELS, 1) == {"x": 0, "y": 2, "w": None, "z": None}, (
        "days that have images, not sols"
    )
    assert compute_delays(replay, LABELS, 2) == {"x": 0, "y": 0, "w": None, "z": 0}
    assert replay_curve(replay, LABELS, 1).tolist() == [1, 1, 2]
    assert replay_curve(replay, LABELS, 2).tolist() == [1, 2, 2, 2, 2, 3]
    metrics = compute_replay_metrics(replay, LABELS, 2)
    assert (metrics.days, metrics.pictures, metrics.classes, metrics.found, metrics.first_day) == (3, 6, 4, 3, 3)
    assert metrics.delay == 0
    assert metrics.nauc == pytest.approx(100 * 12 / (1 + 2 + 3 + 4 + 4 + 4))
    assert metrics.attainable == pytest.approx(100 * 12 / (1 + 2 + 2 + 2 + 3 + 4))
    assert metrics.prequential == pytest.approx(100 * (1 + 2 + 0 + 1) / (1 + 2 + 1 + 2))
    assert compute_replay_metrics(replay, LABELS, 1).delay == 1
    summary = summarize_replay(replay, LABELS, (1, 2))
    assert (summary["days"], summary["images"], summary["needed"]) == (3, 8, 3)
    assert summary["classes"][1] == {
        "label": "y",
        "day": 1,
        "images": 1,
        "of": 3,
        "needed": 2,
        "by_chance": 2.0,
        "delays": {"1": 2, "2": 0},
    }
    assert [metrics["budget"] for metrics in summary["budgets"]] == [1, 2]


def test_metrics_without_classes_are_0() -> None:
    metrics = compute_replay_metrics(make_replay([[0], [1]]), [None, ""], 1)
    assert (metrics.classes, metrics.found, metrics.nauc, metrics.attainable, metrics.prequential) == (0, 0, 0, 0, 0)
    assert metrics.delay is None
    assert expected_replay_metrics([1, 2], [None, ""], 1) == metrics
    assert expected_replay_curve([1, 2], [None, ""], 1).tolist() == [0, 0]


def test_a_budget_below_one_is_refused() -> None:
    for call in (lambda: make_replay(RANKINGS).rows_within_budget(0), lambda: expected_replay_curve(DAYS, LABELS, 0)):
        with pytest.raises(PlanError, match="at least 1 picture a day"):
            call()


# ------------------------------------------------------------------------------------------------------ laws


@given(missions(), SEEDS)
def test_a_larger_budget_is_never_worse(mission: tuple[list[DayKey | None], list[str | None]], seed: int) -> None:
    """No class is found later or missed; at the largest needed budget each is found on its first day."""
    days, labels = mission
    replay = replay_days(make_matrix("normal", len(days), 3, seed), days, labels, Shuffle(seed=seed % 100))
    delays_by_budget = [compute_delays(replay, labels, budget) for budget in (1, 2, 3, 5, None)]
    for fewer, more in itertools.pairwise(delays_by_budget):
        assert all(
            delay is None or ((sooner := more[name]) is not None and sooner <= delay) for name, delay in fewer.items()
        )
    needed = compute_needed_budgets(replay, labels)
    assert all(rank >= 1 for rank in needed.values())
    for budget in range(1, 1 + max(needed.values(), default=0)):
        on_first = {name for name, delay in compute_delays(replay, labels, budget).items() if delay == 0}
        assert on_first == {name for name, rank in needed.items() if rank <= budget}


@given(missions(), SEEDS, BUDGETS)
def test_no_replay_finds_more_than_the_oracle(
    mission: tuple[list[DayKey | None], list[str | None]], seed: int, budget: int | None
) -> None:
    """After any number of pictures; and its rankings are permutations of the days' rows."""
    days, labels = mission
    best = replay_oracle(days, labels, budget)
    assert [sorted(rows) for rows in rankings_of(best)] == rankings_of(replay_chronological(days))
    best_curve = replay_curve(best, labels, budget)
    other = replay_days(np.zeros((len(days), 1)), days, labels, Shuffle(seed=seed % 1000))
    assert (replay_curve(other, labels, budget) <= best_curve).all()
    assert (expected_replay_curve(days, labels, budget) <= best_curve + 1e-9).all()
    assert compute_replay_metrics(best, labels, budget).attainable == pytest.approx(100 if best_curve.any() else 0)
    assert 0 <= compute_replay_metrics(other, labels, budget).prequential <= 100 + 1e-9


@given(missions(images=7), st.integers(1, 3))
def test_the_oracle_is_the_best_of_all_orders(
    mission: tuple[list[DayKey | None], list[str | None]], budget: int
) -> None:
    """By trying every choice of every day."""
    days, labels = mission
    parts = rankings_of(replay_chronological(days))
    choices = [list(itertools.permutations(rows, min(budget, len(rows)))) for rows in parts]
    assume(np.prod([len(orders_of_day) for orders_of_day in choices]) <= 3000)
    curves = [discovery_curve([labels[row] for rows in order for row in rows]) for order in itertools.product(*choices)]
    best = replay_oracle(days, labels, budget)
    assert replay_curve(best, labels, budget).tolist() == np.max(curves, axis=0).tolist()
    replays = [make_replay(order) for order in itertools.product(*choices)]
    delays_by_order = [_delays_of_found(parts, replay, labels) for replay in replays]
    assert bound_replay_metrics(days, labels, budget).first_day == max(
        sum(delay == 0 for delay in delays.values()) for delays in delays_by_order
    )
    as_good = [
        (sum(delay != 0 for delay in delays.values()), sum(delays.values()))
        for delays, curve in zip(delays_by_order, curves, strict=True)
        if curve.tolist() == np.max(curves, axis=0).tolist()
    ]
    delays = [delay for delay in compute_delays(best, labels, budget).values() if delay is not None]
    assert (sum(delay != 0 for delay in delays), sum(delays)) == min(as_good)


@given(missions(images=7), BUDGETS)
def test_expectations_are_means_over_all_orders(
    mission: tuple[list[DayKey | None], list[str | None]], budget: int | None
) -> None:
    """The curve and every metric, by enumerating the orders of each day."""
    days, labels = mission
    choices = [list(itertools.permutations(rows)) for rows in rankings_of(replay_chronological(days))]
    assume(np.prod([len(orders_of_day) for orders_of_day in choices]) <= 1500)
    replays = [make_replay(order) for order in itertools.product(*choices)]
    curves = [replay_curve(replay, labels, budget) for replay in replays]
    assert expected_replay_curve(days, labels, budget) == pytest.approx(np.mean(curves, axis=0))
    all_metrics = [compute_replay_metrics(replay, labels, budget) for replay in replays]
    expected = expected_replay_metrics(days, labels, budget)
    for name in ("pictures", "classes", "found", "first_day", "nauc", "attainable", "prequential"):
        assert getattr(expected, name) == pytest.approx(np.mean([getattr(metrics, name) for metrics in all_metrics])), (
            name
        )
    total = sum(metrics.delay * metrics.found for metrics in all_metrics if metrics.delay is not None)
    found = sum(metrics.found for metrics in all_metrics)
    assert expected.delay == (pytest.approx(total / found, abs=1e-12) if found else None)
    for debut in find_debuts(replays[0], labels):
        ranks = [compute_needed_budgets(replay, labels)[debut.label] for replay in replays]
        assert expected_needed_budget(debut) == pytest.approx(np.mean(ranks))


def _delays_of_found(parts: list[list[int]], replay: ReplayResult, labels: list[str | None]) -> dict[str, int]:
    """Days from its debut until a class is found, of those that are: `replay` has only the rows within a budget."""
    debut = {labels[row]: number for number in reversed(range(len(parts))) for row in parts[number]}
    found_days = {labels[row]: number for number in reversed(range(len(parts))) for row in replay.rankings[number]}
    return {name: number - debut[name] for name, number in found_days.items() if name}


def test_the_best_possible_is_the_best_of_each_metric() -> None:
    """One picture a day: an order can find all three classes, or two on their first day, but not both."""
    days: list[DayKey | None] = [1, 1, 2, 2, 3]
    labels: list[str | None] = ["a", "b", "a", "c", "c"]
    best = bound_replay_metrics(days, labels, 1)
    assert (best.found, best.first_day, best.attainable, best.prequential) == (3, 2, 100, 100)
    assert compute_replay_metrics(replay_oracle(days, labels, 1), labels, 1).first_day == 1


def test_a_replay_of_one_day_has_the_curves_of_a_selection() -> None:
    labels = ["a", "b", "a", "c", None, "c", "c", "d"]
    assert expected_replay_curve([7] * 8, labels, None) == pytest.approx(expected_random_curve(labels, 8))
    assert replay_curve(replay_oracle([7] * 8, labels, None), labels, None).tolist() == oracle_curve(4, 8).tolist()


def test_the_chronological_replay_keeps_the_order_of_rows() -> None:
    days: list[DayKey | None] = ["b", "a", None, "b", "a"]
    assert rankings_of(replay_chronological(days)) == [[1, 4], [0, 3]]
    assert replay_chronological(days).days == ("a", "b")
    assert replay_chronological(days).undated_count == 1


def test_a_replay_does_not_change_its_input() -> None:
    values: npt.NDArray[np.float64] = make_matrix("normal", 9, 3, 3)
    values.flags.writeable = False
    replay_days(values, [row % 3 for row in range(9)], [None] * 9, Demud(rank=1))
