"""The result of a ranking in sentences: which method finds classes soonest, by how much, and how certain that is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from interpdisc_core.evaluation.aggregate import MethodSummary, rank_summaries
from interpdisc_core.evaluation.charts import score_interval
from interpdisc_core.metrics.confidence import compare_paired_draws
from interpdisc_core.reporting.html import escape_invisible, format_fixed

MethodRole = Literal["demud", "rival", "random", "oracle"]
MANY_METHODS = 5
"""From this many methods on, the headline says that the best is best partly by luck."""


@dataclass(frozen=True, slots=True)
class MethodRoles:
    """The roles of methods, by a study's settings as JSON, or by their names if the settings do not have them.

    DEMUD is `demud` if it learns what it picked; its static form, the SVD of all rows, is a rival.
    """

    settings: Mapping[str, Any]

    def role_of(self, summary: MethodSummary) -> MethodRole:
        """The role of a method."""
        setting: Any = self.settings
        for name in ("experiments", summary.experiment, "selectors", summary.method):
            setting = setting.get(name) if isinstance(setting, Mapping) else None
        kind = setting.get("kind", "demud") if isinstance(setting, Mapping) else None
        if kind is None:
            baseline_roles: tuple[MethodRole, ...] = ("demud", "random", "oracle")
            return next((role for role in baseline_roles if role in summary.method.casefold()), "rival")
        if kind == "demud":
            return "rival" if setting.get("method") == "static" else "demud"
        return "random" if kind == "random" else "oracle" if kind == "oracle" else "rival"

    def is_demud(self, summary: MethodSummary) -> bool:
        """Whether it is DEMUD, and learns."""
        return self.role_of(summary) == "demud"


def build_headline(summaries: Sequence[MethodSummary], roles: MethodRoles) -> tuple[Markup, ...]:
    """Sentences on the methods of the same trials, the most important first. Random orders and oracles do not compete.

    Intervals are of 95 %: over classes if there is one draw; if there are several, methods are compared draw by draw.
    """
    competitors = [
        summary
        for summary in rank_summaries(summaries)
        if roles.role_of(summary) in ("demud", "rival") and math.isfinite(summary.nauc.mean)
    ]
    if not competitors:
        return (Markup("No method has a score here."),)
    best = competitors[0]
    is_only = len(competitors) == 1
    sentences = [_describe_best(best, is_only)]
    rival = next((summary for summary in competitors if summary.method != best.method), None)
    if rival is not None:
        sentences.append(_describe_rival(best, rival))
    elif not is_only:
        sentences.append(_describe_rival(best, competitors[1]))
    if not is_only:
        sentences.append(_describe_others(best, competitors[1:]))
    demud = next(((rank, summary) for rank, summary in enumerate(competitors, 1) if roles.is_demud(summary)), None)
    if demud is not None and demud[1] is not best and demud[1] is not rival:
        rank, summary = demud
        sentences.append(
            Markup("{} is number {} of {}, with {:.1f}.").format(
                _format_method(summary), rank, len(competitors), summary.nauc.mean
            )
        )
    return tuple(sentences)


def _describe_best(best: MethodSummary, is_only: bool) -> Markup:
    """Its score, its interval, and the margin over a random order."""
    opening = "The only method here, {}, has" if is_only else "{} finds classes soonest here:"
    sentence = Markup(opening).format(_format_method(best)) + Markup(" nAUC<sub>{}</sub>{} {:.1f}").format(
        best.t, "" if is_only else " is", best.nauc.mean
    )
    span = score_interval(best)
    if span is not None:
        interval_basis = f"the mean of {best.draws} draws" if best.draws > 1 else "classes"
        sentence += f" (95 % interval over {interval_basis} {span[0]:.1f} to {span[1]:.1f})"
    if math.isfinite(best.random_nauc):
        margin = best.nauc.mean - best.random_nauc
        sentence += (
            f", {abs(margin):.1f} {'more' if margin >= 0 else 'less'} than the {best.random_nauc:.1f} that a random order is "
            "expected to have."
        )
        if span is not None and span[0] <= best.random_nauc <= span[1]:
            sentence += " Its interval holds that score too, so it may be no better than chance."
        return sentence
    return sentence + "."


def _describe_rival(best: MethodSummary, rival: MethodSummary) -> Markup:
    """The best other method, or the same on other features, and whether the difference is certain."""
    relation = "best other method" if rival.method != best.method else "next, the same method on other features,"
    sentence = Markup("The {} is {} with {:.1f}").format(relation, _format_method(rival), rival.nauc.mean)
    if (
        best.draws > 1
        and best.draws == rival.draws == len(best.draw_scores) == len(rival.draw_scores)
        and not (best.problem or rival.problem)
    ):
        comparison = compare_paired_draws(best.draw_scores, rival.draw_scores)
        is_significant = comparison.low > 0
        return sentence + (
            f": on the same {comparison.draws} draws the first is ahead by {comparison.difference:.1f} on average (95 % interval "
            f"{format_fixed(comparison.low, 1)} to {format_fixed(comparison.high, 1)}) and in {100 * comparison.win_rate:.0f} % of them, "
            + ("more than draws alone explain." if is_significant else "which may be due to the draws alone.")
        )
    spans = score_interval(best), score_interval(rival)
    if spans[0] is None or spans[1] is None:
        return sentence + "; without an interval, the difference may be chance."
    if spans[0][0] > spans[1][1]:
        return sentence + "; their intervals do not overlap."
    return sentence + "; their intervals overlap, so another sample of classes might reverse the order."


def _describe_others(best: MethodSummary, others: Sequence[MethodSummary]) -> Markup:
    """How many could be as good, and that the best of many is best partly by luck."""
    span, spans = score_interval(best), [score_interval(summary) for summary in others]
    sentences = ""
    if span is not None and any(spans) and len(others) > 1:
        overlap_count = sum(other is not None and other[1] >= span[0] for other in spans)
        amount = "all" if overlap_count == len(others) else "none" if not overlap_count else str(overlap_count)
        sentences = f"Of the {len(others)} others, {amount} {'has an interval' if overlap_count == 1 else 'have intervals'} that overlap{'s' if overlap_count == 1 else ''} with its own."
    if len(others) + 1 >= MANY_METHODS:
        sentences += f"{' ' if sentences else ''}The best of {len(others) + 1} is best partly by luck."
    return Markup(sentences)


def _format_method(summary: MethodSummary) -> Markup:
    """A method's names, escaped; direction marks in one cannot reorder the others."""
    return Markup("<b><bdi>{}</bdi></b> on <bdi>{}</bdi>, <bdi>{}</bdi>").format(
        *(escape_invisible(name) for name in (summary.method, summary.representation, summary.treatment))
    )
