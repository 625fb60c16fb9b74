"""What a feed's answer says: pages of records, and of each record the little that is needed to fetch its image.

Records are kept verbatim, whatever is in them. The view taken here never raises: a field may be missing, null, "UNK",
of another type, or spelled in another way than it was.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from interpdisc_core import digest

Record = dict[str, Any]
_UNKNOWN = ("", "unk", "null", "none", "n/a")
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. total: how many records the feed has, more: whether pages follow; None where it does not say."""

    records: tuple[Record, ...]
    total: int | None = None
    more: bool | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record as something to fetch. url: empty where there is none; received: when it came to the ground, UTC.

    name: the image's id, or one made of it that is safe in a path, on a terminal and in a page.
    key: names this arrival (id, time, address), digest: the record with all its fields; 8 hexadecimal digits each.
    """

    name: str
    sol: int | None
    received: datetime | None
    instrument: str
    url: str
    record: Record
    key: str
    digest: str

    @property
    def day(self) -> str:
        """The day of `received`, as a folder's name."""
        return self.received.strftime("%Y-%m-%d") if self.received else "undated"

    @property
    def stamp(self) -> str:
        """`received` to the second, as part of a file's name."""
        return self.received.strftime("%Y%m%dT%H%M%S") if self.received else "undated"


def arrival(record: Record, *, ids: tuple[str, ...], received: tuple[str, ...], instrument: str, url: str) -> Arrival:
    """The view of a record. ids, received: names of fields, the first that says something counts."""
    whole = of_record(record)
    imageid = next((text for name in ids if (text := said(record, name))), "") or f"unnamed-{whole}"
    when = [text for name in received if (text := said(record, name))]
    time = next((moment for text in when if (moment := moment_of(text))), None)
    key = digest.of_json([imageid, str(time), url])[:8]
    return Arrival(safe(imageid), sol_of(said(record, "sol")), time, instrument, url, record, key, whole)


def page_of(payload: Any, key: str) -> Page | None:
    """An answer's records: those under `key`, or the only list of records there is; None where there is none.

    An answer that says that there are no more images is an empty page.
    """
    if isinstance(payload, list):
        return Page(tuple(_record(item) for item in payload))
    if not isinstance(payload, dict):
        return None
    lists = [value for value in payload.values() if isinstance(value, list) and all(isinstance(i, dict) for i in value)]
    items = payload[key] if isinstance(payload.get(key), list) else lists[0] if len(lists) == 1 else None
    if items is None:
        empty = "no more" in json.dumps(payload)[:10_000].lower() or payload.get(key, "") is None
        return Page(()) if empty else None
    total = next(
        (n for name in ("total_images", "total_results", "total") if (n := whole_number(payload.get(name)))), None
    )
    more = payload.get("more")
    return Page(tuple(_record(item) for item in items), total, more if isinstance(more, bool) else None)


def _record(item: Any) -> Record:
    return item if isinstance(item, dict) else {"not a record": item}


def field_of(record: Mapping[str, Any], name: str) -> Any:
    """The value of a field, whichever way it is spelled: date_received, dateReceived, DATE-RECEIVED."""
    if name in record:
        return record[name]
    wanted = _plain(name)
    return next((value for key, value in record.items() if _plain(str(key)) == wanted), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def said(record: Mapping[str, Any], name: str) -> str:
    """A field as text; empty where it says nothing."""
    value = field_of(record, name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        text = str(value).strip()
    except ValueError:  # an integer of thousands of digits
        return ""
    return "" if text.lower() in _UNKNOWN else text


def whole_number(value: Any) -> int | None:
    """A count, also where it is written as text."""
    text = said({"n": value}, "n")
    return int(text) if re.fullmatch(r"\d{1,12}", text) else None


def sol_of(text: str) -> int | None:
    """A sol, 0 to 99999, or None."""
    found = re.fullmatch(r"0*(\d{1,5})(\.0*)?", text)
    return int(found[1]) if found else None


def moment_of(text: str) -> datetime | None:
    """A time in UTC, where that can be read and can be true."""
    plain = re.sub(r"\s*(UTC|Z)$", "+00:00", text.strip()[:40])
    try:
        moment = datetime.fromisoformat(plain)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 1970 <= moment.year < 2200 else None


def safe(imageid: str) -> str:
    """A name for an image id that can stand in a path; an id of the usual kind is its own."""
    if _SAFE.fullmatch(imageid):
        return imageid
    bare = re.sub(r"[^A-Za-z0-9_]+", "_", imageid[:400])[:60]
    return f"{bare}~{digest.of_bytes(imageid.encode('utf-8', 'surrogatepass'))[:8]}"


def of_record(record: Record) -> str:
    """Eight hexadecimal digits that name a record with all its fields."""
    return digest.of_json(record)[:8]


def fields_of(records: Iterable[Record]) -> set[str]:
    """The names of all fields, those of nested records with a dot before."""
    names: set[str] = set()
    for record in records:
        for key, value in record.items():
            names.add(str(key))
            if isinstance(value, dict):
                names.update(f"{key}.{inner}" for inner in value)
    return names


def of_cameras(arrival: Arrival, cameras: tuple[str, ...]) -> bool:
    """Whether an image is of one of these cameras, whatever their case; of none named, every image is."""
    return not cameras or arrival.instrument.lower() in {camera.lower() for camera in cameras}
