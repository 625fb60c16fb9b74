"""The inbox on disk: what polls of a feed fetched. Records are kept verbatim, images by content; nothing is overwritten.

    inbox/<feed>/records/<day received>/<time>-<id>-<arrival>-<record>.json    one record, and its image
                                        sealed-<digest>.jsonl.gz               the records of a day that has many
    inbox/<feed>/images/<sol>/<id>-<sha256>.jpg                                one content
    inbox/<feed>/outstanding/<id>-<arrival>-<record>.json                      not fetched yet: tries, reason
    inbox/<feed>/partial/<id>-<arrival>                                        the beginning of a download
    inbox/<feed>/cursor.json                                                   how far polls read; written last

A record is written after its image, so a process may be killed at any time. Repeating a write uses the same names.
"""

import gzip
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from interpdisc_core import digest
from interpdisc_core.errors import StoreError
from interpdisc_core.sources.feeds.record import ArrivalRecord, RawRecord
from interpdisc_core.storage.location import Location

INBOX_FORMAT = 1
_CURSOR_FIELDS = {"settings": "settings", "received": "received", "began": "first_poll_at", "brought": "last_new_at"}
"""Keys in `cursor.json` and their fields of a `PollCursor`, in order."""
MIN_RECORDS_TO_SEAL = 256
"""A day with this many records gets one file for all of them: object stores are slow with small files."""
_READERS = 16
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".img", ".vic", ".gif", ".webp", ".bmp", ".jp2", ".fits")


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """A fetched image: `name` in the inbox, `url` and time (`at`, ISO 8601) of the download, `etag` as the server sent it."""

    name: str
    sha256: str
    size: int
    etag: str
    url: str
    at: str


@dataclass(frozen=True, slots=True)
class InboxRecord:
    """A record and its image. `file` is its own name, `received` ISO 8601 or empty."""

    file: str
    id: str
    record: RawRecord
    received: str
    image: FetchedImage


@dataclass(frozen=True, slots=True)
class OutstandingRecord:
    """A record whose image was not fetched yet: in how many polls it was tried, and why the last one failed."""

    file: str
    record: RawRecord
    tries: int
    reason: str


@dataclass(frozen=True, slots=True)
class PollCursor:
    """How far polls read. Times are ISO 8601.

    Args:
        settings: The feed's `query_digest`.
        received: Newest reception time in a complete poll.
        first_poll_at: Start of the first poll.
        last_new_at: Start of the last poll that fetched an image.
    """

    settings: str
    received: str
    first_poll_at: str
    last_new_at: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """The part of `location` (an archive's `inbox`) that belongs to the feed of this name."""

    location: Location
    feed: str

    def list_days(self) -> list[str]:
        """The days that have records."""
        return self.location.list_names(f"{self.feed}/records")

    def list_record_names(self, day: str) -> set[str]:
        """The file names of a day's records, also of those in one file."""
        names = self.location.list_names(f"{self.feed}/records/{day}")
        sealed_names = {
            str(item["file"]) for name in names if _is_sealed(name) for item in self._read_sealed(day, name)
        }
        return sealed_names | {name for name in names if not _is_sealed(name)}

    def write_record(self, arrival: ArrivalRecord, image: FetchedImage) -> str:
        """Write a record and its image's name; returns the record's file name."""
        name = record_name(arrival)
        received = arrival.received.isoformat() if arrival.received else ""
        self._write_json(
            f"records/{arrival.received_day}/{name}",
            {
                "format": INBOX_FORMAT,
                "file": name,
                "id": arrival.name,
                "received": received,
                "record": arrival.record,
                "image": {
                    "name": image.name,
                    "sha256": image.sha256,
                    "size": image.size,
                    "etag": image.etag,
                    "url": image.url,
                    "at": image.at,
                },
            },
        )
        return name

    def read_day(self, day: str) -> list[InboxRecord]:
        """A day's records, sorted by file name."""
        return [
            _parse_inbox_record(item, f"{self.location.url}/{self.feed}/records/{day}")
            for item in self._read_items(day)
        ]

    def iter_records(self) -> Iterator[InboxRecord]:
        """All records, by day."""
        for day in self.list_days():
            yield from self.read_day(day)

    def _read_items(self, day: str) -> list[dict[str, Any]]:
        try:
            return self._read_items_once(day)
        except FileNotFoundError:  # a poll has just moved them into one file
            return self._read_items_once(day)

    def _read_items_once(self, day: str) -> list[dict[str, Any]]:
        names = self.location.list_checked_names(f"{self.feed}/records/{day}")
        items = {item["file"]: item for name in names if _is_sealed(name) for item in self._read_sealed(day, name)}
        loose_names = [name for name in names if not _is_sealed(name) and name not in items]
        with ThreadPoolExecutor(_READERS) as pool:
            loose_items = pool.map(
                self.location.read_checked_json, (f"{self.feed}/records/{day}/{name}" for name in loose_names)
            )
            items |= zip(loose_names, loose_items, strict=True)
        return [items[name] for name in sorted(items)]

    def _read_sealed(self, day: str, name: str) -> list[dict[str, Any]]:
        path = f"{self.feed}/records/{day}/{name}"
        try:
            return [json.loads(line) for line in gzip.decompress(self.location.read_checked(path)).splitlines()]
        except (ValueError, EOFError, gzip.BadGzipFile) as error:
            raise StoreError(f"{self.location.url}/{path} is damaged: {error}.") from error

    def seal(self, day: str, min_records: int = MIN_RECORDS_TO_SEAL) -> None:
        """Move a day's records into one file, if at least `min_records` have files of their own."""
        folder = f"{self.feed}/records/{day}"
        names = self.location.list_names(folder)
        if sum(not _is_sealed(name) for name in names) < min_records:
            return
        lines = [json.dumps(item, sort_keys=True, separators=(",", ":")).encode() for item in self._read_items(day)]
        data = gzip.compress(b"\n".join(lines), mtime=0)
        sealed_name = f"sealed-{digest.digest_bytes(data)[:12]}.jsonl.gz"
        self.location.write_checked(f"{folder}/{sealed_name}", data)
        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(self.location.remove, (f"{folder}/{name}" for name in names if name != sealed_name)))

    def forget_image(self, name: str) -> None:
        """Remove the records of an image that is damaged or lost, so that a poll fetches it again.

        name: Of the image, as in its records.
        """
        for day in self.list_days():
            try:
                items = self._read_items(day)
            except StoreError:
                continue
            if not any(item["image"]["name"] == name for item in items):
                continue
            folder = f"{self.feed}/records/{day}"
            old_names = self.location.list_names(folder)
            for item in items:
                if item["image"]["name"] != name:
                    self._write_json(f"records/{day}/{item['file']}", item)
            kept_names = {item["file"] for item in items if item["image"]["name"] != name}
            for old_name in old_names:
                if old_name not in kept_names:
                    self.location.remove(f"{folder}/{old_name}")

    def list_image_names(self, sol: int | None) -> list[str]:
        """The names of a sol's images."""
        return self.location.list_names(f"{self.feed}/images/{sol_folder(sol)}")

    def write_image(self, arrival: ArrivalRecord, data: bytes, sha256: str, etag: str, fetched_at: str) -> FetchedImage:
        """Write an image under the name of its content, unless it exists."""
        path = f"{self.feed}/images/{sol_folder(arrival.sol)}/{image_name(arrival, data, sha256)}"
        if not self.location.exists(path):
            self.location.write(path, data)
        return FetchedImage(path, sha256, len(data), etag, arrival.url, fetched_at)

    def partial_path(self, arrival: ArrivalRecord) -> str:
        """The name of the beginning of a download."""
        return f"{self.feed}/partial/{arrival.name}-{arrival.key}"

    def list_partial_paths(self) -> set[str]:
        """The names of all beginnings of downloads."""
        return {f"{self.feed}/partial/{name}" for name in self.location.list_names(f"{self.feed}/partial")}

    def list_outstanding_names(self) -> list[str]:
        """The file names of outstanding records."""
        return self.location.list_names(f"{self.feed}/outstanding")

    def read_outstanding(self) -> list[OutstandingRecord]:
        """The outstanding records, sorted by file name."""
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(partial(_read_outstanding_file, self), self.list_outstanding_names()))

    def defer(self, arrival: ArrivalRecord, reason: str, tries: int, last_tried_at: str) -> None:
        """Write that an image could not be fetched in `tries` polls so far."""
        value = {"format": INBOX_FORMAT, "record": arrival.record, "tries": tries, "why": reason, "last": last_tried_at}
        self._write_json(f"outstanding/{outstanding_name(arrival)}", value)

    def remove_outstanding(self, file: str) -> None:
        """Remove an outstanding record."""
        self.location.remove(f"{self.feed}/outstanding/{file}")

    def read_cursor(self) -> PollCursor | None:
        """How far polls read; None before the first complete poll."""
        if not self.location.exists(f"{self.feed}/cursor.json"):
            return None
        payload = self.location.read_checked_json(f"{self.feed}/cursor.json")
        try:
            return PollCursor(*(str(payload[name]) for name in _CURSOR_FIELDS))
        except (KeyError, TypeError):
            raise StoreError(
                f"{self.location.url}/{self.feed}/cursor.json is damaged; remove it, and the next poll reads all pages again."
            ) from None

    def write_cursor(self, cursor: PollCursor) -> None:
        """Write how far polls read."""
        payload = {name: getattr(cursor, field) for name, field in _CURSOR_FIELDS.items()}
        self._write_json("cursor.json", {"format": INBOX_FORMAT} | payload)

    def _write_json(self, name: str, value: Any) -> None:
        # ASCII: a feed's text may hold lone surrogates, which cannot be written as UTF-8.
        self.location.write_checked(f"{self.feed}/{name}", json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def record_name(arrival: ArrivalRecord) -> str:
    """The file name of a record."""
    return f"{arrival_name(arrival)}-{arrival.digest}.json"


def arrival_name(arrival: ArrivalRecord) -> str:
    """The common beginning of the file names of one arrival's records."""
    return f"{arrival.received_stamp}-{arrival.name}-{arrival.key}"


def outstanding_name(arrival: ArrivalRecord) -> str:
    """The file name of an outstanding record."""
    return f"{arrival.name}-{arrival.key}-{arrival.digest}.json"


def sol_folder(sol: int | None) -> str:
    """The folder name of a sol."""
    return "unknown" if sol is None else f"{sol:05d}"


def image_name(arrival: ArrivalRecord, data: bytes, sha256: str) -> str:
    """The file name of an image: its id, the digest of its content, and a suffix by its content or URL."""
    magic = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"II*\0": ".tif", b"MM\0*": ".tif", b"LBLSIZE": ".img"}
    extension = next((suffix for start, suffix in magic.items() if data.startswith(start)), "")
    if not extension:
        suffix_match = re.search(r"\.[a-z0-9]{1,5}$", urlsplit(arrival.url).path.lower())
        extension = suffix_match[0] if suffix_match and suffix_match[0] in _IMAGE_SUFFIXES else ".bin"
    return f"{arrival.name}-{sha256[:12]}{extension}"


def _is_sealed(name: str) -> bool:
    return name.startswith("sealed-")


def _parse_inbox_record(item: dict[str, Any], context: str) -> InboxRecord:
    try:
        return InboxRecord(item["file"], item["id"], item["record"], item["received"], FetchedImage(**item["image"]))
    except (KeyError, TypeError) as error:
        raise StoreError(f"{context} holds a damaged record: {error}.") from error


def _read_outstanding_file(inbox: Inbox, name: str) -> OutstandingRecord:
    item = inbox.location.read_checked_json(f"{inbox.feed}/outstanding/{name}")
    return OutstandingRecord(name, item["record"], int(item["tries"]), str(item["why"]))
