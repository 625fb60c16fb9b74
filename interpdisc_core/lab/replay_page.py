"""The page of a replay: which classes a person would have seen on their first day, by looking at a few pictures a day.

`render` is a function of its view alone: one file without script or address, names escaped (`interpdisc_core.pages`).
The first method of the view is the one that the page is about; the others, a random order and the best that is possible
are what it is compared with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from interpdisc_core import charts
from interpdisc_core.evaluation import Curve, Labels
from interpdisc_core.images import Pixels
from interpdisc_core.lab import replay as replays
from interpdisc_core.lab.replay import Day, Replay, Tally
from interpdisc_core.pages import Photo, environment

_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.6), (2.4, 1.2), (6, 1.4, 1.4, 1.4), (1.2, 1.2))
"""Of the methods after the first, beside their colours: lengths of line and gap, in widths of the line."""
_THUMB = 6_000


@dataclass(frozen=True, kw_only=True)
class MethodView:
    """A method at each of the view's budgets.

    tallies: one a budget. curves: of each budget classes found (t,) after so many pictures. needed: by class, the least
    budget that finds it on its first day. delays: by class, of each budget the days until it is found, None for never.
    """

    name: str
    tallies: tuple[Tally, ...]
    curves: tuple[Curve, ...]
    needed: dict[str, int]
    delays: dict[str, tuple[int | None, ...]]

    @classmethod
    def of(cls, name: str, replay: Replay, labels: Labels, budgets: Sequence[int]) -> "MethodView":
        """Of a replay. Raises PlanError where it does not reach a budget."""
        waits = [replays.delays(replay, labels, budget) for budget in budgets]
        return cls(
            name=name, tallies=tuple(replays.tally(replay, labels, budget) for budget in budgets),
            curves=tuple(replays.curve(replay, labels, budget).astype(np.float64) for budget in budgets),
            needed=replays.needed(replay, labels),
            delays={one.label: tuple(wait[one.label] for wait in waits) for one in replays.debuts(replay, labels)},
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ChanceView:
    """What is expected of a random order of each day's images, exactly: a tally and a curve (t,) a budget."""

    tallies: tuple[Tally, ...]
    curves: tuple[Curve, ...]

    @classmethod
    def of(cls, days: Sequence[Day | None], labels: Labels, budgets: Sequence[int]) -> "ChanceView":
        """Of the days (N,) and labels (N,) that were replayed."""
        return cls(
            tallies=tuple(replays.expected_tally(days, labels, budget) for budget in budgets),
            curves=tuple(replays.expected_curve(days, labels, budget) for budget in budgets),
        )


@dataclass(frozen=True, kw_only=True)
class ClassView:
    """A class by its debut. images: its own on that day, of so many. picture (h, w, 3): of the first, named `id`."""

    label: str
    day: Day
    images: int
    of: int
    by_chance: float
    id: str
    picture: Pixels | None


@dataclass(frozen=True, kw_only=True)
class ReplayView:
    """A replay. budgets: pictures a day, rising, at least one. methods: at least one. classes: in order of their debuts.

    about: sentences on what was replayed and how. dayless: images that have no day and are left out. oracles: of each
    budget the most classes (t,) that can be found. best: the best possible in each measurement, see `replay.bounds`.
    """

    title: str
    about: str
    days: tuple[Day, Day]
    images: int
    dayless: int
    budgets: tuple[int, ...]
    methods: tuple[MethodView, ...]
    chance: ChanceView
    best: tuple[Tally, ...]
    oracles: tuple[Curve, ...]
    classes: tuple[ClassView, ...]


def oracle_view(
    days: Sequence[Day | None], labels: Labels, budgets: Sequence[int]
) -> tuple[tuple[Tally, ...], tuple[Curve, ...]]:
    """`best` and `oracles` of a view: the best that anyone can do at each budget."""
    return (
        tuple(replays.bounds(days, labels, budget) for budget in budgets),
        tuple(
            replays.curve(replays.oracle(days, labels, budget), labels, budget).astype(np.float64) for budget in budgets
        ),
    )  # fmt: skip


def render(view: ReplayView) -> str:
    """The page. It needs nothing beside itself: no network, no other file, no script."""
    main, shown = view.methods[0], view.methods[: 1 + len(_DASHES)]
    middle = min(len(view.budgets) // 2, len(view.budgets) - 1)
    top = max([one.of for one in view.classes] + [rank for m in view.methods for rank in m.needed.values()], default=1)
    page = environment().overlay()
    page.filters["few"] = few
    return page.get_template("replay.html.j2").render(
        view=view, main=main, shown=shown, middle=middle, colours=["var(--accent)", *(f"var(--hue-{number})" for number in range(1, 1 + len(_DASHES)))],
        dashes=[" ".join(f"{2 * part:g}" for part in dash) or "none" for dash in ((), *_DASHES)], days=main.tallies[0].days,
        curves=[_curves(view, shown, at) for at in range(len(view.budgets))],
        scale=_ticks(top), strips=[_strip(one, shown, top) for one in view.classes],
        classes=[(one, None if one.picture is None else Photo.of(one.picture, _THUMB, box=(208, 144))) for one in view.classes],
        whole=[max(method.needed.values(), default=0) for method in view.methods],
        half=[float(np.median(list(method.needed.values()) or [0])) for method in view.methods],
    )  # fmt: skip


def few(value: float) -> str:
    """A count, or what is expected of one: 12, 14.4, 0.56."""
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2f}"


def _curves(view: ReplayView, shown: Sequence[MethodView], at: int) -> Markup:
    """Classes found by pictures looked at, at one budget: the methods, a random order, the best that is possible."""
    t, classes, budget = len(view.oracles[at]), view.best[at].classes, view.budgets[at]
    i = np.arange(1, t + 1)
    name = f"found-{budget}"
    with charts.themed(name):
        figure, axes = charts.framed("pictures looked at", f"classes found, of {classes}", t)
        axes.plot(i, view.oracles[at], color=charts.MUTED, linewidth=1.1, linestyle=(0, (4, 2.5)))
        axes.plot(i, view.chance.curves[at], color=charts.MUTED, linewidth=1.3)
        for number, method in reversed(list(enumerate(shown))):
            colour = charts.ACCENT if number == 0 else charts.HUES[number - 1]
            dash, width = ((), 2.2) if number == 0 else (_DASHES[number - 1], 1.4)
            curve = method.curves[at]
            axes.plot(
                i[: len(curve)], curve, color=colour, linewidth=width, linestyle=(0, dash), drawstyle="steps-post"
            )
        axes.set_ylim(0, max(classes, 1) * 1.06)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        last = int(shown[0].curves[at][-1]) if len(shown[0].curves[at]) else 0
        said = (
            f"At {budget} pictures a day: {last} of {classes} classes are found by the first method in {t} pictures; "
            f"{view.chance.tallies[at].found:.1f} are expected of a random order."
        )
        return charts.svg(figure, name, said)


@dataclass(frozen=True, slots=True)
class _Strip:
    """A class's line in the chart of what is needed; places in percent of a scale of logarithms.

    marks: (place, rank, method's number), later ones below. chance: place of what is expected. end: of the day's images.
    """

    marks: tuple[tuple[float, int, int], ...]
    chance: float
    end: float


def _strip(one: ClassView, shown: Sequence[MethodView], top: int) -> _Strip:
    marks = [
        (_place(m.needed[one.label], top), m.needed[one.label], at)
        for at, m in enumerate(shown)
        if one.label in m.needed
    ]
    return _Strip(tuple(reversed(marks)), _place(one.by_chance, top), _place(one.of, top))  # fmt: skip


def _place(value: float, top: int) -> float:
    return 100.0 * math.log(max(value, 1.0)) / math.log(max(top, 2))


def _ticks(top: int) -> list[tuple[float, int]]:
    """Places and values 1, 3, 10, 30, … up to `top`, and that itself."""
    values = [v for power in range(7) for v in (10**power, 3 * 10**power) if v * 1.5 < max(top, 2)] + [max(top, 2)]
    return [(_place(value, top), value) for value in values]
