"""A pick as a card: its photo, the map of where it is new, what was decoded from its features, and how far to trust that.

Made here once, for every page that shows picks: the report of a run and the page of a day. The macros that lay a card
out are in `templates/parts.html.j2`, its style in `templates/card.css.j2`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from markupsafe import Markup
from PIL import Image

from interpdisc_core import charts
from interpdisc_core.charts import Floats, Window
from interpdisc_core.images import Pixels
from interpdisc_core.measures import MEASURES, TRUST, Measure
from interpdisc_core.pages import Photo, number

PHOTO, HEATED, PANEL, THUMB = 66_000, 52_000, 18_000, 5_500
"""Most bytes of a JPEG by its purpose: 50 cards and 300 thumbnails stay under 20 MB whatever the pictures."""
SIDE, _COARSE = 256, 192
"""Pixels of the long side of a panel; a rendering smaller than the second is enlarged to it, smoothly."""

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


@dataclass(frozen=True, slots=True)
class Scale:
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
class Panel:
    """One of a pick's small pictures, with its legend; without a photo it is missing."""

    key: str
    title: str
    is_: str
    is_not: str
    photo: Photo | None


@dataclass(frozen=True, slots=True)
class Value:
    """One number with what it says. sign: an arrow to where better is."""

    title: str
    text: str
    meaning: str
    sign: str


@dataclass(frozen=True, slots=True)
class Badge:
    """How far to trust a pick's renderings. kind: `bad`, `good` or `open`."""

    kind: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Card:
    """A pick with its pictures encoded. outline: CSS of the window. panels: in their order, or none at all."""

    pick: PickView
    plain: Photo | None
    outline: str
    heat: Photo | None
    scale: Scale | None
    panels: tuple[Panel, ...]
    comparable: bool
    badge: Badge | None
    groups: list[tuple[str, list[Value]]]
    deletion: Markup | None
    nearest: tuple[tuple[NearView, Photo | None, int | None], ...]


def card_of(pick: PickView) -> Card:
    """A pick with its pictures encoded, each at most as large as its purpose allows."""
    where = _usable(pick.where)
    shown = {name: Photo.of(enlarged(pick.renderings[name]), PANEL) for name in PANELS if name in pick.renderings}
    shown.pop("image", None)
    comparable = {"control", "expected"} <= shown.keys()
    plain = heat = None
    if pick.picture is not None:
        plain = Photo.of(pick.picture, PHOTO)
        heat = None if where is None else Photo.of(charts.overlay(pick.picture, where, pick.window), HEATED)
        if shown:
            shown["image"] = Photo.of(charts.crop(pick.picture, pick.window), PANEL, box=(SIDE, SIDE))
    panels = tuple(Panel(key, *told, shown.get(key)) for key, told in PANELS.items()) if shown else ()
    nearest = tuple(
        (near, None if near.picture is None else Photo.of(near.picture, THUMB, box=(160, 112)), _rank_of(near.role))
        for near in pick.nearest
    )
    scale = None if where is None else _scale(where, pick.score)
    deletion = charts.deletion_chart(pick.deletion, name=f"deletion-{pick.rank}") if _drawable(pick.deletion) else None
    return Card(
        pick, plain, _outline(pick.window), heat, scale, panels, comparable, _badge(pick), _numbers(pick.numbers),
        deletion, nearest,
    )  # fmt: skip


def enlarged(pixels: Pixels) -> Pixels:
    """A coarse rendering at the size of the panels, smoothly, so that no browser shows its pixels as squares."""
    height, width = pixels.shape[:2]
    if max(height, width) >= _COARSE:
        return pixels
    times = SIDE / max(height, width)
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


def _badge(pick: PickView) -> Badge | None:
    """What is said at a pick's head on its renderings; nothing where there are none."""
    value, least = pick.numbers.get(TRUST, math.nan), pick.threshold
    told = f"Faithfulness ({MEASURES[TRUST].title}) is {number(value, 3)}"
    if pick.trusted is False:
        told += f", below the threshold of {number(least, 3)}" if least is not None and value < least else ""
        return Badge("bad", "Do not read much into these pictures", told)
    if not pick.renderings:
        return None
    if pick.trusted is None:
        return Badge(
            "open", "not calibrated", "There is no threshold for these renderings, so nothing vouches for them."
        )
    told += f"; the threshold is {number(least, 3)}" if least is not None else ""
    return Badge("good", "renderings pass the faithfulness check", told)


def _numbers(numbers: Mapping[str, float]) -> list[tuple[str, list[Value]]]:
    """A pick's numbers by group."""
    return [
        (group, [value_of(key, measured(key, numbers[key], numbers.get("among"))) for key in keys])
        for group, keys in grouped(numbers)
    ]


def grouped(numbers: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Which of the keys go together, in the order in which they are shown; those that no group names come last."""
    there = [key for key in numbers if key != "among"]
    groups = [(group, [key for key in keys if key in there]) for group, keys in GROUPS]
    named = {key for _, keys in GROUPS for key in keys}
    return [(group, keys) for group, keys in [*groups, ("Other", [k for k in there if k not in named])] if keys]


def value_of(key: str, text: str) -> Value:
    """A number as it is shown, with what it means."""
    measure = MEASURES.get(key, Measure(key, "", "neither"))
    return Value(measure.title, text, measure.meaning, {"high": "↑", "low": "↓", "neither": ""}[measure.better])


def measured(key: str, value: float, among: float | None = None) -> str:
    """A measure's value as text, with its unit."""
    if key == "rank" and math.isfinite(value):
        return f"{value:,.6g}" + (f" of {among:,.6g}" if among is not None and math.isfinite(among) else "")
    return number(value, 3) + (" dB" if key == "psnr" and math.isfinite(value) else "")


def _usable(where: Floats | None) -> Floats | None:
    """The map (gy, gx), or None where it has no cells or a cell that is not a number."""
    return where if where is not None and where.ndim == 2 and where.size and np.isfinite(where).all() else None


def _scale(where: Floats, score: float) -> Scale:
    low, high = min(float(where.min()), 0.0), max(float(where.max()), 0.0)
    total, span = float(where.sum()), high - low
    return Scale(
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
