"""The catalog's images by day.

A day is a sol, `sol-00812`. An image of which no sol is known belongs to the day on which it was received,
`date-2026-11-24`, and one of which not even that is known to `undated`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from interpdisc_core import catalog, digest, metadata
from interpdisc_core.catalog import Entry
from interpdisc_core.ingest import looked_at
from interpdisc_core.memory import canonical
from interpdisc_core.metadata import Told
from interpdisc_core.observations import Sight
from interpdisc_core.storage import Place

UNDATED = "undated"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_AGAIN = re.compile(r"@[0-9a-f]{8}(?=#xywh=|$)")
"""What is added to the id of an image that a feed sent again with another content."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a day: its entry in the catalog, and what is known of it."""

    entry: Entry
    told: Told

    @property
    def name(self) -> str:
        """Its id, whether it was the first content of that id to come or not."""
        return _AGAIN.sub("", self.entry.id)

    @property
    def sight(self) -> Sight:
        """It, as observations are grouped by."""
        return Sight(self.entry.key, self.told, self.entry.width, self.entry.height)

    @property
    def address(self) -> str:
        """The address by which its pixels are read."""
        return looked_at(self.entry)

    @property
    def place(self) -> tuple[int, int]:
        """(batch, row) of its features."""
        return self.entry.batch, self.entry.row

    @property
    def readable(self) -> bool:
        """Whether it is an image, as far as is known."""
        return self.entry.row >= 0

    def columns(self) -> dict[str, object]:
        """Its fields for expressions."""
        record, header = json.loads(self.entry.record), json.loads(self.entry.header)
        return metadata.columns(self.entry.id, record, header, self.told) | {"radiometry": self.entry.radiometry}


def item_of(entry: Entry) -> Item:
    """An entry with what its records say."""
    return Item(entry, metadata.told(entry.id, json.loads(entry.record), json.loads(entry.header)))


def day_of(told: Told) -> str:
    """The day that an image belongs to."""
    if told.sol is not None:
        return f"sol-{told.sol:05d}"
    found = _DATE.match(told.received) or _DATE.match(told.taken)
    return f"date-{found[0]}" if found else UNDATED


def sol_of(day: str) -> int | None:
    """The sol that a day is, or None."""
    return int(day.removeprefix("sol-")) if day.startswith("sol-") else None


def by_day(latest: Mapping[str, Entry]) -> dict[str, list[Item]]:
    """The images of each day of a catalog (latest entry by key), days in order; of each day by name and content.

    Those that are `ready`, and those that are the same content as another, with its place: whether the other came
    first says nothing about this day, in which each content is there once. Besides, those that are `quarantined` for
    what is in them, since a day's page shows them.
    """
    days: dict[str, list[Item]] = {}
    for entry in latest.values():
        if entry.status == "duplicate-of":
            original = latest.get(entry.why, entry)
            entry = replace(entry, batch=original.batch, row=original.row)
            if entry.row < 0:
                continue
        elif entry.status == "quarantined":
            if entry.access:
                continue
        elif entry.status != "ready":
            continue
        item = item_of(entry)
        days.setdefault(day_of(item.told), []).append(item)
    for day, items in days.items():
        items.sort(key=lambda item: (item.name, item.entry.sha256, item.entry.key))
        first = {item.entry.sha256 or item.entry.key: item for item in reversed(items)}
        days[day] = [item for item in items if first[item.entry.sha256 or item.entry.key] is item]
    return dict(sorted(days.items(), key=lambda pair: canonical(pair[0])))


def calendar(archive: Place) -> dict[str, list[Item]]:
    """The whole archive's images by day."""
    return by_day(catalog.load(archive))


def content(items: Iterable[Item], remembers: str) -> str:
    """Twelve hexadecimal digits that name what a day consists of. remembers: `Daily.remembers`."""
    told = [[item.name, item.entry.sha256, item.entry.status == "quarantined"] for item in items]
    return digest.of_json([remembers, told])
