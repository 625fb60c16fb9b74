"""Publish a day: write its folder in `site/`, then the index and the feed. All times are the day's.

Repeating a publication writes the same bytes, so one that was interrupted is simply repeated. It writes only the day's
own folder, the index and the feed, so days may be published in any order.
"""

import base64
import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from interpdisc_core._types import PixelArray
from interpdisc_core.archive.day_result import DayResult, read_day_result
from interpdisc_core.errors import DamageError, PlanError, StoreError
from interpdisc_core.reporting.html import EmbeddedPhoto
from interpdisc_core.reporting.site import atom, exports, index, phrases
from interpdisc_core.reporting.site.day_page import KEY_PATTERN, DayPageView, collect_thumb_images, render_day_page
from interpdisc_core.reporting.site.thumbnails import PickPictures, PictureLoader, make_thumbs
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import rows_to_csv, rows_to_parquet

log = logging.getLogger(__name__)

SITE_FOLDER = "site"
_MAX_THUMB_BYTES = 24_000
"""Maximum bytes of a thumbnail file."""
_DAY_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BANNER_PATTERN = re.compile(r"<!--slot:banner-->.*?<!--/slot:banner-->", re.DOTALL)
_FEED_TITLE = "interpdisc: new discoveries"


@dataclass(frozen=True, slots=True)
class PublishedDay:
    """Where a day is published.

    Attributes:
        page: Address of its page; `index` and `feed`: of the site's.
        thumbs: Addresses of its thumbnails relative to the site, by the picks' keys.
    """

    page: str
    index: str
    feed: str
    thumbs: dict[str, str]


def publish_day(archive: Location, day: str, base: str = "") -> PublishedDay:
    """Publish a day from `days/<day>/day.json`, or publish it again.

    Args:
        archive: The archive.
        day: Name of the day.
        base: Public address of the site, for the links of the feed; if empty, they are relative.

    Raises:
        StoreError: If the day has no result.
        PlanError: If no day can have such a name.
    """
    folder, day_result = _day_folder(archive, day), read_day_result(archive, day)
    if day_result is None:
        raise StoreError(f"{archive.url} has no result of {day}; run `interpdisc daily` first.")
    loader = PictureLoader.for_day(archive, day_result)
    pick_pictures = tuple(loader.load_pick(pick) for pick in day_result.picks)
    thumb_paths = _write_thumbs(folder, day, pick_pictures)
    rows = exports.build_pick_rows(day_result)
    withdrawal = _read_withdrawal(folder, day_result)
    page = render_day_page(_build_page_view(day_result, pick_pictures, loader))
    folder.write_checked("picks.csv", rows_to_csv(rows, exports.PICKS_SCHEMA.names))
    folder.write_checked("picks.parquet", rows_to_parquet(rows, exports.PICKS_SCHEMA))
    folder.write_checked("picks.json", exports.encode_picks_json(rows, day_result))
    folder.write_checked("day.json", archive.read_checked(f"days/{day}/day.json"))
    folder.write_checked_json(
        "feed.json",
        {"entries": [asdict(entry) for entry in _build_feed_entries(folder, day_result, thumb_paths, withdrawal)]},
    )
    folder.write_checked("index.html", _insert_banner(page, withdrawal).encode("utf-8", "backslashreplace"))
    _update_index_and_feed(archive, index.summarize_day(day_result, thumb_paths) | {"withdrawn": withdrawal}, base)
    return _build_published(archive, day, thumb_paths)


def withdraw_day(archive: Location, day: str, by: str, reason: str, at: str, base: str = "") -> PublishedDay | None:
    """Mark a day as undone on its page, in the index and in the feed. Publishing another result of it removes the mark.

    Args:
        archive: The archive.
        day: Name of the day.
        by: Who undid it.
        reason: Why.
        at: When, ISO 8601.
        base: See `publish_day`.

    Returns:
        Where it is published; None if it never was.
    """
    folder = _day_folder(archive, day)
    try:
        day_result, page = (
            DayResult.from_json(folder.read_checked_json("day.json")),
            folder.read_checked("index.html").decode(),
        )
    except FileNotFoundError:
        return None
    withdrawal = {"by": by, "why": reason, "at": at}
    folder.write_checked_json("withdrawn.json", withdrawal | {"of": _result_version(day_result)})
    day_summary = index.read_index_part(_site_location(archive), index.assign_part(day_result.day, day_result.sol)).get(
        day_result.day, {"picks": []}
    )
    thumb_paths = {pick["key"]: pick["thumb"] for pick in day_summary["picks"] if pick["thumb"]}
    folder.write_checked_json(
        "feed.json",
        {"entries": [asdict(entry) for entry in _build_feed_entries(folder, day_result, thumb_paths, withdrawal)]},
    )
    folder.write_checked("index.html", _insert_banner(page, withdrawal).encode("utf-8", "backslashreplace"))
    _update_index_and_feed(archive, index.summarize_day(day_result, thumb_paths) | {"withdrawn": withdrawal}, base)
    return _build_published(archive, day, thumb_paths)


def rebuild_index(archive: Location, base: str = "") -> int:
    """Rebuild the index and the feed from the published days; returns the number of days."""
    site, parts = _site_location(archive), dict[str, dict[str, index.DaySummary]]()
    days = [
        day for day in archive.list_names(f"{SITE_FOLDER}/days") if archive.exists(f"{SITE_FOLDER}/days/{day}/day.json")
    ]
    for day in days:
        folder = _day_folder(archive, day)
        day_result = _read_published_result(archive, folder, day)
        if day_result is None:
            continue
        thumb_keys = {name.removesuffix(".jpg") for name in folder.list_names("thumbs")}
        day_summary = index.summarize_day(day_result, thumb_keys) | {"withdrawn": _read_withdrawal(folder, day_result)}
        parts.setdefault(index.assign_part(day_result.day, day_result.sol), {})[day_result.day] = day_summary
    for name in site.list_names("index"):
        if name != "parts.js" and name.partition(".")[0] not in parts:
            site.remove(f"index/{name}")
    site.remove("days.json")
    index.write_index(site, parts)
    _write_feed(archive, base)
    return len(days)


def _read_published_result(archive: Location, folder: Location, day: str) -> DayResult | None:
    """The result that a day's folder has a copy of; if the copy is damaged, it is made again from the result."""
    try:
        return DayResult.from_json(folder.read_checked_json("day.json"))
    except DamageError as error:
        log.warning("%s", error)
    day_result = read_day_result(archive, day)
    if day_result is not None:
        folder.write_checked("day.json", archive.read_checked(f"days/{day}/day.json"))
    return day_result


def _site_location(archive: Location) -> Location:
    return archive / SITE_FOLDER


def _day_folder(archive: Location, day: str) -> Location:
    if not _DAY_PATTERN.fullmatch(day):
        raise PlanError(f"{day[:100]!r} is no name of a day; write it like sol-00812 or date-2026-11-24.")
    return archive / f"{SITE_FOLDER}/days/{day}"


def _build_published(archive: Location, day: str, thumb_paths: dict[str, str]) -> PublishedDay:
    site = _site_location(archive).url
    return PublishedDay(f"{site}/days/{day}/index.html", f"{site}/index.html", f"{site}/feed.atom", thumb_paths)


def _write_thumbs(folder: Location, day: str, pick_pictures: Iterable[PickPictures]) -> dict[str, str]:
    """Write the thumbnails of picks and remove all others; returns their addresses by key."""
    thumb_paths = {}
    for key, pixels in make_thumbs(pick_pictures).items():
        if KEY_PATTERN.fullmatch(key):
            folder.write_checked(f"thumbs/{key}.jpg", _encode_thumb(pixels))
            thumb_paths[key] = f"days/{day}/thumbs/{key}.jpg"
    for name in folder.list_names("thumbs"):
        if name.removesuffix(".jpg") not in thumb_paths:
            folder.remove(f"thumbs/{name}")
    return thumb_paths


def _encode_thumb(pixels: PixelArray) -> bytes:
    return base64.b64decode(EmbeddedPhoto.encode(pixels, _MAX_THUMB_BYTES).uri.partition(",")[2])


def _build_page_view(day: DayResult, pick_pictures: tuple[PickPictures, ...], loader: PictureLoader) -> DayPageView:
    images, like_ids = collect_thumb_images(day)
    thumb_by_key = {image.key: picture for image in images if (picture := loader.load_thumb(image)) is not None}
    thumb_by_id = {id: picture for id in like_ids if (picture := loader.load_thumb_by_id(id)) is not None}
    return DayPageView(day, pick_pictures, thumb_by_key, thumb_by_id)


def _result_version(day: DayResult) -> list[Any]:
    """Differs between two results of a day."""
    return [day.revision, day.finished, day.run]


def _read_withdrawal(folder: Location, day: DayResult) -> dict[str, str] | None:
    """By whom, why and when this result was undone; None if it was not. The mark of another result is removed."""
    try:
        with name_damage(f"{folder.url}/withdrawn.json"):
            payload = folder.read_checked_json("withdrawn.json")
            payload["of"], payload["by"], payload["why"], payload["at"]
    except FileNotFoundError:
        return None
    except DamageError as error:
        log.warning("%s", error)
        folder.remove("withdrawn.json")
        return None  # `interpdisc repair` marks the day again, by the record of who undid it
    if payload["of"] != _result_version(day):
        folder.remove("withdrawn.json")
        return None
    return {name: str(payload[name]) for name in ("by", "why", "at")}


def _insert_banner(page: str, withdrawal: dict[str, str] | None) -> str:
    banner = Markup("")
    if withdrawal is not None:
        markup_fields = {
            name: Markup("<bdi>{}</bdi>").format(_make_visible(value)) for name, value in withdrawal.items()
        }
        banner = Markup(
            '<div class="banner" role="alert"><p><strong>Undone.</strong> This day was taken out of the memory, and its list no '
            "longer counts. By {}, {}: {}</p></div>"
        ).format(
            markup_fields["by"],
            Markup("<bdi>{}</bdi>").format(phrases.format_timestamp(_make_visible(withdrawal["at"]))),
            markup_fields["why"],
        )
    replacement = f"<!--slot:banner-->{banner}<!--/slot:banner-->"
    return _BANNER_PATTERN.sub(lambda _: replacement, page, count=1)


def _make_visible(text: str) -> str:
    return atom.escape_xml_chars(text)


def _update_index_and_feed(archive: Location, day_summary: index.DaySummary, base: str) -> None:
    try:
        index.update_index(_site_location(archive), day_summary)
        _write_feed(archive, base)
    except DamageError as error:
        log.warning("%s The index of the days is built again.", error)
        rebuild_index(archive, base)


def _write_feed(archive: Location, base: str) -> None:
    """Write the feed: the entries of the last days, newest day first."""
    site, days = _site_location(archive), list[index.DaySummary]()
    for part in site.read_checked_json("days.json")["parts"] if site.exists("days.json") else []:
        days += sorted(index.read_index_part(site, part["name"]).values(), key=index.day_sort_key, reverse=True)
        if len(days) >= atom.FEED_DAYS:
            break
    entries = []
    for day_summary in days[: atom.FEED_DAYS]:
        name = f"days/{day_summary['day']}/feed.json"
        try:
            with name_damage(f"{site.url}/{name}"):
                entries += [atom.AtomEntry(**entry) for entry in site.read_checked_json(name)["entries"]]
        except FileNotFoundError:
            continue
        except DamageError as error:
            log.warning("%s Its entries are not in the feed.", error)
    site.write_checked("feed.atom", atom.render_atom(entries, archive.url, _FEED_TITLE, base))


def _build_feed_entries(
    folder: Location, day: DayResult, thumb_paths: dict[str, str], withdrawal: dict[str, str] | None
) -> list[atom.AtomEntry]:
    """A day's entries of the feed. An entry that an earlier revision had keeps the time of its first publication."""
    try:
        with name_damage(f"{folder.url}/feed.json"):
            previous_entries = {entry["name"]: entry for entry in folder.read_checked_json("feed.json")["entries"]}
    except FileNotFoundError:
        previous_entries = {}
    except DamageError as error:
        log.warning("%s", error)
        previous_entries = {}
    now, title, entries = atom.format_rfc3339(day.finished), phrases.format_day_title(day.day, day.sol), []
    page = f"days/{day.day}/index.html"
    if withdrawal is not None:
        now = atom.format_rfc3339(withdrawal["at"])
        withdrawal_text = f"{title} was undone by {withdrawal['by']}: {withdrawal['why']}"
        entries.append(
            atom.AtomEntry(day.day, "withdrawn", f"{title} was undone", withdrawal_text, now, now, page, "", "undone")
        )
    for pick in day.picks:
        name = f"observation {pick.observation}" if pick.observation else f"image {pick.key}"
        rarity = phrases.describe_rarity(pick.tail_probability, day)
        novelty_text = "; ".join(part for part in (rarity, phrases.describe_expected_rate(pick.alarms_a_day)) if part)
        entry = atom.AtomEntry(
            day.day,
            name,
            f"{'Undone: ' if withdrawal else ''}{title}: {pick.id}",
            f"{pick.instrument + ': ' if pick.instrument else ''}{novelty_text}.",
            now,
            now,
            f"{page}#pick-{pick.rank}",
            thumb_paths.get(pick.key, ""),
            "undone" if withdrawal else pick.instrument,
        )
        previous = previous_entries.get(name)
        if previous is not None:
            unchanged = all(getattr(entry, field) == previous[field] for field in ("title", "picture", "category"))
            times = {"published": previous["published"], "updated": previous["updated"] if unchanged else now}
            entry = atom.AtomEntry(**asdict(entry) | times)
        entries.append(entry)
    return entries
