"""The replay of a mission: its images day by day, each day's ranked by a memory of the days before.

On each day all of its images are ranked by how new they are compared with earlier ones; a person looks at the first few
(the budget); then the memory learns all images of the day. The question is how soon a person sees an image of a new
class; see `interpdisc_core.evaluation.replay_metrics`.

Only days that have images count: a horizon of 30 is the last 30 of them, and a delay of 2 is two of them later. A class's
first day (its debut) is the first day that has an image of it.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from interpdisc_core._types import FloatArray, IndexArray
from interpdisc_core.archive.memory_record import ScatterSum, fit_prior
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation.sampling import compile_pattern
from interpdisc_core.metrics.discovery import Labels
from interpdisc_core.selectors import Prior, SelectorLike

DayKey = int | str
"""A day: a number, or a text such as an ISO date, ordered as such."""

SUMMARY_SELECTOR_KINDS = frozenset({"demud", "rx"})
"""Kinds of selectors that need only mean and scatter of the days before; all others get their rows."""


def extract_days(values: Sequence[str | None], pattern: str = r"^(\d+)") -> list[DayKey | None]:
    r"""The day in each text, such as an id or a field of metadata.

    Args:
        values: Texts (N).
        pattern: A regular expression; its group is the day, or all that it matches if it has no group.

    Returns:
        Days (N): numbers if all days are of digits 0–9, else texts. None if a text is None or has no day.

    Raises:
        PlanError: If the pattern is no regular expression, or has more than one group.

    Example:
        >>> extract_days(["0012ML.png", "1059MR.png", "sun.png"])
        [12, 1059, None]
    """
    finder = compile_pattern(pattern, "days")
    matches = [None if value is None else finder.search(value) for value in values]
    day_texts = [match[finder.groups] or None if match else None for match in matches]
    if all(re.fullmatch("[0-9]+", day) for day in day_texts if day is not None):
        return [None if day is None else int(day) for day in day_texts]
    return list(day_texts)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A method's ranking of each day's images.

    Attributes:
        days: In order (D).
        rankings: All rows of each day, the newest first. Rows that the selector did not rank are last, in their order.
        scores: Scores (m,) of the rows that the selector ranked, by day; higher is newer.
        ranking_limit: How many of each day the selector ranked at least; None: all.
        undated_count: Rows without a day, which are left out.
    """

    days: tuple[DayKey, ...]
    rankings: tuple[IndexArray, ...]
    scores: tuple[FloatArray, ...]
    ranking_limit: int | None = None
    undated_count: int = 0

    def rows_within_budget(self, budget: int | None) -> list[IndexArray]:
        """The rows of each day that a person sees who looks at `budget` pictures a day; None: all.

        Raises:
            PlanError: If the budget is below 1, or above `ranking_limit`.
        """
        if budget is not None and budget < 1:
            raise PlanError(f"replay: a budget must be at least 1 picture a day, not {budget}.")
        if self.ranking_limit is not None and (budget is None or budget > self.ranking_limit):
            raise PlanError(
                f"replay: only the first {self.ranking_limit} of a day were ranked; replay with a limit of {budget or 'None'}."
            )
        return [rows[:budget] for rows in self.rankings]


def replay_days(
    values: FloatArray,
    days: Sequence[DayKey | None],
    labels: Labels,
    selector: SelectorLike,
    *,
    horizon: int | None = None,
    limit: int | None = None,
    report_progress: Callable[[int, int], None] | None = None,
) -> ReplayResult:
    """Rank each day's rows by a selector whose prior is the days before.

    On the first day there is no prior. Selectors of the kinds `SUMMARY_SELECTOR_KINDS` get the exact mean and scatter of
    earlier rows, summed as in `interpdisc_core.archive.memory` (in order, nothing is subtracted).

    Args:
        values: Features (N, d), finite.
        days: Days (N); rows without one are left out.
        labels: Labels (N), for `limit` and for selectors that use them.
        selector: Ranks each day's rows.
        horizon: Days of the prior; None: all days before.
        limit: On days without a debut, rank only this many rows, which saves time and changes no metric of a budget up
            to it. None: rank all.
        report_progress: Is called after each day with the number of days done and of all days.

    Raises:
        PlanError: If the lengths differ, a value is not finite, no row has a day, days are numbers and texts, or a setting
            is below 1.
    """
    if values.ndim != 2 or not len(values) == len(days) == len(labels):
        raise PlanError(
            f"replay: values {values.shape}, {len(days)} days and {len(labels)} labels must have the same number of rows."
        )
    if not np.isfinite(values).all():
        raise PlanError("replay: a row has values that are not finite; leave out rows without features.")
    if any(setting is not None and setting < 1 for setting in (horizon, limit)):
        raise PlanError(f"replay: horizon ({horizon}) and limit ({limit}) must be at least 1, or None.")
    order, parts = split_rows_by_day(days)
    debut_rows = {row for class_debut in find_debuts_by_day(parts, labels) for row in class_debut.rows.tolist()}
    memory = _MemoryWindow(values.shape[1], horizon, summary=selector.kind in SUMMARY_SELECTOR_KINDS)
    rankings, scores = [], []
    with single_blas_thread:
        for number, rows in enumerate(parts, start=1):
            end = len(rows) if limit is None or not debut_rows.isdisjoint(rows.tolist()) else min(limit, len(rows))
            selection = selector.open(values[rows], memory.build_prior(), labels=[labels[row] for row in rows])
            local_rows: list[int] = []
            day_scores: list[float] = []
            while len(local_rows) < end and (choice := selection.peek()) is not None:
                local_rows.append(choice.row)
                day_scores.append(choice.score)
                if len(local_rows) < end:
                    selection.learn(choice.row)
            rankings.append(rows[local_rows + sorted(set(range(len(rows))) - set(local_rows))])
            scores.append(np.array(day_scores))
            memory.add(values[rows])
            if report_progress is not None:
                report_progress(number, len(parts))
    return ReplayResult(tuple(order), tuple(rankings), tuple(scores), limit, sum(day is None for day in days))


def replay_chronological(days: Sequence[DayKey | None]) -> ReplayResult:
    """The replay of a person who looks at each day's images in the order of their rows."""
    return build_replay(days, lambda rows, _: rows)


@dataclass(frozen=True, slots=True)
class ClassDebut:
    """A class's first day.

    Attributes:
        label: Of the class.
        day: Its first day.
        day_number: Number of that day, from 0.
        rows: Rows (m,) of the class's images on that day, in order.
        day_images: All images of that day.
    """

    label: str
    day: DayKey
    day_number: int
    rows: IndexArray
    day_images: int


def find_debuts(replay: ReplayResult, labels: Labels) -> list[ClassDebut]:
    """The debuts of all classes, by day and then by name."""
    by_day_number = find_debuts_by_day([np.sort(rows) for rows in replay.rankings], labels)
    return [
        ClassDebut(debut.label, replay.days[debut.day_number], debut.day_number, debut.rows, debut.day_images)
        for debut in by_day_number
    ]


class _MemoryWindow:
    """The rows of the days before, as a prior for a selector."""

    def __init__(self, dimension: int, horizon: int | None, *, summary: bool) -> None:
        self.dimension, self.horizon, self.uses_summary = dimension, horizon, summary
        self.window: deque[FloatArray] = deque(maxlen=horizon)
        self.total = ScatterSum(
            dimension
        )  # of all days; that of a horizon is summed again each day, as nothing is ever subtracted

    def add(self, rows: FloatArray) -> None:
        if self.uses_summary and self.horizon is None:
            self.total.add_rows(rows)
        else:
            self.window.append(rows)

    def build_prior(self) -> FloatArray | Prior:
        if not self.uses_summary:
            return np.concatenate([np.empty((0, self.dimension)), *self.window])
        total = self.total
        if self.horizon is not None:
            total = ScatterSum(self.dimension)
            for rows in self.window:
                total.add_rows(rows)
        return fit_prior(total) if total.count else Prior.empty(self.dimension)


def split_rows_by_day(days: Sequence[DayKey | None]) -> tuple[list[DayKey], list[IndexArray]]:
    """The days in order, and the rows of each.

    Raises:
        PlanError: If no row has a day, or days are numbers and texts.
    """
    unique_days = {day for day in days if day is not None}
    if not unique_days:
        raise PlanError("replay: no image has a day.")
    if len({isinstance(day, str) for day in unique_days}) > 1:
        raise PlanError("replay: days must be all numbers or all texts, not both.")
    order: list[DayKey] = sorted(unique_days)
    rows: dict[DayKey, list[int]] = {day: [] for day in order}
    for row, day in enumerate(days):
        if day is not None:
            rows[day].append(row)
    return order, [np.array(rows[day], dtype=np.intp) for day in order]


def build_replay(days: Sequence[DayKey | None], order_rows: Callable[[IndexArray, int], IndexArray]) -> ReplayResult:
    """A replay of given rankings, without scores. order_rows: ranks the rows of a day, by its number from 0."""
    order, parts = split_rows_by_day(days)
    rankings = tuple(order_rows(rows, number) for number, rows in enumerate(parts))
    return ReplayResult(
        tuple(order), rankings, tuple(np.empty(0) for _ in rankings), None, sum(day is None for day in days)
    )


def find_debuts_by_day(parts: Sequence[IndexArray], labels: Labels) -> list[ClassDebut]:
    """Debuts, from the rows of each day; `day` is its number."""
    debuts_in_order: list[ClassDebut] = []
    known_labels: set[str] = set()
    for number, rows in enumerate(parts):
        by_label: dict[str, list[int]] = {}
        for row in rows.tolist():
            if (label := labels[row]) and label not in known_labels:
                by_label.setdefault(label, []).append(row)
        known_labels |= by_label.keys()
        debuts_in_order += [
            ClassDebut(label, number, number, np.array(label_rows, dtype=np.intp), len(rows))
            for label, label_rows in sorted(by_label.items())
        ]
    return debuts_in_order
