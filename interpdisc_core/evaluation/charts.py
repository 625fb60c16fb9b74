"""Charts of an evaluation: how soon methods find classes, how they rank, and what they found after some numbers of picks.

Markup and positions, the same for the same input. Names stay out of the pictures: a curve has its number in the ranking,
and the page has the names next to it. Colors are the page's CSS variables, see `interpdisc_core.reporting.charts`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from interpdisc_core._types import FloatArray
from interpdisc_core.evaluation.aggregate import MethodSummary, rank_summaries
from interpdisc_core.reporting import charts

MAX_CURVES = 10
"""Most curves of a chart."""
MAX_DRAW_DOTS = 20
"""The ranking shows single draws if there are at most this many."""
_DASHES: tuple[Any, ...] = ("-", (0, (4.5, 1.8)), (0, (1.2, 1.5)))
_EARLY_END_SHARE = 0.8
"""A chart ends early if all curves are flat after at most this share of the picks."""
_MIN_LABEL_GAP = 0.047
"""Least distance of two numbers at the ends of curves, as a share of the chart's height."""


@dataclass(frozen=True, slots=True)
class ChartCurve:
    """A curve of a chart.

    Attributes:
        number: Of the method in the ranking, from 1.
        summary: Of the method.
        color: As CSS.
        dashes: As SVG; empty if solid.
    """

    number: int
    summary: MethodSummary
    color: str
    dashes: str


@dataclass(frozen=True, slots=True)
class CurveChart:
    """The chart of discovery curves, its curves, and its last pick, after which no curve rises."""

    chart: Markup
    curves: tuple[ChartCurve, ...]
    last_pick: int


@dataclass(frozen=True, slots=True)
class RankingRow:
    """A row of the ranking; positions in percent from the left.

    Attributes:
        number: From 1, the best first.
        summary: Of the method.
        is_highlighted: Whether it has the accent color.
        position: Of the mean nAUC_t.
        low, high: Ends of its 95 % interval; None without one.
        draw_positions: Of the score of each draw.
        score_text: Mean nAUC_t as text.
        interval_text: The interval as text; empty without one.
    """

    number: int
    summary: MethodSummary
    is_highlighted: bool
    position: float
    low: float | None
    high: float | None
    draw_positions: tuple[float, ...]
    score_text: str
    interval_text: str


@dataclass(frozen=True, slots=True)
class RankingChart:
    """Methods by mean nAUC_t, the best first.

    Attributes:
        rows: One a method that has a score.
        ticks: Positions and texts of the axis.
        random_position: Of a random order's expectation; None if it is not known.
        interval_basis: What the intervals are over, `draws` or `classes`; empty without intervals.
    """

    rows: tuple[RankingRow, ...]
    ticks: tuple[tuple[float, str], ...]
    random_position: float | None
    interval_basis: str


@dataclass(frozen=True, slots=True)
class ClassCount:
    """Classes found after a number of picks, as text, and as a share of all classes, 0 to 1, for the shade of a cell."""

    picks: int
    text: str
    share: float


def score_interval(summary: MethodSummary) -> tuple[float, float] | None:
    """The 95 % interval of nAUC_t: of the mean over draws, or over classes if there is one draw; None if not defined.

    Cut off at 0 and 100, which Student's interval of few draws can exceed but no score can.
    """
    low, high = (summary.nauc.low, summary.nauc.high) if summary.draws > 1 else summary.class_interval
    if not summary.draws or not math.isfinite(low) or not math.isfinite(high):
        return None
    return max(low, 0.0), min(high, 100.0)


def select_curves(summaries: Sequence[MethodSummary], limit: int = MAX_CURVES) -> list[MethodSummary]:
    """Whose curves are drawn: the best of each method, then the best of each kind of features, then the best others.

    Args:
        summaries: In any order; those without a curve are left out.
        limit: At most this many are returned, the best first.
    """
    candidates = [
        summary for summary in rank_summaries(summaries) if summary.curve.size and np.isfinite(summary.curve).all()
    ]
    methods: dict[object, int] = {}
    features: dict[object, int] = {}
    for position, summary in enumerate(candidates):
        methods.setdefault(summary.method, position)
        features.setdefault((summary.representation, summary.treatment), position)
    positions = list(dict.fromkeys([*methods.values(), *features.values(), *range(len(candidates))]))
    return [candidates[position] for position in sorted(positions[:limit])]


def draw_curves(
    summaries: Sequence[MethodSummary],
    random: FloatArray,
    band: FloatArray | None,
    oracle: FloatArray,
    *,
    is_highlighted: Callable[[MethodSummary], bool],
    name: str = "curves",
) -> CurveChart:
    """Draw mean discovery curves, with the best possible curve and a random order's expectation.

    Args:
        summaries: Of all methods; see `select_curves` for those that are drawn.
        random: Expected classes (t,) among the first i picks of a random order.
        band: Standard deviation (t,) of that; two of it each way are shaded.
        oracle: The most classes (t,) that can be found.
        is_highlighted: Which methods have the accent color.
        name: An identifier of this chart in the page.
    """
    numbers = {id(summary): number for number, summary in enumerate(rank_summaries(summaries), 1)}
    selected = select_curves(summaries)
    chart_curves, styles = _assign_styles(selected, [numbers[id(summary)] for summary in selected], is_highlighted)
    t = max([len(random), len(oracle), *(len(summary.curve) for summary in selected)], default=0)
    last_pick = _last_changing_pick([oracle, *(summary.curve for summary in selected)], random, t)
    top = max(
        [
            1.0,
            *(
                float(np.nanmax(c))
                for c in (random, oracle, *(summary.curve for summary in selected))
                if np.isfinite(c).any()
            ),
        ]
    )
    with charts.use_chart_theme(name):
        figure, axes = charts.create_chart_axes("pick", f"classes found, of {top:.4g}", last_pick, height=3.5)
        picks = np.arange(1, last_pick + 1)
        if band is not None and len(band) == len(random):
            lower, upper = (np.clip(random + 2 * way * band, 0, top)[:last_pick] for way in (-1, 1))
            axes.fill_between(picks[: len(lower)], lower, upper, color=charts.MUTED, alpha=0.16, linewidth=0)
        axes.plot(picks[: len(oracle)], oracle[:last_pick], color=charts.MUTED, linewidth=1.1, linestyle=(0, (4, 2.5)))
        axes.plot(picks[: len(random)], random[:last_pick], color=charts.MUTED, linewidth=1.4)
        dot = "o" if t == 1 else ""
        for chart_curve, (color, dashes) in reversed(list(zip(chart_curves, styles, strict=True))):  # best on top
            width = 2.0 if is_highlighted(chart_curve.summary) else 1.5
            curve = chart_curve.summary.curve[:last_pick]
            step = "steps-post" if chart_curve.summary.draws == 1 else "default"
            axes.plot(
                picks[: len(curve)], curve, color=color, linestyle=dashes, linewidth=width, marker=dot, drawstyle=step
            )
        axes.set_ylim(0, 1.06 * top)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        ends = [float(chart_curve.summary.curve[-1]) for chart_curve in chart_curves]
        for chart_curve, (color, _), end, y in zip(
            chart_curves, styles, ends, _separate_positions(ends, _MIN_LABEL_GAP * 1.06 * top, 1.06 * top), strict=True
        ):
            x = min(len(chart_curve.summary.curve), last_pick)
            axes.plot([x, x + 0.025 * max(last_pick, 2)], [end, y], color=color, linewidth=0.7, clip_on=False)
            axes.text(x + 0.03 * max(last_pick, 2), y, str(chart_curve.number), color=color, va="center", ha="left")
        description = f"Discovery curves of {len(chart_curves)} methods over {t} picks, numbered as in the ranking"
        description += "".join(
            f"; number {chart_curve.number} finds {end:.4g}"
            for chart_curve, end in zip(chart_curves, ends, strict=True)
        )
        description += f"; a random order {random[-1]:.4g} of {top:.4g} classes." if len(random) else "."
        return CurveChart(charts.figure_to_svg(figure, name, description), tuple(chart_curves), last_pick)


def _last_changing_pick(curves: Sequence[FloatArray], random: FloatArray, t: int) -> int:
    """The pick, rounded up to 10, after which all curves are flat, the random one up to 0.05 classes; t if that is late."""
    ends = [_picks_to_reach(curve, float(curve[-1])) for curve in curves if len(curve)]
    ends += [_picks_to_reach(random, float(random[-1]) - 0.05)] if len(random) else []
    last_pick = min(t, -(-max(ends, default=t) // 10) * 10)
    return last_pick if last_pick <= _EARLY_END_SHARE * t else t


def _picks_to_reach(curve: FloatArray, value: float) -> int:
    """Picks after which a rising curve (t,) is at `value` or above."""
    return int(np.argmax(curve >= value)) + 1


def _assign_styles(
    selected: Sequence[MethodSummary], numbers: Sequence[int], is_highlighted: Callable[[MethodSummary], bool]
) -> tuple[list[ChartCurve], list[tuple[str, Any]]]:
    """A color and dashes for each curve: accent for highlighted ones, hues in turn for the others."""
    chart_curves: list[ChartCurve] = []
    styles: list[tuple[str, Any]] = []
    accent_count = other_count = 0
    for summary, number in zip(selected, numbers, strict=True):
        if is_highlighted(summary):
            color, css, dashes = charts.ACCENT, "var(--accent)", _DASHES[min(accent_count, 2)]
            accent_count += 1
        else:
            hue, turn = other_count % len(charts.LINE_COLORS), other_count // len(charts.LINE_COLORS)
            color, css, dashes = charts.LINE_COLORS[hue], f"var(--hue-{hue + 1})", _DASHES[min(turn, 2)]
            other_count += 1
        chart_curves.append(
            ChartCurve(number, summary, css, "" if dashes == "-" else " ".join(f"{2 * n:g}" for n in dashes[1]))
        )
        styles.append((color, dashes))
    return chart_curves, styles


def _separate_positions(positions: Sequence[float], min_gap: float, top: float) -> list[float]:
    """The positions, moved at least `min_gap` apart and not above `top`, in their order (of equals the first is highest)."""
    order = sorted(range(len(positions)), key=lambda i: (-positions[i], i))
    groups: list[list[float]] = []  # neighbors that touch: their middle, and how many
    for i in order:
        groups.append([positions[i], 1])
        while len(groups) > 1 and groups[-2][0] - groups[-1][0] < min_gap * (groups[-2][1] + groups[-1][1]) / 2:
            middle, size = groups.pop()
            above, before = groups[-1]
            merged_middle = (above * before + middle * size) / (before + size)
            groups[-1] = [min(merged_middle, top - min_gap * (before + size - 1) / 2), before + size]
    separated = [0.0] * len(positions)
    remaining = iter(order)
    for middle, size in groups:
        for offset in range(int(size)):
            separated[next(remaining)] = middle + min_gap * ((size - 1) / 2 - offset)
    return separated


def build_ranking(
    summaries: Sequence[MethodSummary], *, is_highlighted: Callable[[MethodSummary], bool]
) -> RankingChart:
    """A horizontal dot chart, one row a method that has a score, as positions that a page lays out in HTML.

    In HTML, since there may be many long names, which must stay readable on a phone. The scale covers all that is shown.
    """
    ranked = [summary for summary in rank_summaries(summaries) if math.isfinite(summary.nauc.mean)]
    spans = [score_interval(summary) for summary in ranked]
    draws = [summary.draw_scores if 1 < summary.draws <= MAX_DRAW_DOTS else () for summary in ranked]
    random = next((summary.random_nauc for summary in ranked if math.isfinite(summary.random_nauc)), None)
    shown_values = [summary.nauc.mean for summary in ranked] + [edge for span in spans if span for edge in span]
    shown_values += [value for scores in draws for value in scores if math.isfinite(value)]
    shown_values += [] if random is None else [random]
    lower, upper = (min(shown_values), max(shown_values)) if shown_values else (0.0, 100.0)
    margin = max(0.03 * (upper - lower), 0.5)
    lower, upper = lower - margin, upper + margin

    def to_percent(score: float) -> float:
        return round(100.0 * (score - lower) / (upper - lower), 2)

    rows = tuple(
        RankingRow(
            number,
            summary,
            is_highlighted(summary),
            to_percent(summary.nauc.mean),
            to_percent(span[0]) if span else None,
            to_percent(span[1]) if span else None,
            tuple(to_percent(value) for value in scores if math.isfinite(value)),
            f"{summary.nauc.mean:.2f}",
            format_interval(span),
        )
        for number, (summary, span, scores) in enumerate(zip(ranked, spans, draws, strict=True), 1)
    )
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(lower, upper)
    interval_basis = ("draws" if any(summary.draws > 1 for summary in ranked) else "classes") if any(spans) else ""
    return RankingChart(
        rows,
        tuple((to_percent(tick), f"{tick:g}") for tick in ticks if lower <= tick <= upper and 0 <= tick <= 100),
        None if random is None else to_percent(random),
        interval_basis,
    )


def format_interval(span: tuple[float, float] | None) -> str:
    """An interval as text; empty without one."""
    return "" if span is None else f"{span[0]:.1f} to {span[1]:.1f}"


def class_counts(summary: MethodSummary, pick_counts: Sequence[int]) -> tuple[ClassCount, ...]:
    """Mean classes that a method found after each number of picks; a dash beyond its last pick."""
    counts = class_counts_along(summary.curve, summary.classes, pick_counts)
    return tuple(
        _format_class_count(count.picks, summary.classes_found[count.picks], summary.classes)
        if count.picks in summary.classes_found
        else count
        for count in counts
    )


def class_counts_along(curve: FloatArray, classes: float, pick_counts: Sequence[int]) -> tuple[ClassCount, ...]:
    """Classes along a curve (t,), such as a random order's expectation, of `classes` classes."""
    return tuple(
        _format_class_count(picks, float(curve[picks - 1]) if picks <= len(curve) else math.nan, classes)
        for picks in pick_counts
    )


def _format_class_count(picks: int, classes_found: float, classes: float) -> ClassCount:
    if not math.isfinite(classes_found):
        return ClassCount(picks, "–", 0.0)
    whole = classes_found == round(classes_found)
    share = classes_found / classes if classes and math.isfinite(classes) else 0.0
    return ClassCount(
        picks, f"{classes_found:.0f}" if whole else f"{classes_found:.1f}", round(min(max(share, 0.0), 1.0), 3)
    )
