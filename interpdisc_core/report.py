"""A run as one self-contained HTML page: what was found, how new it is, where, and how far to trust the pictures.

`render` is a function of its view alone: no clock, no file but the template, no network; the same view gives the
same string. Names are hostile input: the template escapes everything, and characters that would reorder or hide text
are shown by their number.
"""

import base64
import io
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from interpdisc_core import charts
from interpdisc_core.charts import Floats, Window
from interpdisc_core.evaluation import Discovery, nauc_whi2018
from interpdisc_core.images import Pixels

CARDS = 50
"""Picks that get a card of their own; those after are in the contact sheet and a table."""
QUARANTINED = 500
"""Quarantined inputs that are listed; those after are counted."""

_PHOTO, _HEATED, _PANEL, _THUMB = 90_000, 80_000, 12_000, 6_000
"""Most bytes of a JPEG by its purpose: 50 cards and 300 thumbnails stay under 20 MB whatever the pictures."""

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
    "control": (
        "Control",
        "This image’s own features, decoded: the most the decoder can show of it. Not the photo.",
    ),
    "expected": (
        "Expected",
        "x̂ decoded: what the model of everything seen before accounts for. Not an image that exists.",
    ),
    "new": (
        "New",
        "What is left, x\u00a0−\u00a0x̂, decoded with its mean shifted to the image’s. Not a cut-out: hints of form and colour.",
    ),
}


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
    fractions of the picture. where (gy, gx): the score split over the window's cells, signed, or None. renderings
    (s, s, 3): among control, expected, new. numbers: how far to trust them. nearest: the nearest already seen.
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


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run, as far as a reader needs it.

    counts: inputs by status. candidates, known: images to pick from, and background images. asked: picks asked for.
    exhausted: stopped early since nothing is new any more. quarantined: (id, reason). timings: seconds by stage.
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


def render(view: RunView) -> str:
    """The page. It needs nothing beside itself: no network, no other file, no script."""
    cards = view.picks[:CARDS]
    opening = _opening(view)
    return _environment().get_template("report.html.j2").render(
        view=view,
        cards=[_card(pick) for pick in cards],
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
        panels=PANELS,
        quarantined=view.quarantined[:QUARANTINED],
        environment={str(name): _text(value) for name, value in view.environment.items()},
        plan=json.dumps(view.plan, indent=2, default=str),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Photo:
    """A JPEG as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def ratio(self) -> float:
        """Width over height, kept within what a page can lay out."""
        return min(max(self.width / self.height, 0.05), 40.0)


@dataclass(frozen=True, slots=True)
class _Thumb:
    """A pick on the contact sheet."""

    pick: PickView
    photo: _Photo | None

    @classmethod
    def of(cls, pick: PickView) -> "_Thumb":
        return cls(pick, None if pick.picture is None else _photo(pick.picture, _THUMB, box=(176, 112)))


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
class _Card:
    """A pick with its pictures encoded. outline: CSS of the window. seen: the window, as large as the renderings."""

    pick: PickView
    plain: _Photo | None
    outline: str
    heat: _Photo | None
    scale: _Scale | None
    seen: _Photo | None
    renderings: dict[str, _Photo]
    nearest: tuple[tuple[NearView, _Photo | None, int | None], ...]


def _card(pick: PickView) -> _Card:
    where = _usable(pick.where)
    renderings = {name: _photo(pixels, _PANEL) for name, pixels in pick.renderings.items() if name in PANELS}
    plain = heat = seen = None
    if pick.picture is not None:
        plain = _photo(pick.picture, _PHOTO)
        heat = None if where is None else _photo(charts.overlay(pick.picture, where, pick.window), _HEATED)
        seen = _photo(charts.crop(pick.picture, pick.window), _PANEL, box=(160, 160)) if renderings else None
    nearest = tuple(
        (near, None if near.picture is None else _photo(near.picture, _THUMB, box=(160, 112)), _rank_of(near.role))
        for near in pick.nearest
    )
    scale = None if where is None else _scale(where, pick.score)
    return _Card(pick, plain, _outline(pick.window), heat, scale, seen, renderings, nearest)


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


def _photo(pixels: Pixels, most: int, *, box: tuple[int, int] | None = None) -> _Photo:
    """Pixels (h, w, 3) as a JPEG of at most `most` bytes: of lower quality, then smaller, where it takes more."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if box is not None:
        image.thumbnail(box, Image.Resampling.LANCZOS)
    while True:
        for quality in (82, 72, 60, 45):
            data = _jpeg(image, quality)
            if len(data) <= most or max(image.size) <= 32:
                return _Photo("data:image/jpeg;base64," + base64.b64encode(data).decode(), image.width, image.height)
        image = image.resize((max(image.width * 3 // 4, 1), max(image.height * 3 // 4, 1)), Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality, optimize=True)
    return sink.getvalue()


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


_REORDERING = {0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF}


def visible(value: Any, keep: str = "") -> Any:
    """Text with control characters, direction marks and lone surrogates written as ⟨U+202E⟩; all else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        f"⟨U+{ord(c):04X}⟩"
        if c not in keep and (ord(c) in _REORDERING or unicodedata.category(c) in ("Cc", "Cs"))
        else c
        for c in value
    )


def verbatim(text: str) -> Markup:
    """Text whose line breaks and tabs are kept, escaped."""
    return escape(visible(text, keep="\n\t"))


def number(value: float, digits: int = 4) -> str:
    """That many significant digits, with powers of ten for very large and very small ones."""
    if not math.isfinite(value):
        return "not finite" if math.isinf(value) else "not available"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 <= size <= 6:
        return f"{value:,.{max(digits - 1 - size, 0)}f}".replace("-", "−")
    return f"{value:.2e}".replace("e+", " × 10^").replace("e-", " × 10^−").replace("-", "−").replace("^−0", "^−")


def count(value: int) -> str:
    """6712 as 6,712."""
    return f"{value:,}"


def seconds(value: float) -> str:
    """A duration: 0.03 s, 12.4 s, 3 min 12 s, 2 h 05 min."""
    if not math.isfinite(value) or value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes = round(value) // 60
    return f"{minutes} min {round(value) % 60:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def short(text: str) -> str:
    """A name for where there is little room: its beginning and its end."""
    return text if len(text) <= 72 else f"{text[:44]} … {text[-24:]}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True, undefined=StrictUndefined, finalize=visible, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(number=number, count=count, seconds=seconds, short=short, verbatim=verbatim)
    return environment
