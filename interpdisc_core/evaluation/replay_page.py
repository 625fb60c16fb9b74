"""The page of a replay: which classes a person would have seen on their first day, by looking at a few pictures a day.

The page is a function of its view alone: one file without script or links to others, names escaped (see
`interpdisc_core.reporting.html`). It is about the first method of the view, which is compared with the other methods, a
random order and the best possible.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.evaluation import replay as replays
from interpdisc_core.evaluation import replay_metrics
from interpdisc_core.evaluation.replay import DayKey, ReplayResult
from interpdisc_core.evaluation.replay_metrics import ReplayMetrics
from interpdisc_core.metrics.discovery import Labels
from interpdisc_core.reporting import charts
from interpdisc_core.reporting.html import EmbeddedPhoto, get_template_environment

_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.6), (2.4, 1.2), (6, 1.4, 1.4, 1.4), (1.2, 1.2))
"""Dashes of the methods after the first: lengths of line and gap, in widths of the line."""
_MAX_PICTURE_BYTES = 6_000


@dataclass(frozen=True, kw_only=True)
class MethodView:
    """A method at each of the view's budgets.

    Attributes:
        name: Of the method.
        metrics: One a budget.
        curves: One a budget: classes found after i pictures (t,).
        needed_budgets: By class, the least budget that finds it on its first day.
        delays: By class, for each budget the days until it is found; None for never.
    """

    name: str
    metrics: tuple[ReplayMetrics, ...]
    curves: tuple[FloatArray, ...]
    needed_budgets: dict[str, int]
    delays: dict[str, tuple[int | None, ...]]

    @classmethod
    def from_replay(cls, name: str, replay: ReplayResult, labels: Labels, budgets: Sequence[int]) -> "MethodView":
        """From a replay.

        Raises:
            PlanError: If fewer images of a day were ranked than a budget has.
        """
        delays_by_budget = [replay_metrics.compute_delays(replay, labels, budget) for budget in budgets]
        return cls(
            name=name,
            metrics=tuple(replay_metrics.compute_replay_metrics(replay, labels, budget) for budget in budgets),
            curves=tuple(replay_metrics.replay_curve(replay, labels, budget).astype(np.float64) for budget in budgets),
            needed_budgets=replay_metrics.compute_needed_budgets(replay, labels),
            delays={
                debut.label: tuple(delays_of_budget[debut.label] for delays_of_budget in delays_by_budget)
                for debut in replays.find_debuts(replay, labels)
            },
        )


@dataclass(frozen=True, kw_only=True)
class ChanceView:
    """The exact expectations for a random order of each day's images: metrics and a curve (t,) for each budget."""

    metrics: tuple[ReplayMetrics, ...]
    curves: tuple[FloatArray, ...]

    @classmethod
    def from_days(cls, days: Sequence[DayKey | None], labels: Labels, budgets: Sequence[int]) -> "ChanceView":
        """From the days (N) and labels (N) of a replay."""
        return cls(
            metrics=tuple(replay_metrics.expected_replay_metrics(days, labels, budget) for budget in budgets),
            curves=tuple(replay_metrics.expected_replay_curve(days, labels, budget) for budget in budgets),
        )


@dataclass(frozen=True, kw_only=True)
class ClassView:
    """A class and its debut.

    Attributes:
        label: Of the class.
        day: Its first day.
        images: Its images on that day.
        day_images: All images of that day.
        expected_needed_budget: Expected rank of its first image in a random order.
        id: Of its first image.
        picture: Of that image, (h, w, 3) uint8; None if the file is gone.
    """

    label: str
    day: DayKey
    images: int
    day_images: int
    expected_needed_budget: float
    id: str
    picture: PixelArray | None


@dataclass(frozen=True, kw_only=True)
class ReplayView:
    """A replay.

    Attributes:
        title: Of the page.
        description: Sentences on what was replayed, and how.
        days: The first and the last.
        images: Images of the replay.
        undated_count: Images without a day, which are left out.
        budgets: Pictures a day, rising, at least one.
        methods: At least one; the page is about the first.
        chance: Expectations for a random order.
        best_possible: One a budget; see `bound_replay_metrics`.
        oracle_curves: One a budget: the most classes (t,) that can be found.
        classes: In order of their debuts.
    """

    title: str
    description: str
    days: tuple[DayKey, DayKey]
    images: int
    undated_count: int
    budgets: tuple[int, ...]
    methods: tuple[MethodView, ...]
    chance: ChanceView
    best_possible: tuple[ReplayMetrics, ...]
    oracle_curves: tuple[FloatArray, ...]
    classes: tuple[ClassView, ...]


def build_oracle_view(
    days: Sequence[DayKey | None], labels: Labels, budgets: Sequence[int]
) -> tuple[tuple[ReplayMetrics, ...], tuple[FloatArray, ...]]:
    """`best_possible` and `oracle_curves` of a view."""
    return (
        tuple(replay_metrics.bound_replay_metrics(days, labels, budget) for budget in budgets),
        tuple(
            replay_metrics.replay_curve(replay_metrics.replay_oracle(days, labels, budget), labels, budget).astype(
                np.float64
            )
            for budget in budgets
        ),
    )


def render_replay_page(view: ReplayView) -> str:
    """The page as one HTML file, which needs no network, no other file and no script."""
    main, shown = view.methods[0], view.methods[: 1 + len(_DASHES)]
    middle_budget = min(len(view.budgets) // 2, len(view.budgets) - 1)
    top = max(
        [class_view.day_images for class_view in view.classes]
        + [rank for method_view in view.methods for rank in method_view.needed_budgets.values()],
        default=1,
    )
    template_environment = get_template_environment().overlay()
    template_environment.filters["expected_count"] = format_expected_count
    return template_environment.get_template("replay.html.j2").render(
        view=view,
        main=main,
        shown=shown,
        middle=middle_budget,
        colors=["var(--accent)", *(f"var(--hue-{number})" for number in range(1, 1 + len(_DASHES)))],
        dashes=[" ".join(f"{2 * length:g}" for length in dash) or "none" for dash in ((), *_DASHES)],
        days=main.metrics[0].days,
        curves=[_draw_curves(view, shown, index) for index in range(len(view.budgets))],
        scale=_axis_ticks(top),
        strips=[_build_strip(class_view, shown, top) for class_view in view.classes],
        classes=[
            (
                class_view,
                None
                if class_view.picture is None
                else EmbeddedPhoto.encode(class_view.picture, _MAX_PICTURE_BYTES, box=(208, 144)),
            )
            for class_view in view.classes
        ],
        whole=[max(method.needed_budgets.values(), default=0) for method in view.methods],
        half=[float(np.median(list(method.needed_budgets.values()) or [0])) for method in view.methods],
    )


def format_expected_count(value: float) -> str:
    """A count or an expected count: 12, 14.4, 0.56."""
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2f}"


def _draw_curves(view: ReplayView, shown: Sequence[MethodView], index: int) -> Markup:
    """Classes found by number of pictures seen, at one budget: the methods, a random order, the best possible."""
    t, classes, budget = len(view.oracle_curves[index]), view.best_possible[index].classes, view.budgets[index]
    i = np.arange(1, t + 1)
    name = f"found-{budget}"
    with charts.use_chart_theme(name):
        figure, axes = charts.create_chart_axes("pictures seen", f"classes found, of {classes}", t)
        axes.plot(i, view.oracle_curves[index], color=charts.MUTED, linewidth=1.1, linestyle=(0, (4, 2.5)))
        axes.plot(i, view.chance.curves[index], color=charts.MUTED, linewidth=1.3)
        for number, method in reversed(list(enumerate(shown))):
            color = charts.ACCENT if number == 0 else charts.LINE_COLORS[number - 1]
            dash, width = ((), 2.2) if number == 0 else (_DASHES[number - 1], 1.4)
            curve = method.curves[index]
            axes.plot(i[: len(curve)], curve, color=color, linewidth=width, linestyle=(0, dash), drawstyle="steps-post")
        axes.set_ylim(0, max(classes, 1) * 1.06)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        last_count = int(shown[0].curves[index][-1]) if len(shown[0].curves[index]) else 0
        description = (
            f"At {budget} pictures a day: {last_count} of {classes} classes are found by the first method in {t} pictures; "
            f"{view.chance.metrics[index].found:.1f} are expected of a random order."
        )
        return charts.figure_to_svg(figure, name, description)


@dataclass(frozen=True, slots=True)
class _NeededBudgetStrip:
    """A class's row in the chart of needed budgets; positions in percent of a logarithmic scale.

    Attributes:
        marks: Position, rank and number of each method; later ones are drawn above earlier ones.
        expected_position: Of the expected rank in a random order.
        end_position: Of the number of images of the day.
    """

    marks: tuple[tuple[float, int, int], ...]
    expected_position: float
    end_position: float


def _build_strip(class_view: ClassView, shown: Sequence[MethodView], top: int) -> _NeededBudgetStrip:
    marks = [
        (_log_position(method.needed_budgets[class_view.label], top), method.needed_budgets[class_view.label], index)
        for index, method in enumerate(shown)
        if class_view.label in method.needed_budgets
    ]
    return _NeededBudgetStrip(
        tuple(reversed(marks)),
        _log_position(class_view.expected_needed_budget, top),
        _log_position(class_view.day_images, top),
    )


def _log_position(value: float, top: int) -> float:
    return 100.0 * math.log(max(value, 1.0)) / math.log(max(top, 2))


def _axis_ticks(top: int) -> list[tuple[float, int]]:
    """Positions and values 1, 3, 10, 30, … below `top`, and `top`."""
    values = [tick for power in range(7) for tick in (10**power, 3 * 10**power) if tick * 1.5 < max(top, 2)] + [
        max(top, 2)
    ]
    return [(_log_position(value, top), value) for value in values]
