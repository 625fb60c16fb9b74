"""A day as one self-contained HTML page: what came in, what is new and how unusual it is, and the other images.

`render_day_page` is a function of its view alone. The page works from a file, by mail and without a network, and runs no
script. It has empty slots, which are HTML comments that no name can imitate, since all names are escaped:
`interpdisc serve` fills them with verdicts and buttons, `interpdisc_core.reporting.site.publish.withdraw_day` with a
banner.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interpdisc_core._types import PixelArray
from interpdisc_core.archive.day_result import DayPick, DayResult, LaneImage, RankedImage
from interpdisc_core.explanations import CARD_PICKS
from interpdisc_core.reporting.cards import (
    ATTRIBUTION_MEANINGS,
    PANEL_TEXTS,
    PickCard,
    SheetThumb,
    build_pick_card,
    encode_thumb,
)
from interpdisc_core.reporting.charts import window_to_css
from interpdisc_core.reporting.html import EmbeddedPhoto, get_template_environment
from interpdisc_core.reporting.run_report import build_ledger_rows
from interpdisc_core.reporting.site import phrases
from interpdisc_core.reporting.site.thumbnails import PickPictures

MAX_LANE_LINES = 300
"""Lines of a list; further ones are counted."""
MAX_LANE_THUMBS = 60
"""Pictures of a list."""
MAX_PAGE_BYTES = 20_000_000
"""A page stays below this size; if its pictures are too large, it has fewer cards."""
_MAX_FRAME_BYTES, _MAX_VALUE_CHARS = 70_000, 2_000
"""Maximum bytes of the picture of a whole frame, and maximum characters of one value of a record on the page."""

KEY_PATTERN = re.compile(r"[0-9a-f]{16,64}")
"""A key as the catalog makes them; only such keys are used in slots, file names and links."""


@dataclass(frozen=True, slots=True)
class DayPageView:
    """A day with its pictures.

    Attributes:
        thumbs: Of the images in its lists and strata, by key.
        near_thumbs: Of the images that those are like, by id.
    """

    day: DayResult
    picks: tuple[PickPictures, ...]
    thumbs: Mapping[str, PixelArray]
    near_thumbs: Mapping[str, PixelArray]


@dataclass(frozen=True, slots=True)
class _FrameOutline:
    """A whole frame, with the position of its tile as CSS."""

    photo: EmbeddedPhoto
    outline: str


@dataclass(frozen=True, slots=True)
class _DayCard:
    """A pick as the page shows it.

    Attributes:
        fields: (name, value) of its metadata.
        record: (name, value) of the source's own record, as text.
    """

    pick: DayPick
    card: PickCard
    frame_outline: _FrameOutline | None
    rarity: str
    expected_rate: str
    link: str
    slot: str
    recurrence_text: str
    fields: list[tuple[str, str]]
    record: list[tuple[str, str]]


def render_day_page(view: DayPageView, max_bytes: int = MAX_PAGE_BYTES) -> str:
    """The page of a day, smaller than `max_bytes`: it has fewer cards if their pictures are too large."""
    cards = CARD_PICKS
    while True:
        page = _render_with_cards(view, cards)
        if cards == 0 or len(page.encode("utf-8", "backslashreplace")) < max_bytes:
            return page
        cards //= 2


def _render_with_cards(view: DayPageView, max_cards: int) -> str:
    day = view.day
    day_cards = [_build_day_card(pictures, day) for pictures in view.picks[:max_cards]]
    targets = {day_card.pick.key: day_card.pick.rank for day_card in day_cards}
    thumbs = {key: encode_thumb(pixels) for key, pixels in view.thumbs.items()}
    return (
        get_template_environment()
        .get_template("day.html.j2")
        .render(
            day=day,
            title=phrases.format_day_title(day.day, day.sol),
            before=phrases.format_day_title(day.diff.previous_day, None) if day.diff.previous_day else "",
            finished=phrases.format_timestamp(day.finished),
            cards=day_cards,
            rest=view.picks[max_cards:],
            sheet=[_build_thumb(pictures, thumbs) for pictures in view.picks],
            thumbs=thumbs,
            near={id: encode_thumb(pixels) for id, pixels in view.near_thumbs.items()},
            targets=targets,
            rare=phrases.count_rare_picks(day),
            span=phrases.describe_horizon(day),
            phrases=phrases,
            attribution_meanings={
                day_card.card.pick.attribution_kind: ATTRIBUTION_MEANINGS[day_card.card.pick.attribution_kind]
                for day_card in day_cards
                if day_card.card.legend is not None
            },
            panel_texts=list(PANEL_TEXTS.values()),
            has_panels=any(day_card.card.panels for day_card in day_cards),
            ledger=build_ledger_rows(day.ledger),
            total=sum(day.ledger.values()),
            lanes=_build_lane_sections(day),
            max_lines=MAX_LANE_LINES,
        )
    )


def _build_day_card(pictures: PickPictures, day: DayResult) -> _DayCard:
    pick = pictures.pick
    frame_outline = None
    if pictures.frame is not None and pick.tile is not None:
        photo = EmbeddedPhoto.encode(pictures.frame, _MAX_FRAME_BYTES)
        width, height = pick.frame or (pictures.frame.shape[1], pictures.frame.shape[0])
        x, y, tile_width, tile_height = pick.tile
        width, height = max(width, 1), max(height, 1)
        window = (x / width, y / height, (x + tile_width) / width, (y + tile_height) / height)
        frame_outline = _FrameOutline(photo, window_to_css(window))
    return _DayCard(
        pick,
        build_pick_card(pictures.view),
        frame_outline,
        phrases.describe_rarity(pick.tail_probability, day),
        phrases.describe_expected_rate(pick.alarms_a_day),
        pick.link if is_link(pick.link) else "",
        pick.key if KEY_PATTERN.fullmatch(pick.key) else "",
        _describe_recurrences(pick),
        _metadata_fields(pick),
        [(name, _format_value(value)) for name, value in pick.record.items()],
    )


def _describe_recurrences(pick: DayPick) -> str:
    count = pick.recurrence.count
    if not count:
        return ""
    days = [phrases.format_day_title(day, None) for day in pick.recurrence.days]
    day_list = ", ".join(days[:6]) + (f" and {len(days) - 6} more" if len(days) > 6 else "")
    return f"Seen again since: {count:,} {'image' if count == 1 else 'images'}" + (f", {day_list}" if day_list else "")


def _metadata_fields(pick: DayPick) -> list[tuple[str, str]]:
    """The metadata that scientists look for first, as far as they are known."""
    angles = [
        phrases.format_degrees(angle) if angle is not None else "unknown"
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
        ("Taken", phrases.format_timestamp(pick.taken)),
        ("Received", phrases.format_timestamp(pick.received)),
        ("Tile in the frame", _format_tile(pick)),
        ("Observation", pick.observation),
    )
    return [(name, value) for name, value in fields if value]


def _format_tile(pick: DayPick) -> str:
    if pick.tile is None:
        return ""
    x, y, w, h = pick.tile
    frame = f" of {pick.frame[0]} × {pick.frame[1]}" if pick.frame else ""
    return f"{w} × {h} pixels at {x}, {y}{frame}"


def is_link(text: str) -> bool:
    """Whether a page may link there: an http(s) address with a host, without spaces or control characters."""
    return bool(re.fullmatch(r"https?://[^\s\x00-\x20/\\@]+(/[^\s\x00-\x20]*)?", text)) and text.isprintable()


def _format_value(value: Any) -> str:
    """A value of a record as text, shortened for the page."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return (
        text
        if len(text) <= _MAX_VALUE_CHARS
        else f"{text[:_MAX_VALUE_CHARS]} … and {len(text) - _MAX_VALUE_CHARS:,} characters more, in day.json"
    )


def _build_thumb(pictures: PickPictures, thumbs: Mapping[str, EmbeddedPhoto]) -> SheetThumb[DayPick]:
    photo = thumbs.get(pictures.pick.key)
    if photo is None and pictures.view.picture is not None:
        photo = encode_thumb(pictures.view.picture)
    return SheetThumb(pictures.pick, photo)


@dataclass(frozen=True, slots=True)
class _LaneSection:
    """A list of images that are no picks. name: the id of its section."""

    name: str
    title: str
    description: str
    images: tuple[LaneImage, ...]


def _build_lane_sections(day: DayResult) -> list[_LaneSection]:
    """The lists that come from verdicts and budgets; empty ones are left out."""
    lanes = (
        _LaneSection(
            "tracked",
            "Like an image marked as interesting",
            "Not necessarily new: shown because someone asked for more like it.",
            day.tracked,
        ),
        _LaneSection(
            "absorbed",
            "Like an image marked as boring",
            "Without that mark they would be among the newest.",
            day.absorbed,
        ),
        _LaneSection(
            "beyond",
            "New, but over the budget of their instrument",
            "As new as the picks, but the picks of their instrument were used up.",
            day.beyond_budget,
        ),
    )
    return [lane for lane in lanes if lane.images]


def collect_thumb_images(day: DayResult) -> tuple[list[LaneImage | RankedImage], list[str]]:
    """The images other than picks that the page shows a picture of, and the ids of the images that they are like."""
    lanes = (day.tracked, day.absorbed, day.beyond_budget, day.artefacts, day.discoveries)
    images: list[LaneImage | RankedImage] = [image for lane in lanes for image in lane[:MAX_LANE_THUMBS]]
    like_ids = {image.like for lane in (day.tracked, day.absorbed) for image in lane[:MAX_LANE_THUMBS]}
    images += [pick for stratum in day.strata for pick in stratum.picks[: MAX_LANE_THUMBS // 6]]
    return images, sorted(like_ids - {""})
