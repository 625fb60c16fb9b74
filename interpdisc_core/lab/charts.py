"""Charts of an evaluation: how soon many methods find classes, how they rank, and what they found after so many picks.

Markup and positions, the same for the same input. Names stay out of the pictures: a curve carries its number in the
ranking, and the page says beside it whose that is. Colours are the page's CSS variables, see `interpdisc_core.charts`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from interpdisc_core import charts
from interpdisc_core.lab.results import Line

Floats = npt.NDArray[np.float64]

CURVES = 10
"""Curves that a chart shows."""
DOTS = 20
"""Draws up to which the ranking shows each."""
_DASHES: tuple[Any, ...] = ("-", (0, (4.5, 1.8)), (0, (1.2, 1.5)))
_WORTH = 0.8
"""A chart ends early where all of it is flat after at most this share of the picks."""
_APART = 0.047
"""Least distance between two numbers at the ends of curves, as a share of the chart's height."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A curve of a chart: of which line, by its number from 1 in the ranking. colour: CSS; dashes: SVG, empty if solid."""

    number: int
    line: Line
    colour: str
    dashes: str


@dataclass(frozen=True, slots=True)
class Curves:
    """The chart of discovery curves, and whose they are. last: its last pick; after it, no curve rises."""

    chart: Markup
    drawn: tuple[Drawn, ...]
    last: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the ranking; places in percent from the left.

    low, high: of the 95 % interval, None where there is none. draws: of each draw's own score. value: nAUC_t as text.
    """

    number: int
    line: Line
    marked: bool
    place: float
    low: float | None
    high: float | None
    draws: tuple[float, ...]
    value: str
    told: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Methods by their mean nAUC_t, best first. ticks: place and text. random: its place, None where it is not known.

    over: what the intervals are over, `draws` or `classes`; empty where there are none.
    """

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    random: float | None
    over: str


@dataclass(frozen=True, slots=True)
class Count:
    """Classes found after `at` picks. share: of all classes, 0 to 1, for the shade of its cell."""

    at: int
    text: str
    share: float


def ranked(lines: Sequence[Line]) -> list[Line]:
    """By falling mean nAUC_t; lines without one come last, in their order."""
    return sorted(lines, key=lambda line: -line.nauc.mean if math.isfinite(line.nauc.mean) else math.inf)


def interval(line: Line) -> tuple[float, float] | None:
    """The line's 95 % interval of nAUC_t: of the mean over draws, or over classes where there is one draw. None without.

    Within 0 to 100: where Student's interval of few draws goes beyond, no score can.
    """
    low, high = (line.nauc.low, line.nauc.high) if line.draws > 1 else line.over_classes
    if not line.draws or not math.isfinite(low) or not math.isfinite(high):
        return None
    return max(low, 0.0), min(high, 100.0)


def shown(lines: Sequence[Line], most: int = CURVES) -> list[Line]:
    """Whose curves are drawn: the best line of each method, then of each kind of features, then the best of the rest.

    At most so many, as `ranked`. Lines without a curve are left out.
    """
    ready = [line for line in ranked(lines) if line.curve.size and np.isfinite(line.curve).all()]
    methods: dict[object, int] = {}
    features: dict[object, int] = {}
    for place, line in enumerate(ready):
        methods.setdefault(line.method, place)
        features.setdefault((line.representation, line.treatment), place)
    wanted = list(dict.fromkeys([*methods.values(), *features.values(), *range(len(ready))]))
    return [ready[place] for place in sorted(wanted[:most])]


def curves(
    lines: Sequence[Line], random: Floats, band: Floats | None, oracle: Floats, *,
    marked: Callable[[Line], bool], name: str = "curves",
) -> Curves:  # fmt: skip
    """The mean discovery curves of `shown` lines, with the best that there can be and a random order's expectation.

    random, oracle (t,): classes among the first i picks. band (t,): random's standard deviation; two of it each way are
    shaded. marked: lines in the accent colour. name: one of the page's identifiers, of this chart alone.
    """
    numbers = {id(line): number for number, line in enumerate(ranked(lines), 1)}
    some = shown(lines)
    drawn, styles = _styled(some, [numbers[id(line)] for line in some], marked)
    t = max([len(random), len(oracle), *(len(line.curve) for line in some)], default=0)
    last = _until([oracle, *(line.curve for line in some)], random, t)
    top = max(
        [1.0, *(float(np.nanmax(c)) for c in (random, oracle, *(line.curve for line in some)) if np.isfinite(c).any())]
    )
    with charts.themed(name):
        figure, axes = charts.framed("pick", f"classes found, of {top:.4g}", last, high=3.5)
        picks = np.arange(1, last + 1)
        if band is not None and len(band) == len(random):
            low, high = (np.clip(random + 2 * way * band, 0, top)[:last] for way in (-1, 1))
            axes.fill_between(picks[: len(low)], low, high, color=charts.MUTED, alpha=0.16, linewidth=0)
        axes.plot(picks[: len(oracle)], oracle[:last], color=charts.MUTED, linewidth=1.1, linestyle=(0, (4, 2.5)))
        axes.plot(picks[: len(random)], random[:last], color=charts.MUTED, linewidth=1.4)
        dot = "o" if t == 1 else ""
        for one, (colour, dashes) in reversed(list(zip(drawn, styles, strict=True))):  # the best on top
            wide = 2.0 if marked(one.line) else 1.5
            curve = one.line.curve[:last]
            step = "steps-post" if one.line.draws == 1 else "default"
            axes.plot(
                picks[: len(curve)], curve, color=colour, linestyle=dashes, linewidth=wide, marker=dot, drawstyle=step
            )  # fmt: skip
        axes.set_ylim(0, 1.06 * top)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        ends = [float(one.line.curve[-1]) for one in drawn]
        for one, (colour, _), end, y in zip(
            drawn, styles, ends, _apart(ends, _APART * 1.06 * top, 1.06 * top), strict=True
        ):
            x = min(len(one.line.curve), last)
            axes.plot([x, x + 0.025 * max(last, 2)], [end, y], color=colour, linewidth=0.7, clip_on=False)
            axes.text(x + 0.03 * max(last, 2), y, str(one.number), color=colour, va="center", ha="left")
        said = f"Discovery curves of {len(drawn)} methods over {t} picks, numbered as in the ranking"
        said += "".join(f"; number {one.number} finds {end:.4g}" for one, end in zip(drawn, ends, strict=True))
        said += f"; a random order {random[-1]:.4g} of {top:.4g} classes." if len(random) else "."
        return Curves(charts.svg(figure, name, said), tuple(drawn), last)


def _until(curves: Sequence[Floats], random: Floats, t: int) -> int:
    """t, or the fewer picks after which all of a chart is flat, to a twentieth of a class for a random order."""
    ends = [_reaching(curve, float(curve[-1])) for curve in curves if len(curve)]
    ends += [_reaching(random, float(random[-1]) - 0.05)] if len(random) else []
    last = min(t, -(-max(ends, default=t) // 10) * 10)
    return last if last <= _WORTH * t else t


def _reaching(curve: Floats, value: float) -> int:
    """Picks after which a curve (t,), which never falls, is at `value` or above."""
    return int(np.argmax(curve >= value)) + 1


def _styled(
    some: Sequence[Line], numbers: Sequence[int], marked: Callable[[Line], bool]
) -> tuple[list[Drawn], list[tuple[str, Any]]]:
    """Each line its own colour and dashes: accent for marked ones, hues in turn for the others."""
    drawn: list[Drawn] = []
    styles: list[tuple[str, Any]] = []
    accents = others = 0
    for line, number in zip(some, numbers, strict=True):
        if marked(line):
            colour, css, dashes = charts.ACCENT, "var(--accent)", _DASHES[min(accents, 2)]
            accents += 1
        else:
            hue, turn = others % len(charts.HUES), others // len(charts.HUES)
            colour, css, dashes = charts.HUES[hue], f"var(--hue-{hue + 1})", _DASHES[min(turn, 2)]
            others += 1
        drawn.append(Drawn(number, line, css, "" if dashes == "-" else " ".join(f"{2 * n:g}" for n in dashes[1])))
        styles.append((colour, dashes))
    return drawn, styles


def _apart(places: Sequence[float], least: float, top: float) -> list[float]:
    """The places, moved to lie `least` apart and not above `top`, in their order (equal ones: the first is highest)."""
    order = sorted(range(len(places)), key=lambda i: (-places[i], i))
    groups: list[list[float]] = []  # of neighbours that touch: their middle, how many
    for i in order:
        groups.append([places[i], 1])
        while len(groups) > 1 and groups[-2][0] - groups[-1][0] < least * (groups[-2][1] + groups[-1][1]) / 2:
            middle, many = groups.pop()
            above, before = groups[-1]
            both = (above * before + middle * many) / (before + many)
            groups[-1] = [min(both, top - least * (before + many - 1) / 2), before + many]
    moved = [0.0] * len(places)
    at = iter(order)
    for middle, many in groups:
        for place in range(int(many)):
            moved[next(at)] = middle + least * ((many - 1) / 2 - place)
    return moved


def ranking(lines: Sequence[Line], *, marked: Callable[[Line], bool]) -> Ranking:
    """A horizontal dot chart, a row a line that has a score, as places that a page lays out in HTML.

    HTML, since names are long and many, and must stay readable on a telephone. The scale is of all that is shown.
    """
    ready = [line for line in ranked(lines) if math.isfinite(line.nauc.mean)]
    spans = [interval(line) for line in ready]
    draws = [line.values if 1 < line.draws <= DOTS else () for line in ready]
    random = next((line.random for line in ready if math.isfinite(line.random)), None)
    every = [line.nauc.mean for line in ready] + [edge for span in spans if span for edge in span]
    every += [value for some in draws for value in some if math.isfinite(value)]
    every += [] if random is None else [random]
    left, right = (min(every), max(every)) if every else (0.0, 100.0)
    room = max(0.03 * (right - left), 0.5)
    left, right = left - room, right + room

    def place(value: float) -> float:
        return round(100.0 * (value - left) / (right - left), 2)

    rows = tuple(
        Row(
            number, line, marked(line), place(line.nauc.mean), place(span[0]) if span else None,
            place(span[1]) if span else None, tuple(place(value) for value in some if math.isfinite(value)),
            f"{line.nauc.mean:.2f}", told(span),
        )
        for number, (line, span, some) in enumerate(zip(ready, spans, draws, strict=True), 1)
    )  # fmt: skip
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(left, right)
    over = ("draws" if any(line.draws > 1 for line in ready) else "classes") if any(spans) else ""
    return Ranking(
        rows, tuple((place(tick), f"{tick:g}") for tick in ticks if left <= tick <= right and 0 <= tick <= 100),
        None if random is None else place(random), over,
    )  # fmt: skip


def told(span: tuple[float, float] | None) -> str:
    """An interval as text, empty for none."""
    return "" if span is None else f"{span[0]:.1f} to {span[1]:.1f}"


def found(line: Line, at: Sequence[int]) -> tuple[Count, ...]:
    """Mean classes that the line found after so many picks; without a number where it did not go so far."""
    along = found_along(line.curve, line.classes, at)
    return tuple(_count(one.at, line.found[one.at], line.classes) if one.at in line.found else one for one in along)


def found_along(curve: Floats, classes: float, at: Sequence[int]) -> tuple[Count, ...]:
    """The same of a curve (t,), such as a random order's expectation."""
    return tuple(_count(n, float(curve[n - 1]) if n <= len(curve) else math.nan, classes) for n in at)


def _count(at: int, classes_found: float, classes: float) -> Count:
    if not math.isfinite(classes_found):
        return Count(at, "–", 0.0)
    whole = classes_found == round(classes_found)
    share = classes_found / classes if classes and math.isfinite(classes) else 0.0
    return Count(at, f"{classes_found:.0f}" if whole else f"{classes_found:.1f}", round(min(max(share, 0.0), 1.0), 3))
