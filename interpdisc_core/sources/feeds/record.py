"""Pages of records in a feed's answers, and of each record the parts that are needed to fetch its image.

Records are kept verbatim, whatever is in them. Reading one never raises: a field may be missing, null, "UNK", of
another type, or spelled differently.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from interpdisc_core import digest
from interpdisc_core.metadata.untrusted import MISSING_FEED_TEXTS, normalize_field_name, parse_iso_time

RawRecord = dict[str, Any]
_ID_FIELDS = ("imageid", "image_id", "id")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True)
class FeedPage:
    """One answer: its records; how many the feed has in all and whether pages follow, None if it does not say."""

    records: tuple[RawRecord, ...]
    total: int | None = None
    has_more: bool | None = None


@dataclass(frozen=True, slots=True)
class ArrivalRecord:
    """A record as something to fetch.

    Args:
        name: The image's id, changed if it is not safe in a path, on a terminal or in a page.
        sol: Martian day of the mission, 0 to 99999, or None.
        received: When it was received on the ground, in UTC, or None.
        instrument: As the feed names it, or empty.
        url: Of the image, or empty.
        record: As the feed sent it.
        key: Identifies this arrival (id, time, URL), 8 hexadecimal digits.
        digest: Of the record with all its fields, 8 hexadecimal digits.
    """

    name: str
    sol: int | None
    received: datetime | None
    instrument: str
    url: str
    record: RawRecord
    key: str
    digest: str

    @property
    def received_day(self) -> str:
        """The day of `received`, as a folder's name."""
        return self.received.strftime("%Y-%m-%d") if self.received else "undated"

    @property
    def received_stamp(self) -> str:
        """`received` to the second, as part of a file's name."""
        return self.received.strftime("%Y%m%dT%H%M%S") if self.received else "undated"


def parse_arrival(record: RawRecord, *, received_fields: tuple[str, ...], instrument: str, url: str) -> ArrivalRecord:
    """The parts of a record that are needed to fetch its image. Never raises.

    Args:
        record: As the feed sent it.
        received_fields: Names of fields with the time of reception; the first readable one counts.
        instrument: See `ArrivalRecord`.
        url: See `ArrivalRecord`.
    """
    record_digest = digest_record(record)
    image_id = (
        next((text for name in _ID_FIELDS if (text := text_field(record, name))), "") or f"unnamed-{record_digest}"
    )
    received_texts = [text for name in received_fields if (text := text_field(record, name))]
    received_at = next((time for text in received_texts if (time := parse_utc(text))), None)
    key = digest.digest_json([image_id, str(received_at), url])[:8]
    return ArrivalRecord(
        sanitize_id(image_id),
        parse_sol(text_field(record, "sol")),
        received_at,
        instrument,
        url,
        record,
        key,
        record_digest,
    )


def parse_feed_page(payload: Any, key: str) -> FeedPage | None:
    """The records of an answer.

    Args:
        payload: The answer, parsed JSON.
        key: The field of the records; if it has no list, the only field with a list of records is used.

    Returns:
        None if there is no list of records. An answer that says "no more images" is an empty page.
    """
    if isinstance(payload, list):
        return FeedPage(tuple(_as_record(item) for item in payload))
    if not isinstance(payload, dict):
        return None
    lists = [value for value in payload.values() if isinstance(value, list) and all(isinstance(i, dict) for i in value)]
    items = payload[key] if isinstance(payload.get(key), list) else lists[0] if len(lists) == 1 else None
    if items is None:
        empty = "no more" in json.dumps(payload)[:10_000].lower() or payload.get(key, "") is None
        return FeedPage(()) if empty else None
    total = next(
        (n for name in ("total_images", "total_results", "total") if (n := parse_count(payload.get(name)))), None
    )
    has_more = payload.get("more")
    return FeedPage(tuple(_as_record(item) for item in items), total, has_more if isinstance(has_more, bool) else None)


def _as_record(item: Any) -> RawRecord:
    return item if isinstance(item, dict) else {"not a record": item}


def get_field(record: Mapping[str, Any], name: str) -> Any:
    """The value of a field in any spelling: date_received, dateReceived, DATE-RECEIVED; None if it is missing."""
    if name in record:
        return record[name]
    plain_name = normalize_field_name(name)
    return next((value for key, value in record.items() if normalize_field_name(str(key)) == plain_name), None)


def text_field(record: Mapping[str, Any], name: str) -> str:
    """A field as text; empty if it is missing, null, "UNK" or not a text or number."""
    value = get_field(record, name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        text = str(value).strip()
    except ValueError:  # an integer of thousands of digits
        return ""
    return "" if text.lower() in MISSING_FEED_TEXTS else text


def parse_count(value: Any) -> int | None:
    """A count, which may be written as text; None if it is not one."""
    text = text_field({"n": value}, "n")
    return int(text) if re.fullmatch(r"\d{1,12}", text) else None


def parse_sol(text: str) -> int | None:
    """A sol, 0 to 99999; None if the text is not one."""
    match = re.fullmatch(r"0*(\d{1,5})(\.0*)?", text)
    return int(match[1]) if match else None


def parse_utc(text: str) -> datetime | None:
    """A time of the years 1970 to 2199 in UTC; None if the text is not one.

    Example:
        >>> str(parse_utc("2025-04-23 23:10:05+02:00"))
        '2025-04-23 21:10:05+00:00'
    """
    time = parse_iso_time(re.sub(r"\s*(UTC|Z)$", "+00:00", text.strip()[:40]))
    return time if time and 1970 <= time.year < 2200 else None


def sanitize_id(image_id: str) -> str:
    """A name for an image id that is safe in a path; an id of the usual kind is unchanged."""
    if _SAFE_NAME.fullmatch(image_id):
        return image_id
    stem = re.sub(r"[^A-Za-z0-9_]+", "_", image_id[:400])[:60]
    return f"{stem}~{digest.digest_bytes(image_id.encode('utf-8', 'surrogatepass'))[:8]}"


def digest_record(record: RawRecord) -> str:
    """The digest of a record with all its fields, 8 hexadecimal digits."""
    return digest.digest_json(record)[:8]


def collect_field_names(records: Iterable[RawRecord]) -> set[str]:
    """The names of all fields; names of nested fields have a dot."""
    names: set[str] = set()
    for record in records:
        for key, value in record.items():
            names.add(str(key))
            if isinstance(value, dict):
                names.update(f"{key}.{inner}" for inner in value)
    return names


def is_from_cameras(arrival: ArrivalRecord, cameras: tuple[str, ...]) -> bool:
    """Whether an image is of one of these cameras, in any case; every image is if `cameras` is empty."""
    return not cameras or arrival.instrument.lower() in {camera.lower() for camera in cameras}
