"""The replay of a mission: its images day by day, each day's against a memory of the days before.

On each day all of its images are ranked by how new they are beside what was seen before; a person looks at the first
few of the list (the budget); then the memory takes in all of the day's images, looked at or not. What is measured is how
soon a person has seen an image of a class that was not there before.

Days are those that have images: a horizon of 30 is the last 30 of them, and a delay of 2 is two of them later, whatever
the calendar says. A class's first day (its debut) is the first day that has an image of it.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation import Curve, Labels, discovery_curve, nauc
from interpdisc_core.lab.trials import compiled
from interpdisc_core.memory import Sum, model_of
from interpdisc_core.selectors import Seen, Selects
from interpdisc_core.selectors.choice import Floats

Day = int | str
Index = npt.NDArray[np.intp]

BY_SUMMARY = frozenset({"demud", "rx"})
"""Kinds of selectors for which mean and scatter of what was seen are enough; all others are given its rows."""


def days_of(values: Sequence[str | None], pattern: str = r"^(\d+)") -> list[Day | None]:
    r"""The day in each text (such as ids, or a field of metadata): what the pattern's group finds in it.

    Without a group it is all that the pattern finds. Numbers where every day found is of digits 0–9, else texts, which
    are ordered as such (ISO dates are in order). None where a text is None or has no day in it.
    Raises PlanError for a pattern that is none, or has more than one group.
    """
    finder = compiled(pattern, "days")
    matches = [None if value is None else finder.search(value) for value in values]
    found = [match[finder.groups] or None if match else None for match in matches]
    if all(re.fullmatch("[0-9]+", day) for day in found if day is not None):
        return [None if day is None else int(day) for day in found]
    return list(found)


@dataclass(frozen=True, slots=True)
class Replay:
    """What a method shows, day by day.

    days (D,): in order. lists: of each day all of its rows, the newest first; those that the selector did not come to
    are last, in their order. scores: of each day the scores (m,) of the rows that it did come to, higher is newer.
    most: so many of a list are by the selector for sure; None for all. dayless: rows that have no day and are left out.
    """

    days: tuple[Day, ...]
    lists: tuple[Index, ...]
    scores: tuple[Floats, ...]
    most: int | None = None
    dayless: int = 0

    def looked_at(self, budget: int | None) -> list[Index]:
        """Of each day the rows that a person sees who looks at so many a day; None for all of them.

        Raises PlanError for a budget below 1, and for one beyond `most`.
        """
        if budget is not None and budget < 1:
            raise PlanError(f"replay: a budget is at least 1 picture a day, not {budget}.")
        if self.most is not None and (budget is None or budget > self.most):
            raise PlanError(
                f"replay: only the first {self.most} of a day were ranked; replay it with more for {budget}."
            )
        return [rows[:budget] for rows in self.lists]


def replayed(
    values: Floats, days: Sequence[Day | None], labels: Labels, selector: Selects, *, horizon: int | None = None,
    most: int | None = None, report: Callable[[int, int], None] | None = None,
) -> Replay:  # fmt: skip
    """Replay rows (N, d) of finite numbers by their days (N,) and labels (N,); rows without a day are left out.

    Each day is selected from by `selector` after a prior of the last `horizon` days, or of all days before. On the first
    day there is none, and the selector's own rule for a start holds. Of the rows before, selectors of the kinds
    BY_SUMMARY get the exact mean and scatter, kept as in `interpdisc_core.memory` (sums in order, nothing subtracted).
    most: on days without a debut, end a list after so many, which saves time; measurements up to there stay the same.
    report: is told after each day how many are done, of how many.

    Labels serve `most`, and selectors that ask for them. Raises PlanError for values, days or settings that cannot be.
    """
    if values.ndim != 2 or not len(values) == len(days) == len(labels):
        raise PlanError(f"replay: {values.shape} values, {len(days)} days and {len(labels)} labels do not go together.")
    if not np.isfinite(values).all():
        raise PlanError("replay: a row holds values that are not finite; leave out rows without a vector.")
    if any(setting is not None and setting < 1 for setting in (horizon, most)):
        raise PlanError(f"replay: horizon ({horizon}) and most ({most}) are at least 1, or none.")
    order, parts = _by_day(days)
    debut = {row for one in _debuts(parts, labels) for row in one.rows.tolist()}
    past = _Past(values.shape[1], horizon, summary=selector.kind in BY_SUMMARY)
    lists, scores = [], []
    with threadpool_limits(limits=1, user_api="blas"):
        for number, rows in enumerate(parts, start=1):
            end = len(rows) if most is None or not debut.isdisjoint(rows.tolist()) else min(most, len(rows))
            selection = selector.open(values[rows], past.prior(), labels=[labels[row] for row in rows])
            taken: list[int] = []
            told: list[float] = []
            while len(taken) < end and (choice := selection.peek()) is not None:
                taken.append(choice.row)
                told.append(choice.score)
                if len(taken) < end:
                    selection.learn(choice.row)
            lists.append(rows[taken + sorted(set(range(len(rows))) - set(taken))])
            scores.append(np.array(told))
            past.add(values[rows])
            if report is not None:
                report(number, len(parts))
    return Replay(tuple(order), tuple(lists), tuple(scores), most, sum(day is None for day in days))


def chronological(days: Sequence[Day | None]) -> Replay:
    """Each day's images in the order of their rows: who looks at them as they come."""
    return _given(days, lambda rows, _: rows)


def oracle(days: Sequence[Day | None], labels: Labels, budget: int | None) -> Replay:
    """The best that anyone can do with so many pictures a day: the most classes found after any number of pictures.

    A matching of pictures to classes, extended picture by picture; one that is used once stays in use, so that no other
    has found more at any time. Where there are more new classes than pictures, some come on a later day; of all such
    matchings it is one with the most classes on their first day, and of these with the least delay.
    """
    _, parts = _by_day(days)
    there = [dict(reversed([(labels[row], row) for row in rows if labels[row]])) for rows in parts]  # the first row
    classes = sorted({label for one in there for label in one if label})
    holder: dict[str, tuple[int, int]] = {}  # which picture a class is found by: (day, place)

    def use(picture: tuple[int, int], tried: set[str]) -> bool:
        for label in classes:
            if label in there[picture[0]] and label not in tried:
                tried.add(label)
                if label not in holder or use(holder[label], tried):
                    holder[label] = picture
                    return True
        return False

    for number, rows in enumerate(parts):
        for place in range(len(rows) if budget is None else min(budget, len(rows))):
            if len(holder) == len(classes) or not use((number, place), set()):
                break
    used = sorted(number for number, _ in holder.values())
    debut = {one.label: one.number for one in _debuts(parts, labels)}
    late, never = len(parts) + 1, (len(parts) + 1) * (len(classes) + 1) ** 2
    cost = [
        [
            never if label not in there[day] else (day > debut[label]) * late * len(classes) + day - debut[label]
            for label in classes
        ]
        for day in used
    ]
    rows, columns = linear_sum_assignment(np.array(cost, dtype=np.float64).reshape(len(used), len(classes)))
    found = {(used[row], there[used[row]][classes[column]]) for row, column in zip(rows, columns, strict=True)}
    return _given(days, lambda rows, number: np.array(sorted(rows, key=lambda row: ((number, row) not in found, row))))


@dataclass(frozen=True, slots=True)
class Debut:
    """A class's first day. number: of the day, from 0. rows: its images on that day, in order. images: on the day, in all."""

    label: str
    day: Day
    number: int
    rows: Index
    images: int


def debuts(replay: Replay, labels: Labels) -> list[Debut]:
    """The classes in the order of their debuts, those of a day by name. A row without a label is of no class."""
    found = _debuts([np.sort(rows) for rows in replay.lists], labels)
    return [Debut(one.label, replay.days[one.number], one.number, one.rows, one.images) for one in found]


def needed(replay: Replay, labels: Labels) -> dict[str, int]:
    """The least budget by which a class is found on its first day: the rank (from 1) of its first image in that list.

    Over all classes: the greatest of these. Expected in a random order: (n + 1) / (m + 1), see `needed_by_chance`.
    """
    return {
        one.label: 1 + int(np.flatnonzero(np.isin(replay.lists[one.number], one.rows))[0])
        for one in debuts(replay, labels)
    }


def needed_by_chance(debut: Debut) -> float:
    """Expected rank of the first of m images among n in a random order: (n + 1) / (m + 1)."""
    return (debut.images + 1) / (len(debut.rows) + 1)


def delays(replay: Replay, labels: Labels, budget: int | None) -> dict[str, int | None]:
    """Days from a class's debut until an image of it is looked at, 0 on the same day; None where that never happens."""
    first: dict[str, int] = {}
    for number, rows in enumerate(replay.looked_at(budget)):
        for row in rows:
            if label := labels[row]:
                first.setdefault(label, number)
    return {one.label: first[one.label] - one.number if one.label in first else None for one in debuts(replay, labels)}


def curve(replay: Replay, labels: Labels, budget: int | None) -> npt.NDArray[np.int64]:
    """c (t,): classes found after i pictures looked at, i = 1…t: the days' lists, cut at the budget, one after the other."""
    return discovery_curve([labels[row] for rows in replay.looked_at(budget) for row in rows])


def expected_curve(days: Sequence[Day | None], labels: Labels, budget: int | None) -> Curve:
    """E c (t,) where each day's images are looked at in a random order, days being independent of each other. Exact.

    A class is missed by b of a day's n images, m of them its own, with probability C(n − m, b) / C(n, b).
    """
    curves = [np.empty(0)]
    left = np.ones(len({label for label, day in zip(labels, days, strict=True) if label and day is not None}))
    for missed in _missed(days, labels, budget):
        curves.append(len(left) - left @ missed)
        left = left * missed[:, -1]
    return np.concatenate(curves)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a way of looking comes to at a budget; of a random order, what is expected.

    budget: pictures a day, None for all. days: that have images. pictures: looked at in all. classes: that there are.
    found: classes, sooner or later. first_day: classes, on their first day. delay: mean days until found, of those that
    are found (of a random order: the expected sum over the expected number); None where none is.
    nauc: nAUC over all pictures looked at, t = pictures, against an oracle that finds a new class at every picture, though
    most are not there yet. attainable: the same area against `oracle`'s, who can only find what is there; 100 is the best.
    prequential: over first days alone. The curve of a first day counts the classes that have their debut on it; the areas
    under all of them, cut at the budget, in percent of the areas under min(i, new classes). Higher is better in all
    four but `delay`.
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


def tally(replay: Replay, labels: Labels, budget: int | None) -> Tally:
    """The measurements of a replay."""
    looked = replay.looked_at(budget)
    waited = [wait for wait in delays(replay, labels, budget).values() if wait is not None]
    news = _news(replay, labels)
    reached = best = 0.0
    for number, new in news.items():
        seen = discovery_curve([label if (label := labels[row]) in new else None for row in looked[number]])
        reached, best = reached + float(seen.sum()), best + _best(len(new), len(seen))
    of = curve(replay, labels, budget)
    return _tally(
        replay, labels, budget, of.astype(np.float64), len(waited), sum(wait == 0 for wait in waited), float(sum(waited)),
        reached, best,
    )  # fmt: skip


def bounds(days: Sequence[Day | None], labels: Labels, budget: int | None) -> Tally:
    """The best that is possible in each measurement; `oracle`'s but for two that are bounded by themselves.

    first_day: on each day as many new classes as there are pictures. prequential: 100, the same. No single order need reach
    all of them: a class that is put off may be the only one to be found later.
    """
    best = oracle(days, labels, budget)
    first = sum(
        len(new) if budget is None else min(budget, len(new)) for new in _news(best, labels).values()
    )  # fmt: skip
    return replace(tally(best, labels, budget), first_day=first, prequential=100.0 if first else 0.0)


def expected_tally(days: Sequence[Day | None], labels: Labels, budget: int | None) -> Tally:
    """The same of a random order of each day's images: expectations, exact."""
    replay = chronological(days)
    names, number_of = _classes(days, labels), {one.label: one.number for one in debuts(replay, labels)}
    number = np.array([number_of[name] for name in names], dtype=np.intp)
    missed = _missed(days, labels, budget)
    left, found, first, waited = np.ones(len(names)), 0.0, 0.0, 0.0
    for day, one in enumerate(missed):
        now = left * (1 - one[:, -1])
        found += float(now.sum())
        first += float(now[number == day].sum())
        waited += float((now * np.maximum(day - number, 0)).sum())
        left = left - now
    reached = best = 0.0
    for day, new in _news(replay, labels).items():
        chosen = missed[day][[name in new for name in names]]
        reached, best = reached + float((1 - chosen).sum()), best + _best(len(new), chosen.shape[1])
    of = expected_curve(days, labels, budget)
    return _tally(replay, labels, budget, of, found, first, waited, reached, best)


def summary(replay: Replay, labels: Labels, budgets: Sequence[int]) -> dict[str, Any]:
    """A replay's measurements for programs: `classes` in the order of their debuts, and a tally by budget."""
    waits = {budget: delays(replay, labels, budget) for budget in budgets}
    ranks = needed(replay, labels)
    return {
        "days": len(replay.days), "images": sum(map(len, replay.lists)), "dayless": replay.dayless,
        "needed": max(ranks.values(), default=0),
        "classes": [
            {
                "label": one.label, "day": one.day, "images": len(one.rows), "of": one.images, "needed": ranks[one.label],
                "by_chance": needed_by_chance(one), "delays": {str(b): waits[b][one.label] for b in budgets},
            }
            for one in debuts(replay, labels)
        ],
        "budgets": [asdict(tally(replay, labels, budget)) for budget in budgets],
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------


class _Past:
    """The rows of the days before, as a prior for a selector."""

    def __init__(self, dimension: int, horizon: int | None, *, summary: bool) -> None:
        self.dimension, self.horizon, self.summary = dimension, horizon, summary
        self.kept: deque[Floats] = deque(maxlen=horizon)
        self.total = Sum(dimension)  # of all; a horizon's is summed anew, as nothing is ever subtracted

    def add(self, rows: Floats) -> None:
        if self.summary and self.horizon is None:
            self.total.include(rows)
        else:
            self.kept.append(rows)

    def prior(self) -> Floats | Seen:
        if not self.summary:
            return np.concatenate([np.empty((0, self.dimension)), *self.kept])
        total = self.total
        if self.horizon is not None:
            total = Sum(self.dimension)
            for rows in self.kept:
                total.include(rows)
        return model_of(total) if total.count else Seen.none(self.dimension)


def _by_day(days: Sequence[Day | None]) -> tuple[list[Day], list[Index]]:
    """Days in order and the rows of each. Raises PlanError for numbers and texts together, and where there is no day."""
    there = {day for day in days if day is not None}
    if not there:
        raise PlanError("replay: no image has a day.")
    if len({isinstance(day, str) for day in there}) > 1:
        raise PlanError("replay: days are all numbers or all texts, not both.")
    order: list[Day] = sorted(there)
    rows: dict[Day, list[int]] = {day: [] for day in order}
    for row, day in enumerate(days):
        if day is not None:
            rows[day].append(row)
    return order, [np.array(rows[day], dtype=np.intp) for day in order]


def _given(days: Sequence[Day | None], arranged: Callable[[Index, int], Index]) -> Replay:
    """A replay of lists that are known, without scores."""
    order, parts = _by_day(days)
    lists = tuple(arranged(rows, number) for number, rows in enumerate(parts))
    return Replay(tuple(order), lists, tuple(np.empty(0) for _ in lists), None, sum(day is None for day in days))


def _debuts(parts: Sequence[Index], labels: Labels) -> list[Debut]:
    """Debuts by the rows of each day; their `day` is the number of it."""
    found: list[Debut] = []
    seen: set[str] = set()
    for number, rows in enumerate(parts):
        by_label: dict[str, list[int]] = {}
        for row in rows.tolist():
            if (label := labels[row]) and label not in seen:
                by_label.setdefault(label, []).append(row)
        seen |= by_label.keys()
        found += [
            Debut(label, number, number, np.array(of, dtype=np.intp), len(rows))
            for label, of in sorted(by_label.items())
        ]
    return found


def _news(replay: Replay, labels: Labels) -> dict[int, set[str]]:
    """The classes that have their debut on a day, by its number."""
    news: dict[int, set[str]] = {}
    for one in debuts(replay, labels):
        news.setdefault(one.number, set()).add(one.label)
    return news


def _classes(days: Sequence[Day | None], labels: Labels) -> list[str]:
    return sorted({label for label, day in zip(labels, days, strict=True) if label and day is not None})


def _missed(days: Sequence[Day | None], labels: Labels, budget: int | None) -> list[Floats]:
    """Of each day (classes by name, b): the probability that a class is not among the first i in a random order."""
    if budget is not None and budget < 1:
        raise PlanError(f"replay: a budget is at least 1 picture a day, not {budget}.")
    classes = {name: at for at, name in enumerate(_classes(days, labels))}
    found: list[Floats] = []
    for rows in _by_day(days)[1]:
        own = np.zeros(len(classes))
        for row in rows:
            if label := labels[row]:
                own[classes[label]] += 1
        looked = np.arange(len(rows) if budget is None else min(budget, len(rows)))
        others = np.maximum(len(rows) - own[:, None] - looked, 0)
        found.append(np.cumprod(others / (len(rows) - looked), axis=1, dtype=np.float64))
    return found


def _best(classes: int, pictures: int) -> float:
    return float(np.minimum(np.arange(1, pictures + 1), classes).sum())


def _tally(
    replay: Replay, labels: Labels, budget: int | None, of: Curve, found: float, first: float, waited: float,
    reached: float, best: float,
) -> Tally:  # fmt: skip
    days: list[Day | None] = [None] * len(labels)
    for day, rows in zip(replay.days, replay.lists, strict=True):
        for row in rows:
            days[row] = day
    classes = len(_classes(days, labels))
    limit = float(curve(oracle(days, labels, budget), labels, budget).sum())
    return Tally(
        budget, len(replay.days), len(of), classes, found, first, waited / found if found else None,
        nauc(of, classes, len(of)), 100.0 * float(of.sum()) / limit if limit else 0.0,
        100.0 * reached / best if best else 0.0,
    )  # fmt: skip
