"""A run as one self-contained HTML page: the picks, how new they are, where, and how far to trust the pictures.

`render_run_report` is a function of its view alone: the same view gives the same page. It uses no clock, no network, and
no file but the templates. Names are hostile input, see `interpdisc_core.reporting.html`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup

from interpdisc_core._types import FloatArray
from interpdisc_core.explanations import CARD_PICKS
from interpdisc_core.metrics.definitions import METRIC_DEFINITIONS
from interpdisc_core.metrics.discovery import DiscoveryResult, nauc_whi2018
from interpdisc_core.reporting import charts
from interpdisc_core.reporting.cards import (
    ATTRIBUTION_MEANINGS,
    MeasureValue,
    SheetThumb,
    build_measure_value,
    build_pick_card,
    encode_thumb,
    format_measure,
    group_measures,
)
from interpdisc_core.reporting.html import format_count, format_number, get_template_environment
from interpdisc_core.reporting.pick_view import PickView

MAX_QUARANTINED = 500
"""Quarantined inputs that are listed; further ones are counted."""

_MAX_TREE_DEPTH, _MAX_TREE_ENTRIES = 6, 60
"""How deep a model card is shown as a table, and how many entries of a list; the rest is one line of text."""

STATUS_MEANINGS = {
    "ready": "read; its features are computed",
    "duplicate-of": "the same content as another input; it counts once",
    "superseded-by": "replaced by another version of the same input",
    "quarantined": "could not be read; reasons below",
    "outstanding": "could not be got at; the same command tries again; reasons below",
    "skipped": "left out by its source",
    "pending": "listed, but not read yet",
}

START_MEANINGS = {
    "svd": "the image that a model of the whole collection explains worst",
    "mean": "the image farthest from the mean of the collection",
    "random": "an image drawn at random",
}

_CHART_MEASURES = ("cosine_difference", "cosine_new", "cosine_random", "cosine_shuffled")
"""The measures whose distributions are drawn; the last two are controls."""


@dataclass(frozen=True, kw_only=True)
class RunReportView:
    """What the report of a run shows.

    Attributes:
        title: Title of the page.
        run: The run's id.
        finished: When it ended (ISO 8601).
        sources: Sources of the candidates.
        background: Sources of images that count as known.
        plan: The plan as JSON.
        environment: Versions and machine, maybe nested.
        status_counts: Number of inputs by status.
        candidate_count: Number of images to pick from.
        known_count: Number of background images.
        requested_picks: Number of picks asked for.
        exhausted: Whether the selection ended early because nothing is new any more.
        quarantined: (id, reason) of each input that could not be read.
        timings: Seconds by stage.
        picks: The picks in order.
        discovery: How soon the classes were found, or None without labels.
        renderer_description: A sentence on what made the renderings; empty if none were asked for.
        model_card: Model card of the network that renders, if any.
        notes: Sentences about inputs and labels that do not fit.
    """

    title: str
    run: str
    finished: str
    sources: tuple[str, ...]
    background: tuple[str, ...]
    plan: dict[str, Any]
    environment: dict[str, Any]
    status_counts: dict[str, int]
    candidate_count: int
    known_count: int
    requested_picks: int
    exhausted: bool
    quarantined: tuple[tuple[str, str], ...]
    timings: dict[str, float]
    picks: tuple[PickView, ...]
    discovery: DiscoveryResult | None
    renderer_description: str = ""
    model_card: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def render_run_report(view: RunReportView) -> str:
    """The page as HTML. It is self-contained: no network, no other file, no script."""
    card_picks = view.picks[:CARD_PICKS]
    is_first_separate = _is_first_separate(view)
    pick_cards = [build_pick_card(pick) for pick in card_picks]
    return (
        get_template_environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            cards=pick_cards,
            thumbs=[
                SheetThumb(pick, None if pick.picture is None else encode_thumb(pick.picture)) for pick in view.picks
            ],
            rest=view.picks[CARD_PICKS:],
            targets={pick.rank for pick in card_picks},
            opening=is_first_separate,
            selector=_plan_setting(view.plan, "selector", "kind"),
            network=_plan_setting(view.plan, "representation", "kind"),
            first=START_MEANINGS.get(_plan_setting(view.plan, "selector", "start"), "an image that the plan names"),
            method=_plan_setting(view.plan, "selector", "method"),
            rendered_picks=view.plan.get("explain"),
            score_chart=charts.draw_score_curve(
                [p.score for p in view.picks], is_first_separate=is_first_separate, card_count=len(card_picks)
            ),
            whi2018_random=_whi2018_random(view.discovery),
            discovery_chart=charts.draw_discovery_chart(view.discovery) if view.discovery else "",
            ledger=build_ledger_rows(view.status_counts),
            total=sum(view.status_counts.values()),
            attribution_meanings={
                pick.attribution_kind: ATTRIBUTION_MEANINGS.get(pick.attribution_kind, ATTRIBUTION_MEANINGS["split"])
                for pick in card_picks
                if pick.attribution_map is not None
            },
            faithful=_summarize_faithfulness(view),
            card_of_network=_build_tree(view.model_card) if view.model_card else None,
            quarantined=view.quarantined[:MAX_QUARANTINED],
            environment=_build_tree(view.environment),
            plan=json.dumps(view.plan, indent=2, default=str),
        )
    )


@dataclass(frozen=True, slots=True)
class _MeasureRow:
    """A measure over the picks.

    Attributes:
        value: The measure with its median.
        least: The least value, as text.
        greatest: The greatest value, as text.
        picks: Number of picks that have it.
    """

    value: MeasureValue
    least: str
    greatest: str
    picks: int


@dataclass(frozen=True, slots=True)
class _FaithfulnessSummary:
    """How faithful a run's renderings are.

    Attributes:
        chart: Distributions of cosines.
        groups: Measures by group.
        comparison: A sentence on which of the two ways to show what is new is more faithful.
        rendered: Number of picks with renderings.
        passed: Number of picks that pass the check.
        failed: Number of picks that fail it.
        threshold: The threshold of the check, if it is the same for all picks.
    """

    chart: Markup | None
    groups: list[tuple[str, list[_MeasureRow]]]
    comparison: str
    rendered: int
    passed: int
    failed: int
    threshold: float | None


def _summarize_faithfulness(view: RunReportView) -> _FaithfulnessSummary | None:
    """None if the run has neither renderings nor measures nor a description of what renders."""
    picks = [pick for pick in view.picks if pick.renderings or pick.measures]
    if not (picks or view.renderer_description or view.model_card):
        return None
    columns = {
        key: np.array([pick.measures.get(key, math.nan) for pick in picks], dtype=np.float64)
        for key in dict.fromkeys(key for pick in picks for key in pick.measures)
    }
    strips = [
        (METRIC_DEFINITIONS[key].title, columns[key])
        for key in _CHART_MEASURES
        if np.isfinite(columns.get(key, _NO_VALUES)).any()
    ]
    thresholds = {pick.threshold for pick in picks if pick.threshold is not None and math.isfinite(pick.threshold)}
    threshold = thresholds.pop() if len(thresholds) == 1 else None
    controls = sum(key in columns and bool(np.isfinite(columns[key]).any()) for key in _CHART_MEASURES[2:])
    return _FaithfulnessSummary(
        chart=charts.draw_faithfulness_chart(strips, controls=controls, threshold=threshold) if strips else None,
        groups=[
            (group, [_build_measure_row(key, columns[key], columns.get("among", _NO_VALUES)) for key in keys])
            for group, keys in group_measures(columns)
        ],
        comparison=_compare_renderings(columns),
        rendered=sum(bool(pick.renderings) for pick in picks),
        passed=sum(pick.is_trusted is True for pick in picks),
        failed=sum(pick.is_trusted is False for pick in picks),
        threshold=threshold,
    )


_NO_VALUES = np.full(1, math.nan)


def _build_measure_row(key: str, values: FloatArray, totals: FloatArray) -> _MeasureRow:
    finite_values = values[np.isfinite(values)]
    if not finite_values.size:
        return _MeasureRow(build_measure_value(key, "not available"), "", "", 0)
    finite_totals = totals[np.isfinite(totals)]
    median_total = float(np.median(finite_totals)) if finite_totals.size else None
    least, greatest = (format_measure(key, float(value)) for value in (finite_values.min(), finite_values.max()))
    return _MeasureRow(
        build_measure_value(key, format_measure(key, float(np.median(finite_values)), median_total)),
        least,
        greatest,
        int(finite_values.size),
    )


def _compare_renderings(columns: Mapping[str, FloatArray]) -> str:
    """Which of residual and difference is more faithful, over the picks that have both, as a sentence."""
    residual, difference = (columns.get(key, _NO_VALUES) for key in ("cosine_new", "cosine_difference"))
    if len(residual) != len(difference) or not (has_both := np.isfinite(residual) & np.isfinite(difference)).any():
        return ""
    r, d = float(np.median(residual[has_both])), float(np.median(difference[has_both]))
    scope_text = (
        f"over the {format_count(int(has_both.sum()))} picks that have both"
        if has_both.sum() > 1
        else "for the one pick that has both"
    )
    if format_number(r, 3) == format_number(d, 3):
        return f"Both ways to show what is new, residual and difference, have the same median cosine, {format_number(r, 3)}, {scope_text}."
    high, low = ("residual (“New”)", "difference") if r > d else ("difference", "residual (“New”)")
    return (
        f"Of the two ways to show what is new, the {high} has the higher median cosine: {format_number(max(r, d), 3)} "
        f"against {format_number(min(r, d), 3)} of the {low}, {scope_text}."
    )


CardTree: TypeAlias = "str | list[tuple[str, CardTree]]"


def _build_tree(value: Any, depth: int = 0) -> CardTree:
    """Any JSON value as text, or as pairs of a name and a tree."""
    if isinstance(value, Mapping) and value and depth < _MAX_TREE_DEPTH:
        pairs = [(str(key), _build_tree(child, depth + 1)) for key, child in list(value.items())[:_MAX_TREE_ENTRIES]]
        return pairs + _omitted_entries(len(value))
    if isinstance(value, list | tuple) and value and depth < _MAX_TREE_DEPTH:
        if not any(isinstance(child, Mapping | list | tuple) for child in value):
            return ", ".join(_format_leaf(child) for child in value[:_MAX_TREE_ENTRIES]) + "".join(
                f", {text}" for _, text in _omitted_entries(len(value))
            )
        return [
            (str(i), _build_tree(child, depth + 1)) for i, child in enumerate(value[:_MAX_TREE_ENTRIES], 1)
        ] + _omitted_entries(len(value))
    return _format_leaf(value)


def _omitted_entries(entries: int) -> list[tuple[str, CardTree]]:
    return [("…", f"and {entries - _MAX_TREE_ENTRIES:,} more")] if entries > _MAX_TREE_ENTRIES else []


def _format_leaf(value: Any) -> str:
    if value is None or value == "":
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        return _to_text(value) if value else "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _whi2018_random(discovery: DiscoveryResult | None) -> float | None:
    return nauc_whi2018(discovery.random_curve, discovery.classes, discovery.t) if discovery else None


def _is_first_separate(view: RunReportView) -> bool:
    """Whether nothing was seen before the first pick, so that its score cannot be compared with the others."""
    selector = _plan_setting(view.plan, "selector", "kind"), _plan_setting(view.plan, "selector", "method")
    return bool(view.picks) and view.known_count == 0 and selector[0] == "demud" and selector[1] != "static"


def _plan_setting(plan: Mapping[str, Any], part: str, name: str) -> str:
    """A setting of a part of the plan as text; empty if missing."""
    settings = plan.get(part)
    return str(settings.get(name, "")) if isinstance(settings, Mapping) else ""


def build_ledger_rows(counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Rows (status, meaning, number of inputs): the known statuses in a fixed order, then any others."""
    rows = [(status, meaning, counts[status]) for status, meaning in STATUS_MEANINGS.items() if status in counts]
    return rows + [(status, "", number) for status, number in sorted(counts.items()) if status not in STATUS_MEANINGS]


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
