"""A run as one self-contained HTML page: what was found, how new it is, where, and how far to trust the pictures.

`render` is a function of its view alone: no clock, no file but the template, no network; the same view gives the
same string. Names are hostile input, see `interpdisc_core.pages`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup

from interpdisc_core import charts
from interpdisc_core.cards import MANNERS, THUMB, PickView, Value, card_of, grouped, measured, value_of
from interpdisc_core.charts import Floats
from interpdisc_core.evaluation import Discovery, nauc_whi2018
from interpdisc_core.measures import MEASURES
from interpdisc_core.pages import Photo, count, environment, number

CARDS = 50
"""Picks that get a card of their own; those after are in the contact sheet and a table."""
QUARANTINED = 500
"""Quarantined inputs that are listed; those after are counted."""

_DEPTH, _ENTRIES = 6, 60
"""How deep a model card is shown as a table, and how many entries of a list; what is beyond is one line of text."""

STATUSES = {
    "ready": "read, and its features computed",
    "duplicate-of": "the same content as another input, which counts once",
    "superseded-by": "replaced by another version of the same input",
    "quarantined": "could not be read; reasons below",
    "skipped": "left out by its source",
    "pending": "listed, not read yet",
}

OPENINGS = {
    "svd": "the image that a model of the whole collection explains worst",
    "mean": "the image farthest from the collection’s mean",
    "random": "an image drawn at random",
}

_STRIPS = ("cosine_difference", "cosine_new", "cosine_random", "cosine_shuffled")
"""The measures whose distributions are drawn; the last two are controls."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run, as far as a reader needs it.

    counts: inputs by status. candidates, known: images to pick from, and background images. asked: picks asked for.
    exhausted: stopped early since nothing is new any more. quarantined: (id, reason). timings: seconds by stage.
    rendered_by: a sentence that says what made the renderings. card: that network's model card, where it has one.
    """

    title: str
    run: str
    finished: str
    sources: tuple[str, ...]
    background: tuple[str, ...]
    plan: dict[str, Any]
    environment: dict[str, Any]
    counts: dict[str, int]
    candidates: int
    known: int
    asked: int
    exhausted: bool
    quarantined: tuple[tuple[str, str], ...]
    timings: dict[str, float]
    picks: tuple[PickView, ...]
    discovery: Discovery | None
    rendered_by: str = ""
    card: dict[str, Any] | None = None


def render(view: RunView) -> str:
    """The page. It needs nothing beside itself: no network, no other file, no script."""
    cards = view.picks[:CARDS]
    opening = _opening(view)
    built = [card_of(pick) for pick in cards]
    return environment().get_template("report.html.j2").render(
        view=view,
        cards=built,
        thumbs=[_Thumb.of(pick) for pick in view.picks],
        rest=view.picks[CARDS:],
        targets={pick.rank for pick in cards},
        opening=opening,
        selector=_setting(view.plan, "selector", "kind"),
        network=_setting(view.plan, "representation", "kind"),
        first=OPENINGS.get(_setting(view.plan, "selector", "start"), "an image that the plan names"),
        method=_setting(view.plan, "selector", "method"),
        explained=view.plan.get("explain"),
        score_chart=charts.score_curve([p.score for p in view.picks], apart=opening, explained=len(cards)),
        whi2018_random=_whi2018_random(view.discovery),
        discovery_chart=charts.discovery_chart(view.discovery) if view.discovery else "",
        ledger=ledger_rows(view.counts),
        total=sum(view.counts.values()),
        manners={pick.manner: MANNERS.get(pick.manner, MANNERS["split"]) for pick in cards if pick.where is not None},
        faithful=_faithful(view),
        card_of_network=_tree(view.card) if view.card else None,
        quarantined=view.quarantined[:QUARANTINED],
        environment={str(name): _text(value) for name, value in view.environment.items()},
        plan=json.dumps(view.plan, indent=2, default=str),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Thumb:
    """A pick on the contact sheet."""

    pick: PickView
    photo: Photo | None

    @classmethod
    def of(cls, pick: PickView) -> "_Thumb":
        return cls(pick, None if pick.picture is None else Photo.of(pick.picture, THUMB, box=(176, 112)))


@dataclass(frozen=True, slots=True)
class _Row:
    """A measure over the picks: its median, its least and greatest value, and of how many picks."""

    value: Value
    least: str
    greatest: str
    picks: int


@dataclass(frozen=True, slots=True)
class _Faithful:
    """How faithful a run's renderings are. better: which of the two ways to show what is new is, as a sentence."""

    chart: Markup | None
    groups: list[tuple[str, list[_Row]]]
    better: str
    rendered: int
    passed: int
    failed: int
    threshold: float | None


def _faithful(view: RunView) -> _Faithful | None:
    """None where the run has no renderings, nothing measured, and nothing to say of what makes them."""
    picks = [pick for pick in view.picks if pick.renderings or pick.numbers]
    if not (picks or view.rendered_by or view.card):
        return None
    columns = {
        key: np.array([pick.numbers.get(key, math.nan) for pick in picks], dtype=np.float64)
        for key in dict.fromkeys(key for pick in picks for key in pick.numbers)
    }
    strips = [(MEASURES[key].title, columns[key]) for key in _STRIPS if np.isfinite(columns.get(key, _NOTHING)).any()]
    thresholds = {pick.threshold for pick in picks if pick.threshold is not None and math.isfinite(pick.threshold)}
    threshold = thresholds.pop() if len(thresholds) == 1 else None
    controls = sum(key in columns and bool(np.isfinite(columns[key]).any()) for key in _STRIPS[2:])
    return _Faithful(
        chart=charts.faithfulness_chart(strips, controls=controls, threshold=threshold) if strips else None,
        groups=[
            (group, [_row(key, columns[key], columns.get("among", _NOTHING)) for key in keys])
            for group, keys in grouped(columns)
        ],
        better=_better(columns), rendered=sum(bool(pick.renderings) for pick in picks),
        passed=sum(pick.trusted is True for pick in picks), failed=sum(pick.trusted is False for pick in picks),
        threshold=threshold,
    )  # fmt: skip


_NOTHING = np.full(1, math.nan)


def _row(key: str, values: Floats, among: Floats) -> _Row:
    kept = values[np.isfinite(values)]
    if not kept.size:
        return _Row(value_of(key, "not available"), "", "", 0)
    counted = among[np.isfinite(among)]
    of = float(np.median(counted)) if counted.size else None
    least, greatest = (measured(key, float(value)) for value in (kept.min(), kept.max()))
    return _Row(value_of(key, measured(key, float(np.median(kept)), of)), least, greatest, int(kept.size))


def _better(columns: Mapping[str, Floats]) -> str:
    """Whether the residual or the difference is the more faithful, over the picks that have both."""
    residual, difference = (columns.get(key, _NOTHING) for key in ("cosine_new", "cosine_difference"))
    if len(residual) != len(difference) or not (both := np.isfinite(residual) & np.isfinite(difference)).any():
        return ""
    r, d = float(np.median(residual[both])), float(np.median(difference[both]))
    over = (
        f"over the {count(int(both.sum()))} picks that have both"
        if both.sum() > 1
        else "for the one pick that has both"
    )
    if number(r, 3) == number(d, 3):
        return f"Both ways to show what is new, residual and difference, have the same median cosine, {number(r, 3)}, {over}."
    high, low = ("residual (“New”)", "difference") if r > d else ("difference", "residual (“New”)")
    return (
        f"Of the two ways to show what is new, the {high} has the higher median cosine: {number(max(r, d), 3)} "
        f"against {number(min(r, d), 3)} of the {low}, {over}."
    )


Tree: TypeAlias = "str | list[tuple[str, Tree]]"


def _tree(value: Any, depth: int = 0) -> Tree:
    """A model card, whatever is in it, as text or as pairs of a name and a tree."""
    if isinstance(value, Mapping) and value and depth < _DEPTH:
        pairs = [(str(key), _tree(one, depth + 1)) for key, one in list(value.items())[:_ENTRIES]]
        return pairs + _more(len(value))
    if isinstance(value, list | tuple) and value and depth < _DEPTH:
        if not any(isinstance(one, Mapping | list | tuple) for one in value):
            return ", ".join(_leaf(one) for one in value[:_ENTRIES]) + "".join(
                f", {told}" for _, told in _more(len(value))
            )
        return [(str(i), _tree(one, depth + 1)) for i, one in enumerate(value[:_ENTRIES], 1)] + _more(len(value))
    return _leaf(value)


def _more(entries: int) -> list[tuple[str, Tree]]:
    return [("…", f"and {entries - _ENTRIES:,} more")] if entries > _ENTRIES else []


def _leaf(value: Any) -> str:
    if value is None or value == "":
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        return _text(value) if value else "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _whi2018_random(found: Discovery | None) -> float | None:
    return nauc_whi2018(found.random, found.classes, found.t) if found else None


def _opening(view: RunView) -> bool:
    """Whether the first pick had nothing before it, so that its score is not of one kind with the others."""
    selector = _setting(view.plan, "selector", "kind"), _setting(view.plan, "selector", "method")
    return bool(view.picks) and view.known == 0 and selector[0] == "demud" and selector[1] != "static"


def _setting(plan: Mapping[str, Any], part: str, name: str) -> str:
    """A setting of a part of the plan as text, empty where there is none."""
    settings = plan.get(part)
    return str(settings.get(name, "")) if isinstance(settings, Mapping) else ""


def ledger_rows(counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Rows (status, what it means, inputs): the known statuses in a fixed order, then any other."""
    rows = [(status, meaning, counts[status]) for status, meaning in STATUSES.items() if status in counts]
    return rows + [(status, "", number) for status, number in sorted(counts.items()) if status not in STATUSES]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
