"""The index of days: pages to browse and search as plain files, split into parts so that thousands of days load fast.

A part holds 250 sols, or one year of days without a sol:

    index/<part>.json   the summaries of its days
    index/<part>.html   a page of them
    index/<part>.js     the same for the search, which learns the parts from `index/parts.js`
    days.json           the parts
    index.html          the newest days

The part of a day depends only on the day, and the files of a part only on its days. So days may be published in any
order, and publishing a day writes one part.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from interpdisc_core.archive.day_result import DayPick, DayResult
from interpdisc_core.reporting.html import escape_invisible, get_template_environment
from interpdisc_core.reporting.site import phrases
from interpdisc_core.reporting.site.day_page import KEY_PATTERN
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location

SOLS_PER_PART = 250
"""Sols of a part."""
MAX_NEWEST_DAYS = 60
"""Days on the first page."""
_THUMBS_PER_DAY = 5
"""Thumbnails of a day on the pages of the index."""
_MAX_SEARCH_CHARS = 160
"""Maximum characters of the texts of a pick's record that are searched."""
_SEARCH_FIELDS = ("title", "caption", "description", "target")
"""Fields of a record that are searched."""

DaySummary = dict[str, Any]
"""What the index keeps of a day, as JSON."""


def summarize_day(day: DayResult, thumb_keys: Iterable[str]) -> DaySummary:
    """What the index keeps of a day.

    Args:
        day: The day's result.
        thumb_keys: Keys of the picks that have a thumbnail file.
    """
    thumb_key_set = set(thumb_keys)
    return {
        "day": day.day,
        "sol": day.sol,
        "title": phrases.format_day_title(day.day, day.sol),
        "mission": day.mission,
        "revision": day.revision,
        "finished": day.finished,
        "images": day.image_count,
        "inputs": day.inputs,
        "rare": phrases.count_rare_picks(day),
        "coverage": day.coverage,
        "late": day.late,
        "artefacts": len(day.artefacts),
        "quarantined": day.ledger.get("quarantined", 0),
        "spikes": [stratum.name for stratum in day.spikes],
        "instruments": day.instruments,
        "withdrawn": None,
        "picks": [
            {
                "rank": pick.rank,
                "id": pick.id,
                "key": pick.key,
                "instrument": pick.instrument,
                "label": pick.label or "",
                "observation": pick.observation,
                "text": _search_text(pick),
                "thumb": f"days/{day.day}/thumbs/{pick.key}.jpg"
                if pick.key in thumb_key_set and KEY_PATTERN.fullmatch(pick.key)
                else "",
            }
            for pick in day.picks
        ],
    }


def _search_text(pick: DayPick) -> str:
    """The texts of a pick's record, shortened, and where and how it was taken."""
    record_texts = [str(pick.record[name]) for name in _SEARCH_FIELDS if isinstance(pick.record.get(name), str)]
    pick_texts = [
        pick.filter,
        pick.radiometry,
        *(f"{name} {at}" for name, at in (("site", pick.site), ("drive", pick.drive)) if at is not None),
    ]
    return " ".join(part for part in (" ".join(record_texts)[:_MAX_SEARCH_CHARS], *pick_texts) if part)


def assign_part(day: str, sol: int | None) -> str:
    """The part of the index that a day belongs to.

    Example:
        >>> assign_part("sol-00812", 812), assign_part("date-2026-11-24", None)
        ('sols-000750', 'days-2026')
    """
    if sol is not None and 0 <= sol < 10**9:
        return f"sols-{sol // SOLS_PER_PART * SOLS_PER_PART:06d}"
    match = re.match(r"date-(\d{4})-", day)
    return f"days-{match[1]}" if match else "other"


def day_sort_key(day_summary: Mapping[str, Any]) -> tuple[int, int, str]:
    """Sorts days from old to new: those without a sol first, then by sol."""
    sol = day_summary["sol"]
    return (0, 0, day_summary["day"]) if sol is None else (1, sol, day_summary["day"])


def read_index_part(site: Location, part: str) -> dict[str, DaySummary]:
    """The summaries of a part's days, by day; empty if there is no such part."""
    try:
        with name_damage(f"{site.url}/index/{part}.json"):
            return {day["day"]: day for day in site.read_checked_json(f"index/{part}.json")["days"]}
    except FileNotFoundError:
        return {}


def update_index(site: Location, day_summary: DaySummary) -> None:
    """Add a day to the index, or replace it there."""
    part = assign_part(day_summary["day"], day_summary["sol"])
    write_index(site, {part: read_index_part(site, part) | {day_summary["day"]: day_summary}})


def write_index(site: Location, parts: Mapping[str, Mapping[str, DaySummary]]) -> None:
    """Write parts of the index, and the pages and lists that depend on them."""
    part_by_name = {part["name"]: part for part in _read_parts(site)}
    for name, days in parts.items():
        newest_first = sorted(days.values(), key=day_sort_key, reverse=True)
        if not newest_first:
            continue
        site.write_checked_json(f"index/{name}.json", {"part": name, "days": newest_first})
        site.write_checked(f"index/{name}.js", _build_search_script(name, newest_first))
        part_by_name[name] = {
            "name": name,
            "days": len(newest_first),
            "picks": sum(len(day["picks"]) for day in newest_first),
            "spikes": sum(bool(day["spikes"]) for day in newest_first),
            "newest": {field: newest_first[0][field] for field in ("day", "sol", "title")},
            "oldest": {field: newest_first[-1][field] for field in ("day", "sol", "title")},
        }
    all_parts = sorted(part_by_name.values(), key=lambda part: day_sort_key(part["newest"]), reverse=True)
    site.write_checked_json("days.json", {"parts": all_parts, "days": sum(part["days"] for part in all_parts)})
    names = json.dumps([part["name"] for part in all_parts])
    site.write_checked("index/parts.js", f"const interpdiscParts = {names};\n".encode())
    site.write_checked("index.js", get_template_environment().get_template("index.js.j2").render().encode())
    for name, days in parts.items():
        if days:
            newest_first = sorted(days.values(), key=day_sort_key, reverse=True)
            site.write_checked(f"index/{name}.html", _render_index_page(newest_first, [part_by_name[name]], name))
    site.write_checked("index.html", _render_index_page(_newest_days(site, all_parts, parts), all_parts, ""))


def _read_parts(site: Location) -> list[dict[str, Any]]:
    try:
        with name_damage(f"{site.url}/days.json"):
            parts: list[dict[str, Any]] = site.read_checked_json("days.json")["parts"]
    except FileNotFoundError:
        return []
    return parts


def _newest_days(
    site: Location, parts: list[dict[str, Any]], changed_parts: Mapping[str, Mapping[str, DaySummary]]
) -> list[DaySummary]:
    newest: list[DaySummary] = []
    for part in parts:
        if len(newest) >= MAX_NEWEST_DAYS:
            break
        days = changed_parts.get(part["name"]) or read_index_part(site, part["name"])
        newest += sorted(days.values(), key=day_sort_key, reverse=True)
    return newest[:MAX_NEWEST_DAYS]


def _render_index_page(days: list[DaySummary], parts: list[dict[str, Any]], part: str) -> bytes:
    """A page of the index.

    Args:
        days: To show, newest first.
        parts: Of the whole index for the first page, else the one part.
        part: Name of the part that the page shows; empty for the first page.
    """
    page = (
        get_template_environment()
        .get_template("index.html.j2")
        .render(
            days=days,
            parts=parts,
            part=part,
            up="../" if part else "",
            phrases=phrases,
            max_thumbs=_THUMBS_PER_DAY,
            titles=_part_titles(parts),
            mission=next((day["mission"] for day in days if day["mission"]), ""),
            total=sum(entry["days"] for entry in parts),
            picks=sum(entry["picks"] for entry in parts),
            max_images=max((day["images"] for day in days), default=0),
        )
    )
    return page.encode("utf-8", "backslashreplace")


def _part_titles(parts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The titles of parts: their first and last day."""
    return {
        part["name"]: part["oldest"]["title"]
        if part["oldest"]["day"] == part["newest"]["day"]
        else f"{part['oldest']['title']} to {part['newest']['title'].replace('Sol', 'sol')}"
        for part in parts
    }


def _build_search_script(part: str, days: list[DaySummary]) -> bytes:
    """What the search needs of a part's days, as a call of a function of `index.js`; ASCII without `<`."""
    day_rows = [
        [
            day["day"],
            escape_invisible(day["title"]),
            "novelty spike" if day["spikes"] else "",
            bool(day["withdrawn"]),
            [
                [
                    pick["rank"],
                    *(escape_invisible(pick[name]) for name in ("id", "instrument", "label", "text")),
                    pick["key"] if pick["thumb"] else "",
                ]
                for pick in day["picks"]
            ],
        ]
        for day in days
    ]
    text = json.dumps([part, day_rows], ensure_ascii=True, separators=(",", ":"))
    return f"interpdiscDays({text.replace('<', chr(92) + 'u003c')});\n".encode()
