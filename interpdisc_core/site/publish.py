"""Publishing a day: its folder in `site/`, then the index and the feed. Nothing here has a clock: times are the day's.

Each step writes the same again from the same day, and only the day's own folder, the index and the feed; so a publication
that was cut short is done again, and days may be published in any order.
"""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.images import Pixels
from interpdisc_core.pages import Photo
from interpdisc_core.site import atom, index, tables, words
from interpdisc_core.site.day import Day
from interpdisc_core.site.day_page import KEY, DayView, named, render
from interpdisc_core.site.pictures import Album, Shown, thumbs
from interpdisc_core.storage import Place

FOLDER = "site"
_THUMB = 24_000
"""Most bytes of a thumbnail file."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BANNER = re.compile(r"<!--slot:banner-->.*?<!--/slot:banner-->", re.DOTALL)
_TITLE = "interpdisc: new discoveries"


@dataclass(frozen=True, slots=True)
class Published:
    """Where a day's products are. page, index, feed: addresses. thumbs: by key, addresses relative to the site."""

    page: str
    index: str
    feed: str
    thumbs: dict[str, str]


def publish(archive: Place, day: str, base: str = "") -> Published:
    """Publish a day from `days/<day>/day.json`, or publish it again.

    base: the public address of the site, for the feed's links; without one these are relative. Raises StoreError where
    there is no such day, PlanError for a name that no day can have.
    """
    place, raw = _folder(archive, day), _told(archive, day)
    told = Day.of(json.loads(raw))
    album = Album.of(archive, told)
    shown = tuple(album.shown(pick) for pick in told.picks)
    there = _thumbs(place, day, shown)
    rows = tables.rows(told)
    withdrawn = _withdrawn(place, told)
    page = render(_view(told, shown, album))
    place.write("picks.csv", tables.comma_separated(rows))
    place.write("picks.parquet", tables.parquet(rows))
    place.write("picks.json", tables.by_id(rows, told))
    place.write("day.json", raw)
    place.write_json("feed.json", {"entries": [asdict(one) for one in _entries(place, told, there, withdrawn)]})
    place.write("index.html", _bannered(page, withdrawn).encode("utf-8", "backslashreplace"))
    _listed(archive, index.summary(told, there) | {"withdrawn": withdrawn}, base)
    return _published(archive, day, there)


def withdraw(archive: Place, day: str, by: str, why: str, at: str, base: str = "") -> Published | None:
    """Say on a day's page, in the index and in the feed that it was taken back; the page stays where it is.

    at: ISO 8601. None where the day was never published. Publishing another result of the day lifts it.
    """
    place = _folder(archive, day)
    try:
        told, page = Day.of(place.read_json("day.json")), place.read("index.html").decode()
    except FileNotFoundError:
        return None
    withdrawn = {"by": by, "why": why, "at": at}
    place.write_json("withdrawn.json", withdrawn | {"of": _version(told)})
    there = index.read_part(_site(archive), index.part_of(told.day, told.sol)).get(told.day, {"picks": []})
    relative = {pick["key"]: pick["thumb"] for pick in there["picks"] if pick["thumb"]}
    place.write_json("feed.json", {"entries": [asdict(one) for one in _entries(place, told, relative, withdrawn)]})
    place.write("index.html", _bannered(page, withdrawn).encode("utf-8", "backslashreplace"))
    _listed(archive, index.summary(told, relative) | {"withdrawn": withdrawn}, base)
    return _published(archive, day, relative)


def reindex(archive: Place, base: str = "") -> int:
    """Make the index and the feed anew from the days that are published; returns how many those are."""
    site, parts = _site(archive), dict[str, dict[str, index.Summary]]()
    days = [day for day in archive.names(f"{FOLDER}/days") if archive.exists(f"{FOLDER}/days/{day}/day.json")]
    for day in days:
        place = _folder(archive, day)
        told = Day.of(place.read_json("day.json"))
        there = {name.removesuffix(".jpg") for name in place.names("thumbs")}
        one = index.summary(told, there) | {"withdrawn": _withdrawn(place, told)}
        parts.setdefault(index.part_of(told.day, told.sol), {})[told.day] = one
    for name in site.names("index"):
        if name != "parts.js" and name.partition(".")[0] not in parts:
            site.remove(f"index/{name}")
    site.remove("days.json")
    index.write(site, parts)
    _feed(archive, base)
    return len(days)


def _site(archive: Place) -> Place:
    return archive / FOLDER


def _folder(archive: Place, day: str) -> Place:
    if not _NAME.fullmatch(day):
        raise PlanError(f"{day[:100]!r} is no name of a day; days are called like sol-00812 or date-2026-11-24.")
    return archive / f"{FOLDER}/days/{day}"


def _told(archive: Place, day: str) -> bytes:
    try:
        raw = archive.read(f"days/{day}/day.json")
    except FileNotFoundError:
        raise StoreError(f"{archive.url} has no result of {day}; run `interpdisc daily` for it first.") from None
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise StoreError(f"{archive.url}/days/{day}/day.json is damaged: it is not JSON ({error}).") from error
    if not isinstance(value, dict) or value.get("day") != day:
        raise StoreError(f"{archive.url}/days/{day}/day.json is damaged: it is not the result of {day}.")
    return raw


def _published(archive: Place, day: str, there: dict[str, str]) -> Published:
    site = _site(archive).url
    return Published(f"{site}/days/{day}/index.html", f"{site}/index.html", f"{site}/feed.atom", there)


def _thumbs(place: Place, day: str, shown: Iterable[Shown]) -> dict[str, str]:
    """Write the thumbnails of picks, remove those of picks that are none any more; their addresses by key."""
    there = {}
    for key, pixels in thumbs(shown).items():
        if KEY.fullmatch(key):
            place.write(f"thumbs/{key}.jpg", _jpeg(pixels))
            there[key] = f"days/{day}/thumbs/{key}.jpg"
    for name in place.names("thumbs"):
        if name.removesuffix(".jpg") not in there:
            place.remove(f"thumbs/{name}")
    return there


def _jpeg(pixels: Pixels) -> bytes:
    return base64.b64decode(Photo.of(pixels, _THUMB).uri.partition(",")[2])


def _view(day: Day, shown: tuple[Shown, ...], album: Album) -> DayView:
    images, like = named(day)
    pictured = {one.key: picture for one in images if (picture := album.thumb(one)) is not None}
    near = {id: picture for id in like if (picture := album.thumb_of(id)) is not None}
    return DayView(day, shown, pictured, near)


def _version(day: Day) -> list[Any]:
    """What tells a day's results apart."""
    return [day.revision, day.finished, day.run]


def _withdrawn(place: Place, day: Day) -> dict[str, str] | None:
    """By whom, why and when this result was taken back; None, and no file, where it is another one."""
    try:
        told = place.read_json("withdrawn.json")
    except FileNotFoundError:
        return None
    if told["of"] != _version(day):
        place.remove("withdrawn.json")
        return None
    return {name: str(told[name]) for name in ("by", "why", "at")}


def _bannered(page: str, withdrawn: dict[str, str] | None) -> str:
    banner = Markup("")
    if withdrawn is not None:
        said = {name: Markup("<bdi>{}</bdi>").format(_shown(value)) for name, value in withdrawn.items()}
        banner = Markup(
            '<div class="banner" role="alert"><p><strong>Taken back.</strong> This day’s list no longer counts, and the memory '
            "does not know its images. {} said so, {}: {}</p></div>"
        ).format(said["by"], Markup("<bdi>{}</bdi>").format(words.stamp(_shown(withdrawn["at"]))), said["why"])
    filled = f"<!--slot:banner-->{banner}<!--/slot:banner-->"
    return _BANNER.sub(lambda _: filled, page, count=1)


def _shown(text: str) -> str:
    return atom.xml_text(text)


def _listed(archive: Place, one: index.Summary, base: str) -> None:
    index.put(_site(archive), one)
    _feed(archive, base)


def _feed(archive: Place, base: str) -> None:
    """The entries of the last days, newest day first."""
    site, days = _site(archive), list[index.Summary]()
    for part in site.read_json("days.json")["parts"] if site.exists("days.json") else []:
        days += sorted(index.read_part(site, part["name"]).values(), key=index.order, reverse=True)
        if len(days) >= atom.DAYS:
            break
    entries = []
    for one in days[: atom.DAYS]:
        try:
            entries += [atom.Entry(**told) for told in site.read_json(f"days/{one['day']}/feed.json")["entries"]]
        except FileNotFoundError:
            continue
    site.write("feed.atom", atom.render(entries, archive.url, _TITLE, base))


def _entries(
    place: Place, day: Day, there: dict[str, str], withdrawn: dict[str, str] | None
) -> list[atom.Entry]:  # fmt: skip
    """A day's entries. One that an earlier revision had keeps the time at which it was first published."""
    try:
        before = {one["name"]: one for one in place.read_json("feed.json")["entries"]}
    except FileNotFoundError:
        before = {}
    now, title, entries = atom.moment(day.finished), words.title(day.day, day.sol), []
    page = f"days/{day.day}/index.html"
    if withdrawn is not None:
        now = atom.moment(withdrawn["at"])
        said = f"{title} was taken back by {withdrawn['by']}: {withdrawn['why']}"
        entries.append(
            atom.Entry(day.day, "withdrawn", f"{title} was taken back", said, now, now, page, "", "taken back")
        )
    for pick in day.picks:
        name = f"observation {pick.observation}" if pick.observation else f"image {pick.key}"
        rarity = words.rarity(pick.novelty_rank, day)
        told = "; ".join(part for part in (rarity, words.expected(pick.alarms_a_day)) if part)
        made = atom.Entry(
            day.day, name, f"{'Taken back: ' if withdrawn else ''}{title}: {pick.id}",
            f"{pick.instrument + ': ' if pick.instrument else ''}{told}.", now, now, f"{page}#pick-{pick.rank}",
            there.get(pick.key, ""), "taken back" if withdrawn else pick.instrument,
        )  # fmt: skip
        kept = before.get(name)
        if kept is not None:
            unchanged = all(getattr(made, field) == kept[field] for field in ("title", "picture", "category"))
            times = {"published": kept["published"], "updated": kept["updated"] if unchanged else now}
            made = atom.Entry(**asdict(made) | times)
        entries.append(made)
    return entries
