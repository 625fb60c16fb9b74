"""A day as one self-contained HTML page: what came in, what is new and how unusual that is, and what became of the rest.

`render` is a function of its view alone. The page works from a file, by mail and without a network; it runs no script.
It carries empty slots, HTML comments that no name can imitate since every name is escaped, which `interpdisc serve`
fills with verdicts and their buttons, and `interpdisc_core.site.publish.withdraw` with a banner.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interpdisc_core.cards import MANNERS, PANELS, THUMB, Card, card_of
from interpdisc_core.images import Pixels
from interpdisc_core.pages import Photo, environment
from interpdisc_core.report import ledger_rows
from interpdisc_core.site import words
from interpdisc_core.site.day import Day, DayPick, Laned, Ranked
from interpdisc_core.site.pictures import Shown

CARDS = 50
"""Picks that get a card of their own; those after are in the contact sheet and the tables."""
LISTED = 300
"""Lines of a lane; those after are counted."""
THUMBS = 60
"""Pictures of a lane."""
LARGEST = 20_000_000
"""Bytes that a page must stay below; one with larger pictures has fewer cards."""
_FRAME, _VALUE = 70_000, 2_000
"""Most bytes of the picture of a whole frame, and most characters of one value of a record on the page."""

KEY = re.compile(r"[0-9a-f]{16,64}")
"""A key as the catalog makes them; only such a one gets a slot, a file or a place in a link."""


@dataclass(frozen=True, slots=True)
class DayView:
    """A day with its pictures. thumbs: by key, of its lanes and strata; near_thumbs: by id, of what is like what."""

    day: Day
    picks: tuple[Shown, ...]
    thumbs: Mapping[str, Pixels]
    near_thumbs: Mapping[str, Pixels]


@dataclass(frozen=True, slots=True)
class _Framed:
    """A whole frame, with the place of its tile as CSS."""

    photo: Photo
    outline: str


@dataclass(frozen=True, slots=True)
class _DayCard:
    """A pick as the page shows it. fields: (name, value) of its metadata; record: the source's own, as text."""

    pick: DayPick
    card: Card
    framed: _Framed | None
    rarity: str
    expected: str
    link: str
    slot: str
    seen: str
    fields: list[tuple[str, str]]
    record: list[tuple[str, str]]


def render(view: DayView) -> str:
    """The page, below LARGEST bytes: with fewer cards where their pictures are too large."""
    cards = CARDS
    while True:
        page = _render(view, cards)
        if cards == 0 or len(page.encode("utf-8", "backslashreplace")) < LARGEST:
            return page
        cards //= 2


def _render(view: DayView, most: int) -> str:
    day = view.day
    built = [_card(shown, day) for shown in view.picks[:most]]
    targets = {one.pick.key: one.pick.rank for one in built}
    thumbs = {key: Photo.of(pixels, THUMB, box=(176, 112)) for key, pixels in view.thumbs.items()}
    return environment().get_template("day.html.j2").render(
        day=day,
        title=words.title(day.day, day.sol),
        before=words.title(day.before, None) if day.before else "",
        finished=words.stamp(day.finished),
        cards=built,
        rest=view.picks[most:],
        sheet=[_thumb(shown, thumbs) for shown in view.picks],
        thumbs=thumbs,
        near={id: Photo.of(pixels, THUMB, box=(176, 112)) for id, pixels in view.near_thumbs.items()},
        targets=targets,
        rare=words.rare(day),
        span=words.span(day),
        words=words,
        manners={one.card.pick.manner: MANNERS[one.card.pick.manner] for one in built if one.card.scale is not None},
        kinds=list(PANELS.values()),
        rendered=any(one.card.panels for one in built),
        ledger=ledger_rows(day.ledger),
        total=sum(day.ledger.values()),
        lanes=_lanes(day),
        most=LISTED,
        pictured=THUMBS,
    )  # fmt: skip


def _card(shown: Shown, day: Day) -> _DayCard:
    pick = shown.pick
    framed = None
    if shown.frame is not None and pick.tile is not None:
        photo = Photo.of(shown.frame, _FRAME)
        width, height = pick.frame or (shown.frame.shape[1], shown.frame.shape[0])
        framed = _Framed(photo, _outline(pick.tile, width, height))
    return _DayCard(
        pick, card_of(shown.view), framed, words.rarity(pick.novelty_rank, day), words.expected(pick.alarms_a_day),
        pick.link if is_link(pick.link) else "", pick.key if KEY.fullmatch(pick.key) else "", _seen(pick),
        _fields(pick), [(name, _value(value)) for name, value in pick.record.items()],
    )  # fmt: skip


def _outline(tile: tuple[int, int, int, int], width: int, height: int) -> str:
    x, y, w, h = tile
    wide, high = max(width, 1), max(height, 1)
    left, top = (min(max(at, 0.0), 100.0) for at in (100 * x / wide, 100 * y / high))
    return (
        f"left:{left:.3f}%;top:{top:.3f}%;width:{min(100 * w / wide, 100 - left):.3f}%;"
        f"height:{min(100 * h / high, 100 - top):.3f}%"
    )


def _seen(pick: DayPick) -> str:
    if not pick.seen_count:
        return ""
    days = [words.title(day, None) for day in pick.seen_days]
    told = ", ".join(days[:6]) + (f" and {len(days) - 6} more" if len(days) > 6 else "")
    return f"Seen again since: {pick.seen_count:,} {'image' if pick.seen_count == 1 else 'images'}" + (
        f", {told}" if told else ""
    )


def _fields(pick: DayPick) -> list[tuple[str, str]]:
    """The metadata that a scientist looks for, where it is known."""
    angles = [
        words.degrees(angle) if angle is not None else "unknown"
        for angle in (pick.mast_az, pick.mast_el)
        if pick.mast_az is not None or pick.mast_el is not None
    ]
    drive = [f"{name} {value}" for name, value in (("site", pick.site), ("drive", pick.drive)) if value is not None]
    fields = (
        ("Instrument", pick.instrument),
        ("Filter", pick.filter),
        ("Sol", "" if pick.sol is None else str(pick.sol)),
        ("Local time", pick.lmst),
        ("Site and drive", ", ".join(drive)),
        ("Mast azimuth, elevation", ", ".join(angles)),
        ("Radiometry", pick.radiometry),
        ("Taken", words.stamp(pick.taken)),
        ("Received", words.stamp(pick.received)),
        ("Tile in the frame", _tile(pick)),
        ("Observation", pick.observation),
    )
    return [(name, value) for name, value in fields if value]


def _tile(pick: DayPick) -> str:
    if pick.tile is None:
        return ""
    x, y, w, h = pick.tile
    frame = f" of {pick.frame[0]} × {pick.frame[1]}" if pick.frame else ""
    return f"{w} × {h} pixels at {x}, {y}{frame}"


def is_link(text: str) -> bool:
    """Whether a page may link there: an http(s) address with a host, without spaces or control characters."""
    return bool(re.fullmatch(r"https?://[^\s\x00-\x20/\\@]+(/[^\s\x00-\x20]*)?", text)) and text.isprintable()


def _value(value: Any) -> str:
    """A value of a record as text; what is too long for a page is in the tables."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _VALUE else f"{text[:_VALUE]} … and {len(text) - _VALUE:,} characters more, in day.json"


@dataclass(frozen=True, slots=True)
class _Thumb:
    """A pick on the contact sheet."""

    pick: DayPick
    photo: Photo | None


def _thumb(shown: Shown, thumbs: Mapping[str, Photo]) -> _Thumb:
    photo = thumbs.get(shown.pick.key)
    if photo is None and shown.view.picture is not None:
        photo = Photo.of(shown.view.picture, THUMB, box=(176, 112))
    return _Thumb(shown.pick, photo)


@dataclass(frozen=True, slots=True)
class _Lane:
    """A list besides the picks. name: of its section."""

    name: str
    title: str
    told: str
    images: tuple[Laned, ...]


def _lanes(day: Day) -> list[_Lane]:
    """The lanes that people's verdicts and the budgets make; those that are empty are left out."""
    lanes = (
        _Lane("tracked", "Like something called interesting", "Not necessarily new: shown because someone asked for more of them.", day.tracked),
        _Lane("absorbed", "Like something called boring", "They would have been among the newest, had nobody said so.", day.absorbed),
        _Lane("beyond", "New, but beyond the budget of their instrument", "As new as the picks; another camera’s turn came first.", day.beyond_budget),
    )  # fmt: skip
    return [lane for lane in lanes if lane.images]


def named(day: Day) -> tuple[list[Laned | Ranked], list[str]]:
    """The images besides the picks of which the page shows pictures, and ids of those that they are like."""
    lanes = (day.tracked, day.absorbed, day.beyond_budget, day.artefacts, day.discoveries)
    some: list[Laned | Ranked] = [one for lane in lanes for one in lane[:THUMBS]]
    some += [one for part in day.strata for one in part.picks[: THUMBS // 6]]
    return some, sorted({one.like for lane in (day.tracked, day.absorbed) for one in lane[:THUMBS] if one.like})
