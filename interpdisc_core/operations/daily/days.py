"""The catalog's images by day, and a day's strata.

A day is a sol, `sol-00812`. An image without a known sol belongs to the day on which it was received,
`date-2026-11-24`; one without a known date to `undated`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from interpdisc_core import digest
from interpdisc_core.archive import catalog
from interpdisc_core.archive.catalog import CatalogEntry, pixel_uri
from interpdisc_core.archive.memory import canonical_sort_key
from interpdisc_core.images.artefacts import match_rules
from interpdisc_core.metadata.image_metadata import ImageMetadata, flatten_metadata, parse_metadata
from interpdisc_core.metadata.observations import ObservedImage
from interpdisc_core.operations.daily.settings import Daily, is_field_name
from interpdisc_core.storage.location import Location

UNDATED = "undated"
ALL_IMAGES = "all"
"""The stratum of all images. Images of other radiometry are in it after the transform that the day's page states."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_RESENT_SUFFIX = re.compile(r"@[0-9a-f]{8}(?=#xywh=|$)")
"""Suffix of the id of an image that a feed sent again with other content."""
_STRATUM_KEY = re.compile(r" @[0-9a-f]{12}$")


@dataclass(frozen=True, slots=True)
class DayImage:
    """One image of a day: its entry in the catalog, and its metadata."""

    entry: CatalogEntry
    metadata: ImageMetadata

    @property
    def name(self) -> str:
        """Its id without the suffix of an image that was sent again."""
        return _RESENT_SUFFIX.sub("", self.entry.id)

    @property
    def observed_image(self) -> ObservedImage:
        """The image in the form in which observations are grouped."""
        return ObservedImage(self.entry.key, self.metadata, self.entry.width, self.entry.height)

    @property
    def pixel_uri(self) -> str:
        """The address of its pixels."""
        return pixel_uri(self.entry)

    @property
    def position(self) -> tuple[int, int]:
        """(batch, row) of its features."""
        return self.entry.batch, self.entry.row

    @property
    def is_readable(self) -> bool:
        """Whether it has a row among the features: False if it could not be decoded."""
        return self.entry.row >= 0

    def to_columns(self) -> dict[str, object]:
        """Its fields, as expressions name them."""
        record, header = json.loads(self.entry.record), json.loads(self.entry.header)
        columns: dict[str, object] = flatten_metadata(self.entry.id, record, header, self.metadata)
        return columns | {"radiometry": self.entry.radiometry}


def build_day_image(entry: CatalogEntry) -> DayImage:
    """An entry of the catalog with the metadata from its records."""
    return DayImage(entry, parse_metadata(entry.id, json.loads(entry.record), json.loads(entry.header)))


def derive_day(image_metadata: ImageMetadata) -> str:
    """The name of the day that an image belongs to."""
    if image_metadata.sol is not None:
        return f"sol-{image_metadata.sol:05d}"
    match = _DATE.match(image_metadata.received) or _DATE.match(image_metadata.taken)
    return f"date-{match[0]}" if match else UNDATED


def parse_day_sol(day: str) -> int | None:
    """The sol in the name of a day; None if it has none."""
    return int(day.removeprefix("sol-")) if day.startswith("sol-") else None


def group_by_day(entries: Mapping[str, CatalogEntry]) -> dict[str, list[DayImage]]:
    """The images of each day, days in order, images by name and content.

    These are the `ready` inputs, the `quarantined` ones whose content is at fault (a day's page lists them), and
    duplicates at the position of the image that they duplicate: which of the two came first must not change a day.
    Each content is in a day once.

    Args:
        entries: The latest entry by key, as `catalog.load_entries` returns them.
    """
    days: dict[str, list[DayImage]] = {}
    for entry in entries.values():
        if entry.status == "duplicate-of":
            original = entries.get(entry.reason, entry)
            if original.row < 0:
                continue
            entry = replace(entry, batch=original.batch, row=original.row)
        elif entry.status != "ready" and (entry.status != "quarantined" or entry.retryable):
            continue
        item = build_day_image(entry)
        days.setdefault(derive_day(item.metadata), []).append(item)
    for day, items in days.items():
        items.sort(key=lambda item: (item.name, item.entry.sha256, item.entry.key))
        first_by_content = {item.entry.sha256 or item.entry.key: item for item in reversed(items)}
        days[day] = [item for item in items if first_by_content[item.entry.sha256 or item.entry.key] is item]
    return dict(sorted(days.items(), key=lambda pair: canonical_sort_key(pair[0])))


def load_days(archive: Location) -> dict[str, list[DayImage]]:
    """All images of an archive by day, see `group_by_day`."""
    return group_by_day(catalog.load_entries(archive))


def list_contents(items: Iterable[DayImage]) -> list[list[str]]:
    """[name, SHA-256] of each image: what runs and memory records are named by. Order matters."""
    return [[item.name, item.entry.sha256] for item in items]


def digest_day_images(items: Iterable[DayImage], memory_digest: str) -> str:
    """Twelve hexadecimal digits that name the images of a day.

    Args:
        items: The day's images, in order.
        memory_digest: `Daily.memory_digest` of the settings that its records are made with.
    """
    contents = [[item.name, item.entry.sha256, item.entry.status == "quarantined"] for item in items]
    return digest.digest_json([memory_digest, contents])


def split_strata(settings: Daily, items: Sequence[DayImage]) -> dict[str, list[DayImage]]:
    """The images of each stratum, by its name: `all` first, then the strata of the settings by name; none is empty.

    The stratum of a field's value is called `instrument=MAST_LEFT`, that of an expression as the expression. If strata
    are split by radiometry, it follows in brackets.
    """
    if not items:
        return {}
    columns = tabulate_fields(items)
    items_by_stratum: dict[str, list[DayImage]] = {}
    for stratum in settings.strata:
        for item, name in zip(items, _stratum_names(stratum, columns, len(items)), strict=True):
            if name is not None:
                suffix = f" [{item.entry.radiometry or 'unknown'}]" if settings.split_by_radiometry else ""
                items_by_stratum.setdefault(name + suffix, []).append(item)
    return {ALL_IMAGES: list(items), **dict(sorted(items_by_stratum.items()))}


def tabulate_fields(items: Sequence[DayImage]) -> dict[str, list[object]]:
    """The fields of images as columns (N,), None where an image lacks a field."""
    rows = [item.to_columns() for item in items]
    return {name: [row.get(name) for row in rows] for name in sorted({name for row in rows for name in row})}


def _stratum_names(stratum: str, columns: Mapping[str, Sequence[object]], count: int) -> list[str | None]:
    """The stratum of each image by one entry of `Daily.strata`, or None."""
    if is_field_name(stratum):
        values = columns.get(stratum, [None] * count)
        return [None if value in (None, "") else f"{stratum}={value}" for value in values]
    return [stratum if names else None for names in match_rules(columns, {stratum: stratum})]


def stratum_key(stratum: str, memory_digest: str) -> str:
    """The name of a stratum in the archive's memory. Records made by other settings have another one.

    Args:
        stratum: Its name for people.
        memory_digest: `Daily.memory_digest`, or that of a commit.
    """
    return f"{stratum} @{memory_digest}"


def is_daily_stratum_key(name: str) -> bool:
    """Whether daily runs made a stratum of the archive's memory."""
    return _STRATUM_KEY.search(name) is not None
