"""How soon a person finds the classes of a replay: needed budgets, delays, discovery curves, and the best possible.

Higher is better unless stated otherwise. Every metric has its exact expectation for a random order of each day's images.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from interpdisc_core._types import FloatArray
from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation.replay import (
    ClassDebut,
    DayKey,
    ReplayResult,
    build_replay,
    find_debuts,
    find_debuts_by_day,
    replay_chronological,
    split_rows_by_day,
)
from interpdisc_core.metrics.discovery import (
    Labels,
    discovery_curve,
    miss_probabilities,
    nauc,
    oracle_curve,
)


def replay_oracle(days: Sequence[DayKey | None], labels: Labels, budget: int | None) -> ReplayResult:
    """The best replay for a budget: after any number of pictures, no other has found more classes.

    A matching of pictures to classes is extended picture by picture; a picture that is used stays in use, so the number of
    classes found is the greatest at every time. If there are more new classes than pictures, some are found on a later
    day. Of all such matchings, the result has the most classes on their first day, and of these the least total delay.

    Args:
        days: Days (N).
        labels: Labels (N).
        budget: Pictures a day; None: all.
    """
    _, parts = split_rows_by_day(days)
    # The first row of each label.
    row_by_label = [dict(reversed([(labels[row], row) for row in rows if labels[row]])) for rows in parts]
    classes = sorted({label for labels_of_day in row_by_label for label in labels_of_day if label})
    picture_by_label: dict[str, tuple[int, int]] = {}  # the picture that finds each class: (day, position)

    def assign_picture(picture: tuple[int, int], excluded: set[str]) -> bool:
        for label in classes:
            if label in row_by_label[picture[0]] and label not in excluded:
                excluded.add(label)
                if label not in picture_by_label or assign_picture(picture_by_label[label], excluded):
                    picture_by_label[label] = picture
                    return True
        return False

    for number, rows in enumerate(parts):
        for index in range(len(rows) if budget is None else min(budget, len(rows))):
            if len(picture_by_label) == len(classes) or not assign_picture((number, index), set()):
                break
    used_days = sorted(number for number, _ in picture_by_label.values())
    debut_days = {debut.label: debut.day_number for debut in find_debuts_by_day(parts, labels)}
    late_cost, impossible_cost = len(parts) + 1, (len(parts) + 1) * (len(classes) + 1) ** 2
    cost = [
        [
            impossible_cost
            if label not in row_by_label[day]
            else (day > debut_days[label]) * late_cost * len(classes) + day - debut_days[label]
            for label in classes
        ]
        for day in used_days
    ]
    rows, columns = linear_sum_assignment(np.array(cost, dtype=np.float64).reshape(len(used_days), len(classes)))
    day_rows = {
        (used_days[row], row_by_label[used_days[row]][classes[column]])
        for row, column in zip(rows, columns, strict=True)
    }
    return build_replay(
        days, lambda rows, number: np.array(sorted(rows, key=lambda row: ((number, row) not in day_rows, row)))
    )


def compute_needed_budgets(replay: ReplayResult, labels: Labels) -> dict[str, int]:
    """By class, the least budget that finds it on its first day: the rank, from 1, of its first image; lower is better.

    The budget that finds all classes on their first day is the greatest of these. For a random order see
    `expected_needed_budget`.
    """
    return {
        debut.label: 1 + int(np.flatnonzero(np.isin(replay.rankings[debut.day_number], debut.rows))[0])
        for debut in find_debuts(replay, labels)
    }


def expected_needed_budget(debut: ClassDebut) -> float:
    """Expected rank of the first of a class's m images among n in a random order: (n + 1) / (m + 1)."""
    return (debut.day_images + 1) / (len(debut.rows) + 1)


def compute_delays(replay: ReplayResult, labels: Labels, budget: int | None) -> dict[str, int | None]:
    """By class, days from its debut until an image of it is seen, 0 on the same day; None if that never happens."""
    first_days: dict[str, int] = {}
    for number, rows in enumerate(replay.rows_within_budget(budget)):
        for row in rows:
            if label := labels[row]:
                first_days.setdefault(label, number)
    return {
        debut.label: first_days[debut.label] - debut.day_number if debut.label in first_days else None
        for debut in find_debuts(replay, labels)
    }


def replay_curve(replay: ReplayResult, labels: Labels, budget: int | None) -> npt.NDArray[np.int64]:
    """c (t,): classes found after i = 1…t pictures, over the days' rankings, each cut at the budget, in order."""
    return discovery_curve([labels[row] for rows in replay.rows_within_budget(budget) for row in rows])


def expected_replay_curve(days: Sequence[DayKey | None], labels: Labels, budget: int | None) -> FloatArray:
    """E c (t,) if each day's images are seen in a random order, independently of other days. Exact.

    b of a day's n images miss a class with m of them with probability C(n − m, b) / C(n, b).
    """
    curves = [np.empty(0)]
    miss_probability = np.ones(len(_list_classes(days, labels)))
    for day_miss in _daily_miss_probabilities(days, labels, budget):
        curves.append(len(miss_probability) - miss_probability @ day_miss)
        miss_probability = miss_probability * day_miss[:, -1]
    return np.concatenate(curves)


@dataclass(frozen=True, slots=True)
class ReplayMetrics:
    """The metrics of a replay at a budget; for a random order, their expectations.

    Attributes:
        budget: Pictures a day; None: all.
        days: Days that have images.
        pictures: Pictures seen in all.
        classes: Classes of the replay.
        found: Classes that were found.
        first_day: Classes that were found on their first day; higher is better.
        delay: Mean days from debut until found, over the classes that were found; for a random order, the expected sum
            over the expected number. None if none was found. Lower is better.
        nauc: nAUC of the whole curve, t = pictures, compared with an oracle that finds a new class at every picture, even
            before its first day; 0 to 100, higher is better.
        attainable: The same area in percent of that of `replay_oracle`, which finds classes only from their first day on;
            higher is better, 100 is attainable.
        prequential: Over first days only: the areas under the curves of the day's new classes, cut at the budget, in
            percent of the areas under min(i, new classes); higher is better.
    """

    budget: int | None
    days: int
    pictures: int
    classes: int
    found: float
    first_day: float
    delay: float | None
    nauc: float
    attainable: float
    prequential: float


def compute_replay_metrics(replay: ReplayResult, labels: Labels, budget: int | None) -> ReplayMetrics:
    """The metrics of a replay at a budget; None: all pictures."""
    visible_rows = replay.rows_within_budget(budget)
    finite_delays = [delay for delay in compute_delays(replay, labels, budget).values() if delay is not None]
    new_classes = _new_classes_by_day(replay, labels)
    reached_area = best_area = 0.0
    for number, new in new_classes.items():
        day_curve = discovery_curve([label if (label := labels[row]) in new else None for row in visible_rows[number]])
        reached_area += float(day_curve.sum())
        best_area += float(oracle_curve(len(new), len(day_curve)).sum())
    found_curve = replay_curve(replay, labels, budget)
    return _build_metrics(
        replay,
        labels,
        budget,
        found_curve.astype(np.float64),
        len(finite_delays),
        sum(delay == 0 for delay in finite_delays),
        float(sum(finite_delays)),
        reached_area,
        best_area,
    )


def bound_replay_metrics(days: Sequence[DayKey | None], labels: Labels, budget: int | None) -> ReplayMetrics:
    """The best possible value of each metric: those of `replay_oracle`, but for two.

    For `first_day`, as many new classes on each day as the budget allows; for `prequential`, 100. There may be no single
    order with all of these: finding a class later may allow another to be found at all.
    """
    oracle_replay = replay_oracle(days, labels, budget)
    first_day = sum(
        len(new) if budget is None else min(budget, len(new))
        for new in _new_classes_by_day(oracle_replay, labels).values()
    )
    return replace(
        compute_replay_metrics(oracle_replay, labels, budget),
        first_day=first_day,
        prequential=100.0 if first_day else 0.0,
    )


def expected_replay_metrics(days: Sequence[DayKey | None], labels: Labels, budget: int | None) -> ReplayMetrics:
    """The exact expectation of each metric for a random order of each day's images."""
    replay = replay_chronological(days)
    class_names = _list_classes(days, labels)
    debut_day_by_class = {debut.label: debut.day_number for debut in find_debuts(replay, labels)}
    debut_days = np.array([debut_day_by_class[name] for name in class_names], dtype=np.intp)
    miss_probabilities = _daily_miss_probabilities(days, labels, budget)
    unfound, expected_found, expected_first_day, expected_delay = np.ones(len(class_names)), 0.0, 0.0, 0.0
    for day, day_miss in enumerate(miss_probabilities):
        found_today = unfound * (1 - day_miss[:, -1])
        expected_found += float(found_today.sum())
        expected_first_day += float(found_today[debut_days == day].sum())
        expected_delay += float((found_today * np.maximum(day - debut_days, 0)).sum())
        unfound = unfound - found_today
    reached_area = best_area = 0.0
    for day, new in _new_classes_by_day(replay, labels).items():
        new_class_miss = miss_probabilities[day][[name in new for name in class_names]]
        reached_area += float((1 - new_class_miss).sum())
        best_area += float(oracle_curve(len(new), new_class_miss.shape[1]).sum())
    found_curve = expected_replay_curve(days, labels, budget)
    return _build_metrics(
        replay, labels, budget, found_curve, expected_found, expected_first_day, expected_delay, reached_area, best_area
    )


def summarize_replay(replay: ReplayResult, labels: Labels, budgets: Sequence[int]) -> dict[str, Any]:
    """A replay's metrics as JSON values: `classes` in the order of their debuts, and metrics by budget."""
    delays_by_budget = {budget: compute_delays(replay, labels, budget) for budget in budgets}
    ranks = compute_needed_budgets(replay, labels)
    return {
        "days": len(replay.days),
        "images": sum(map(len, replay.rankings)),
        "dayless": replay.undated_count,
        "needed": max(ranks.values(), default=0),
        "classes": [
            {
                "label": debut.label,
                "day": debut.day,
                "images": len(debut.rows),
                "of": debut.day_images,
                "needed": ranks[debut.label],
                "by_chance": expected_needed_budget(debut),
                "delays": {str(b): delays_by_budget[b][debut.label] for b in budgets},
            }
            for debut in find_debuts(replay, labels)
        ],
        "budgets": [asdict(compute_replay_metrics(replay, labels, budget)) for budget in budgets],
    }


def _new_classes_by_day(replay: ReplayResult, labels: Labels) -> dict[int, set[str]]:
    """The classes that have their debut on each day, by its number."""
    news: dict[int, set[str]] = {}
    for debut in find_debuts(replay, labels):
        news.setdefault(debut.day_number, set()).add(debut.label)
    return news


def _list_classes(days: Sequence[DayKey | None], labels: Labels) -> list[str]:
    return sorted({label for label, day in zip(labels, days, strict=True) if label and day is not None})


def _daily_miss_probabilities(days: Sequence[DayKey | None], labels: Labels, budget: int | None) -> list[FloatArray]:
    """For each day (classes by name, b): the probability that the first i = 1…b of a random order miss a class."""
    if budget is not None and budget < 1:
        raise PlanError(f"replay: a budget must be at least 1 picture a day, not {budget}.")
    classes = {name: index for index, name in enumerate(_list_classes(days, labels))}
    probabilities: list[FloatArray] = []
    for rows in split_rows_by_day(days)[1]:
        class_sizes = np.zeros(len(classes))
        for row in rows:
            if label := labels[row]:
                class_sizes[classes[label]] += 1
        picks = len(rows) if budget is None else min(budget, len(rows))
        probabilities.append(miss_probabilities(len(rows), class_sizes, picks))
    return probabilities


def _build_metrics(
    replay: ReplayResult,
    labels: Labels,
    budget: int | None,
    found_curve: FloatArray,
    classes_found: float,
    first_day: float,
    total_delay: float,
    reached_area: float,
    best_area: float,
) -> ReplayMetrics:
    days: list[DayKey | None] = [None] * len(labels)
    for day, rows in zip(replay.days, replay.rankings, strict=True):
        for row in rows:
            days[row] = day
    classes = len(_list_classes(days, labels))
    oracle_total = float(replay_curve(replay_oracle(days, labels, budget), labels, budget).sum())
    return ReplayMetrics(
        budget,
        len(replay.days),
        len(found_curve),
        classes,
        classes_found,
        first_day,
        total_delay / classes_found if classes_found else None,
        nauc(found_curve, classes, len(found_curve)),
        100.0 * float(found_curve.sum()) / oracle_total if oracle_total else 0.0,
        100.0 * reached_area / best_area if best_area else 0.0,
    )
