"""The index of days: pages that can be browsed and searched as plain files, in parts so that thousands of days stay light.

A part holds 250 sols, or a year of days that have no sol: `index/<part>.json` is what is known of its days,
`index/<part>.html` shows them, and `index/<part>.js` is what the search of every page loads; which parts there are, it
learns from `index/parts.js`. To which part a day belongs depends on the day alone, and a part's files on its days alone,
so it does not matter in which order days are published, and publishing one writes one part.
`days.json` lists the parts; `index.html` has the newest days.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from interpdisc_core.pages import environment, visible
from interpdisc_core.site import words
from interpdisc_core.site.day import Day, DayPick
from interpdisc_core.site.day_page import KEY
from interpdisc_core.storage import Place

SOLS = 250
"""Sols that a part holds."""
NEWEST = 60
"""Days on the first page."""
_FACES = 5
"""Thumbnails of a day."""
_TEXT = 160
"""Most characters of a pick's own words that are searched."""
_WORDS = ("title", "caption", "description", "target")
"""Fields of a record that are searched."""

Summary = dict[str, Any]
"""What the index knows of a day."""


def summary(day: Day, pictured: Iterable[str]) -> Summary:
    """What the index keeps of a day. pictured: keys of the picks that have a thumbnail."""
    there = set(pictured)
    return {
        "day": day.day, "sol": day.sol, "title": words.title(day.day, day.sol), "mission": day.mission,
        "revision": day.revision, "finished": day.finished, "images": day.images_now, "inputs": day.inputs,
        "rare": words.rare(day), "coverage": day.coverage, "late": day.late, "artefacts": len(day.artefacts),
        "quarantined": day.ledger.get("quarantined", 0), "spikes": [one.name for one in day.spikes],
        "instruments": day.instruments, "withdrawn": None,
        "picks": [
            {"rank": pick.rank, "id": pick.id, "key": pick.key, "instrument": pick.instrument, "label": pick.label or "",
             "observation": pick.observation, "text": _searched(pick),
             "thumb": f"days/{day.day}/thumbs/{pick.key}.jpg" if pick.key in there and KEY.fullmatch(pick.key) else ""}
            for pick in day.picks
        ],
    }  # fmt: skip


def _searched(pick: DayPick) -> str:
    """What a pick's record says in words, shortened; and where and how it was taken."""
    own = [str(pick.record[name]) for name in _WORDS if isinstance(pick.record.get(name), str)]
    taken = [pick.filter, pick.radiometry, *(f"{name} {at}" for name, at in (("site", pick.site), ("drive", pick.drive)) if at is not None)]  # fmt: skip
    return " ".join(part for part in (" ".join(own)[:_TEXT], *taken) if part)


def part_of(day: str, sol: int | None) -> str:
    """The part that a day belongs to."""
    if sol is not None and 0 <= sol < 10**9:
        return f"sols-{sol // SOLS * SOLS:06d}"
    found = re.match(r"date-(\d{4})-", day)
    return f"days-{found[1]}" if found else "other"


def order(one: Mapping[str, Any]) -> tuple[int, int, str]:
    """Days without a sol first, then by sol; a larger one is newer."""
    sol = one["sol"]
    return (0, 0, one["day"]) if sol is None else (1, sol, one["day"])


def read_part(site: Place, part: str) -> dict[str, Summary]:
    """The days of a part, by name."""
    try:
        return {one["day"]: one for one in site.read_json(f"index/{part}.json")["days"]}
    except FileNotFoundError:
        return {}


def put(site: Place, one: Summary) -> None:
    """Take a day into the index, or put it in place of what the index had of it."""
    part = part_of(one["day"], one["sol"])
    write(site, {part: read_part(site, part) | {one["day"]: one}})


def write(site: Place, parts: Mapping[str, Mapping[str, Summary]]) -> None:
    """Write these parts, and the pages and the list that depend on them."""
    listed = {one["name"]: one for one in _parts(site)}
    for part, days in parts.items():
        newest_first = sorted(days.values(), key=order, reverse=True)
        if not newest_first:
            continue
        site.write_json(f"index/{part}.json", {"part": part, "days": newest_first})
        site.write(f"index/{part}.js", _script(part, newest_first))
        listed[part] = {
            "name": part, "days": len(newest_first), "picks": sum(len(one["picks"]) for one in newest_first),
            "spikes": sum(bool(one["spikes"]) for one in newest_first),
            "newest": {name: newest_first[0][name] for name in ("day", "sol", "title")},
            "oldest": {name: newest_first[-1][name] for name in ("day", "sol", "title")},
        }  # fmt: skip
    every = sorted(listed.values(), key=lambda one: order(one["newest"]), reverse=True)
    site.write_json("days.json", {"parts": every, "days": sum(one["days"] for one in every)})
    site.write("index/parts.js", f"const interpdiscParts = {json.dumps([one['name'] for one in every])};\n".encode())
    site.write("index.js", environment().get_template("index.js.j2").render().encode())
    for part, days in parts.items():
        if days:
            own = [one for one in every if one["name"] == part]
            site.write(f"index/{part}.html", _page(sorted(days.values(), key=order, reverse=True), own, part))
    site.write("index.html", _page(_newest(site, every, parts), every, ""))


def _parts(site: Place) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = site.read_json("days.json")["parts"]
    except FileNotFoundError:
        return []
    return found


def _newest(
    site: Place, listed: list[dict[str, Any]], fresh: Mapping[str, Mapping[str, Summary]]
) -> list[Summary]:  # fmt: skip
    found: list[Summary] = []
    for part in listed:
        if len(found) >= NEWEST:
            break
        days = fresh.get(part["name"]) or read_part(site, part["name"])
        found += sorted(days.values(), key=order, reverse=True)
    return found[:NEWEST]


def _page(days: list[Summary], parts: list[dict[str, Any]], part: str) -> bytes:
    """A page of the index. part: whose it is, and then the only one it knows of; empty for the first page."""
    page = environment().get_template("index.html.j2").render(
        days=days, parts=parts, part=part, up="../" if part else "", words=words, faces=_FACES,
        titles=_titles(parts), mission=next((one["mission"] for one in days if one["mission"]), ""),
        total=sum(one["days"] for one in parts), picks=sum(one["picks"] for one in parts),
        most=max((one["images"] for one in days), default=0),
    )  # fmt: skip
    return page.encode("utf-8", "backslashreplace")


def _titles(parts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What each part is called: by its first and last day."""
    return {
        one["name"]: one["oldest"]["title"]
        if one["oldest"]["day"] == one["newest"]["day"]
        else f"{one['oldest']['title']} to {one['newest']['title'].replace('Sol', 'sol')}"
        for one in parts
    }


def _script(part: str, days: list[Summary]) -> bytes:
    """What a search needs of a part's days, as a call that the pages' script defines; only ASCII, and no `<`."""
    told = [
        [
            one["day"], visible(one["title"]), "novelty spike" if one["spikes"] else "", bool(one["withdrawn"]),
            [[pick["rank"], *(visible(pick[name]) for name in ("id", "instrument", "label", "text")), pick["key"] if pick["thumb"] else ""]
             for pick in one["picks"]],
        ]
        for one in days
    ]  # fmt: skip
    text = json.dumps([part, told], ensure_ascii=True, separators=(",", ":"))
    return f"interpdiscDays({text.replace('<', chr(92) + 'u003c')});\n".encode()
