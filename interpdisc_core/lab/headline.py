"""What a ranking comes to, in sentences: what finds classes soonest, by how much, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from interpdisc_core.intervals import paired
from interpdisc_core.lab.charts import interval, ranked
from interpdisc_core.lab.results import Line
from interpdisc_core.pages import visible

Role = Literal["demud", "rival", "random", "oracle"]
MANY = 5
"""From so many on, the best of them is said to be best partly by luck."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What methods are, by a study's settings as JSON; by their names where the settings do not say.

    DEMUD is `demud` where it learns what it picked; its batch form, the SVD of all rows, is a rival.
    """

    settings: Mapping[str, Any]

    def of(self, line: Line) -> Role:
        """The role of a line's method."""
        setting: Any = self.settings
        for name in ("experiments", line.experiment, "selectors", line.method):
            setting = setting.get(name) if isinstance(setting, Mapping) else None
        kind = setting.get("kind", "demud") if isinstance(setting, Mapping) else None
        if kind is None:
            known: tuple[Role, ...] = ("demud", "random", "oracle")
            return next((role for role in known if role in line.method.casefold()), "rival")
        if kind == "demud":
            return "rival" if setting.get("method") == "static" else "demud"
        return "random" if kind == "random" else "oracle" if kind == "oracle" else "rival"

    def demud(self, line: Line) -> bool:
        """Whether it is DEMUD that learns."""
        return self.of(line) == "demud"


def headline(lines: Sequence[Line], roles: Roles) -> tuple[Markup, ...]:
    """Sentences on the lines of the same trials, the answer first. Baselines by chance and oracles do not compete.

    Of one draw, intervals are over classes; of several, methods are compared draw by draw. An interval is of 95 %.
    """
    competing = [x for x in ranked(lines) if roles.of(x) in ("demud", "rival") and math.isfinite(x.nauc.mean)]
    if not competing:
        return (Markup("No method has a score here."),)
    best = competing[0]
    alone = len(competing) == 1
    said = [_of_best(best, alone)]
    rival = next((line for line in competing if line.method != best.method), None)
    if rival is not None:
        said.append(_of_rival(best, rival))
    elif not alone:
        said.append(_of_rival(best, competing[1]))
    if not alone:
        said.append(_of_others(best, competing[1:]))
    demud = next(((place, line) for place, line in enumerate(competing, 1) if roles.demud(line)), None)
    if demud is not None and demud[1] is not best and demud[1] is not rival:
        place, line = demud
        said.append(
            Markup("{} is number {} of {}, with {:.1f}.").format(_called(line), place, len(competing), line.nauc.mean)
        )
    return tuple(said)


def _of_best(best: Line, alone: bool) -> Markup:
    """Its score, its interval, and what of it a random order has too."""
    begin = "The only method here, {}, has" if alone else "{} finds classes soonest here:"
    said = Markup(begin).format(_called(best)) + Markup(" nAUC<sub>{}</sub>{} {:.1f}").format(
        best.t, "" if alone else " is", best.nauc.mean
    )
    span = interval(best)
    if span is not None:
        over = f"the mean of {best.draws} draws" if best.draws > 1 else "classes"
        said += f" (95 % interval over {over} {span[0]:.1f} to {span[1]:.1f})"
    if math.isfinite(best.random):
        ahead = best.nauc.mean - best.random
        said += (
            f", {abs(ahead):.1f} {'more' if ahead >= 0 else 'less'} than the {best.random:.1f} that a random order is "
            "expected to have."
        )
        if span is not None and span[0] <= best.random <= span[1]:
            said += " Its interval holds that score too, so it may be no better than chance."
        return said
    return said + "."


def _of_rival(best: Line, rival: Line) -> Markup:
    """The best of another method, or of the same on other features, and whether the two can be told apart."""
    what = "best other method" if rival.method != best.method else "next, the same method on other features,"
    said = Markup("The {} is {} with {:.1f}").format(what, _called(rival), rival.nauc.mean)
    if (
        best.draws > 1
        and best.draws == rival.draws == len(best.values) == len(rival.values)
        and not (best.problem or rival.problem)
    ):
        pair = paired(best.values, rival.values)
        sure = pair.low > 0
        return said + (
            f": on the same {pair.draws} draws the first is ahead by {pair.difference:.1f} on average (95 % interval "
            f"{_signed(pair.low)} to {_signed(pair.high)}) and in {100 * pair.won:.0f} % of them, "
            + ("which draws alone hardly explain." if sure else "which does not tell the two apart.")
        )
    spans = interval(best), interval(rival)
    if spans[0] is None or spans[1] is None:
        return said + "; no interval says whether they can be told apart."
    if spans[0][0] > spans[1][1]:
        return said + "; their intervals do not overlap."
    return said + "; their intervals overlap, so another sample of classes might turn the order round."


def _of_others(best: Line, others: Sequence[Line]) -> Markup:
    """How many could be as good, and that the best of many is flattered."""
    span, spans = interval(best), [interval(line) for line in others]
    said = ""
    if span is not None and any(spans) and len(others) > 1:
        near = sum(other is not None and other[1] >= span[0] for other in spans)
        amount = "all" if near == len(others) else "none" if not near else str(near)
        said = f"Of the {len(others)} others, {amount} {'has an interval' if near == 1 else 'have intervals'} that overlap{'s' if near == 1 else ''} with its own."
    if len(others) + 1 >= MANY:
        said += f"{' ' if said else ''}The best of {len(others) + 1} is best partly by luck."
    return Markup(said)


def _called(line: Line) -> Markup:
    """A line by the names that it was given, escaped; each kept from reordering what is around it."""
    return Markup("<b><bdi>{}</bdi></b> on <bdi>{}</bdi>, <bdi>{}</bdi>").format(
        *(visible(name) for name in (line.method, line.representation, line.treatment))
    )


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")
