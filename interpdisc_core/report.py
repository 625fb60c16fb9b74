"""A run as one self-contained HTML page: what was found, how new it is, where, and how far to trust the pictures.

`render` is a function of its view alone: no clock, no file but the template, no network; the same view gives the
same string. Names are hostile input, see `interpdisc_core.pages`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from markupsafe import Markup
from PIL import Image

from interpdisc_core import charts
from interpdisc_core.charts import Floats, Window
from interpdisc_core.evaluation import Discovery, nauc_whi2018
from interpdisc_core.images import Pixels
from interpdisc_core.measures import MEASURES, TRUST, Measure
from interpdisc_core.pages import Photo, count, environment, number

CARDS = 50
"""Picks that get a card of their own; those after are in the contact sheet and a table."""
QUARANTINED = 500
"""Quarantined inputs that are listed; those after are counted."""

_PHOTO, _HEATED, _PANEL, _THUMB = 66_000, 52_000, 18_000, 5_500
"""Most bytes of a JPEG by its purpose: 50 cards and 300 thumbnails stay under 20 MB whatever the pictures."""
_SIDE, _COARSE = 256, 192
"""Pixels of the long side of a panel; a rendering smaller than the second is enlarged to it, smoothly."""
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

PANELS = {
    "image": (
        "Image",
        "The part of the photo that the network looked at.",
        "Not the whole photo, and not decoded.",
    ),
    "control": (
        "Control",
        "x, this image’s own features, decoded: the most that the decoder can show of it.",
        "Not the photo: what is lost here is lost in decoding, and says nothing about novelty.",
    ),
    "expected": (
        "Expected",
        "x̂ decoded: what everything seen before accounts for.",
        "Not an image that exists, nor the nearest one seen.",
    ),
    "new": (
        "New",
        "The residual x\u00a0−\u00a0x̂ decoded, with its mean shifted to that of x.",
        "Not a part cut out of the image: hints of form and colour.",
    ),
    "difference": (
        "Difference",
        "Grey plus half of control minus expected; plain grey is no difference.",
        "Not an object: light is where the control is lighter than expected, dark where it is darker.",
    ),
}
"""By key, in the order in which they are shown: title, what it is, what it is not. The first is not a rendering."""

MANNERS = {
    "split": "the score split over the cells, which add up to it; a cell may also take away",
    "energy": "the energy of the residual in each cell; the cells add up to the score, and none is negative",
    "occlusion": "the share of this novelty that goes when the cell is painted over; the cells do not add up to the score",
}
"""What a where-map shows, by its manner."""

GROUPS = (
    ("The control", ("image_error", "psnr", "feature_error", "second_error", "rank")),
    (
        "What is new",
        ("cosine_difference", "energy_difference", "cosine_new", "energy_new", "cosine_second", "left_strongest"),
    ),
    ("For comparison: chance", ("cosine_random", "cosine_shuffled", "left_random")),
)
"""The measures as they are shown together. `among` is shown with `rank`."""

_STRIPS = ("cosine_difference", "cosine_new", "cosine_random", "cosine_shuffled")
"""The measures whose distributions are drawn; the last two are controls."""


@dataclass(frozen=True, kw_only=True)
class NearView:
    """An image already seen. distance: Euclidean, of features. role: `background` or `pick 7`."""

    id: str
    distance: float
    role: str
    picture: Pixels | None


@dataclass(frozen=True, kw_only=True)
class PickView:
    """One pick. rank: from 1. score: |x − x̂|², higher is newer. near_ties: others within the tie tolerance.

    record: the source's metadata, verbatim. picture (h, w, 3): the whole image, reduced; None where the file is no
    longer there, then `problem` says why. window: left, top, right, bottom of what the network looked at, as
    fractions of the picture. nearest: the nearest already seen. The rest as in `interpdisc_core.runs.Explanation`.
    """

    rank: int
    id: str
    uri: str
    score: float
    near_ties: int
    label: str | None
    record: dict[str, str]
    picture: Pixels | None
    problem: str
    window: tuple[float, float, float, float]
    where: Floats | None
    renderings: dict[str, Pixels]
    numbers: dict[str, float]
    nearest: tuple[NearView, ...]
    manner: str = "split"
    deletion: Floats | None = None
    trusted: bool | None = None
    threshold: float | None = None


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
    built = [_card(pick) for pick in cards]
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
        ledger=_ledger(view.counts),
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
        return cls(pick, None if pick.picture is None else Photo.of(pick.picture, _THUMB, box=(176, 112)))


@dataclass(frozen=True, slots=True)
class _Scale:
    """The legend of a where-map. gradient: CSS, from low to high; zero: its place in percent; top: the largest cell."""

    low: float
    high: float
    gradient: str
    zero: float
    cells: tuple[int, int]
    total: float
    top: float
    even: float
    apart: float


@dataclass(frozen=True, slots=True)
class _Panel:
    """One of a pick's small pictures, with its legend; without a photo it is missing."""

    key: str
    title: str
    is_: str
    is_not: str
    photo: Photo | None


@dataclass(frozen=True, slots=True)
class _Value:
    """One number with what it says. sign: an arrow to where better is."""

    title: str
    text: str
    meaning: str
    sign: str


@dataclass(frozen=True, slots=True)
class _Badge:
    """How far to trust a pick's renderings. kind: `bad`, `good` or `open`."""

    kind: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Card:
    """A pick with its pictures encoded. outline: CSS of the window. panels: in their order, or none at all."""

    pick: PickView
    plain: Photo | None
    outline: str
    heat: Photo | None
    scale: _Scale | None
    panels: tuple[_Panel, ...]
    comparable: bool
    badge: _Badge | None
    groups: list[tuple[str, list[_Value]]]
    deletion: Markup | None
    nearest: tuple[tuple[NearView, Photo | None, int | None], ...]


def _card(pick: PickView) -> _Card:
    where = _usable(pick.where)
    shown = {name: Photo.of(_enlarged(pick.renderings[name]), _PANEL) for name in PANELS if name in pick.renderings}
    shown.pop("image", None)
    comparable = {"control", "expected"} <= shown.keys()
    plain = heat = None
    if pick.picture is not None:
        plain = Photo.of(pick.picture, _PHOTO)
        heat = None if where is None else Photo.of(charts.overlay(pick.picture, where, pick.window), _HEATED)
        if shown:
            shown["image"] = Photo.of(charts.crop(pick.picture, pick.window), _PANEL, box=(_SIDE, _SIDE))
    panels = tuple(_Panel(key, *told, shown.get(key)) for key, told in PANELS.items()) if shown else ()
    nearest = tuple(
        (near, None if near.picture is None else Photo.of(near.picture, _THUMB, box=(160, 112)), _rank_of(near.role))
        for near in pick.nearest
    )
    scale = None if where is None else _scale(where, pick.score)
    deletion = charts.deletion_chart(pick.deletion, name=f"deletion-{pick.rank}") if _drawable(pick.deletion) else None
    return _Card(
        pick, plain, _outline(pick.window), heat, scale, panels, comparable, _badge(pick), _numbers(pick.numbers),
        deletion, nearest,
    )  # fmt: skip


def _enlarged(pixels: Pixels) -> Pixels:
    """A coarse rendering at the size of the panels, smoothly, so that no browser shows its pixels as squares."""
    height, width = pixels.shape[:2]
    if max(height, width) >= _COARSE:
        return pixels
    times = _SIDE / max(height, width)
    size = max(round(width * times), 1), max(round(height * times), 1)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BICUBIC))


def _drawable(deletion: Floats | None) -> TypeGuard[Floats]:
    """Whether there is a deletion curve (3, m) with at least two points that are numbers."""
    return (
        deletion is not None
        and deletion.ndim == 2
        and deletion.shape[0] == 3
        and int(np.isfinite(deletion).all(axis=0).sum()) >= 2
    )


def _badge(pick: PickView) -> _Badge | None:
    """What is said at a pick's head on its renderings; nothing where there are none."""
    value, least = pick.numbers.get(TRUST, math.nan), pick.threshold
    told = f"Faithfulness ({MEASURES[TRUST].title}) is {number(value, 3)}"
    if pick.trusted is False:
        told += f", below the threshold of {number(least, 3)}" if least is not None and value < least else ""
        return _Badge("bad", "Do not read much into these pictures", told)
    if not pick.renderings:
        return None
    if pick.trusted is None:
        return _Badge(
            "open", "not calibrated", "There is no threshold for these renderings, so nothing vouches for them."
        )
    told += f"; the threshold is {number(least, 3)}" if least is not None else ""
    return _Badge("good", "renderings pass the faithfulness check", told)


def _numbers(numbers: Mapping[str, float]) -> list[tuple[str, list[_Value]]]:
    """A pick's numbers by group."""
    return [
        (group, [_value(key, _measured(key, numbers[key], numbers.get("among"))) for key in keys])
        for group, keys in _grouped(numbers)
    ]


def _grouped(numbers: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Which of the keys go together, in the order in which they are shown; those that no group names come last."""
    there = [key for key in numbers if key != "among"]
    groups = [(group, [key for key in keys if key in there]) for group, keys in GROUPS]
    named = {key for _, keys in GROUPS for key in keys}
    return [(group, keys) for group, keys in [*groups, ("Other", [k for k in there if k not in named])] if keys]


def _value(key: str, text: str) -> _Value:
    measure = MEASURES.get(key, Measure(key, "", "neither"))
    return _Value(measure.title, text, measure.meaning, {"high": "↑", "low": "↓", "neither": ""}[measure.better])


def _measured(key: str, value: float, among: float | None = None) -> str:
    if key == "rank" and math.isfinite(value):
        return f"{value:,.6g}" + (f" of {among:,.6g}" if among is not None and math.isfinite(among) else "")
    return number(value, 3) + (" dB" if key == "psnr" and math.isfinite(value) else "")


@dataclass(frozen=True, slots=True)
class _Row:
    """A measure over the picks: its median, its least and greatest value, and of how many picks."""

    value: _Value
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
            for group, keys in _grouped(columns)
        ],
        better=_better(columns), rendered=sum(bool(pick.renderings) for pick in picks),
        passed=sum(pick.trusted is True for pick in picks), failed=sum(pick.trusted is False for pick in picks),
        threshold=threshold,
    )  # fmt: skip


_NOTHING = np.full(1, math.nan)


def _row(key: str, values: Floats, among: Floats) -> _Row:
    kept = values[np.isfinite(values)]
    if not kept.size:
        return _Row(_value(key, "not available"), "", "", 0)
    counted = among[np.isfinite(among)]
    of = float(np.median(counted)) if counted.size else None
    least, greatest = (_measured(key, float(value)) for value in (kept.min(), kept.max()))
    return _Row(_value(key, _measured(key, float(np.median(kept)), of)), least, greatest, int(kept.size))


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


def _usable(where: Floats | None) -> Floats | None:
    """The map (gy, gx), or None where it has no cells or a cell that is not a number."""
    return where if where is not None and where.ndim == 2 and where.size and np.isfinite(where).all() else None


def _scale(where: Floats, score: float) -> _Scale:
    low, high = min(float(where.min()), 0.0), max(float(where.max()), 0.0)
    total, span = float(where.sum()), high - low
    return _Scale(
        low=low, high=high, gradient=charts.scale(low, high), zero=100.0 * -low / span if span else 0.0,
        cells=(where.shape[0], where.shape[1]), total=total, top=float(where.max()), even=total / where.size,
        apart=abs(total - score) / abs(score) if score else 0.0,
    )  # fmt: skip


def _outline(window: Window) -> str:
    left, top, right, bottom = (min(max(float(at), 0.0), 1.0) * 100 for at in window)
    return f"left:{left:.3f}%;top:{top:.3f}%;width:{max(right - left, 0):.3f}%;height:{max(bottom - top, 0):.3f}%"


def _rank_of(role: str) -> int | None:
    """7 for `pick 7`, None for anything else."""
    found = re.fullmatch(r"pick ([0-9]{1,9})", role)
    return int(found[1]) if found else None


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


def _ledger(counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Rows (status, what it means, inputs): the known statuses in a fixed order, then any other."""
    rows = [(status, meaning, counts[status]) for status, meaning in STATUSES.items() if status in counts]
    return rows + [(status, "", number) for status, number in sorted(counts.items()) if status not in STATUSES]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
