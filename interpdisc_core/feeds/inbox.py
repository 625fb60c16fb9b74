"""What a feed brought, kept in the archive: records word for word, images by content, nothing overwritten.

    inbox/<feed>/records/<day received>/<time>-<id>-<arrival>-<record>.json    one record, and what was fetched for it
                                        sealed-<digest>.jsonl.gz               many of them, once a day has many
    inbox/<feed>/images/<sol>/<id>-<sha256>.jpg                                one content
    inbox/<feed>/outstanding/<id>-<arrival>-<record>.json                      could not be fetched yet: tries, why
    inbox/<feed>/partial/<id>-<arrival>                                        the beginning of a download
    inbox/<feed>/cursor.json                                                   how far polls came; written last

A record is written after its image, so a process may be killed at any time. Writing again writes the same names.
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
from interpdisc_core.feeds.arrivals import Arrival, Record
from interpdisc_core.storage import Place

FORMAT = 1
SEAL = 256
"""From this many files on, a day's records are put into one: an object store is slow with small files."""
_READERS = 16
_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".img", ".vic", ".gif", ".webp", ".bmp", ".jp2", ".fits")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image as it was taken in. name: in the inbox; at: when, ISO 8601; url: from where; etag: as the server said."""

    name: str
    sha256: str
    size: int
    etag: str
    url: str
    at: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A record and what was fetched for it. file: its own name. received: ISO 8601, or empty."""

    file: str
    id: str
    record: Record
    received: str
    image: Fetched


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A record whose image could not be fetched yet. tries: in how many polls; why: the last reason."""

    file: str
    record: Record
    tries: int
    why: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far polls came. settings: of the feed, by digest. received: the newest that a whole poll saw, ISO 8601.

    began, brought: when the first poll was, and the last that brought something; ISO 8601.
    """

    settings: str
    received: str
    began: str
    brought: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """The part of `place` (an archive's `inbox`) that belongs to the feed of this name."""

    place: Place
    feed: str

    def days(self) -> list[str]:
        """The days that have records."""
        return self.place.names(f"{self.feed}/records")

    def known(self, day: str) -> set[str]:
        """The names of a day's records."""
        names = self.place.names(f"{self.feed}/records/{day}")
        sealed = {str(item["file"]) for name in names if _is_sealed(name) for item in self._lines(day, name)}
        return sealed | {name for name in names if not _is_sealed(name)}

    def keep(self, arrival: Arrival, image: Fetched) -> str:
        """Write down that this record came, with this image; returns the record's name."""
        name = record_name(arrival)
        received = arrival.received.isoformat() if arrival.received else ""
        self._write_json(f"records/{arrival.day}/{name}", {
            "format": FORMAT, "file": name, "id": arrival.name, "received": received, "record": arrival.record,
            "image": {"name": image.name, "sha256": image.sha256, "size": image.size, "etag": image.etag,
                      "url": image.url, "at": image.at},
        })  # fmt: skip
        return name

    def of_day(self, day: str) -> list[Kept]:
        """A day's records, by name."""
        return [_kept(item, f"{self.place.url}/{self.feed}/records/{day}") for item in self._items(day)]

    def everything(self) -> Iterator[Kept]:
        """All records, by day."""
        for day in self.days():
            yield from self.of_day(day)

    def _items(self, day: str) -> list[dict[str, Any]]:
        try:
            return self._items_now(day)
        except FileNotFoundError:  # a poll has just put them into one file
            return self._items_now(day)

    def _items_now(self, day: str) -> list[dict[str, Any]]:
        names = self.place.names(f"{self.feed}/records/{day}")
        found = {item["file"]: item for name in names if _is_sealed(name) for item in self._lines(day, name)}
        loose = [name for name in names if not _is_sealed(name) and name not in found]
        with ThreadPoolExecutor(_READERS) as pool:
            read = pool.map(self.place.read_json, (f"{self.feed}/records/{day}/{name}" for name in loose))
            found |= zip(loose, read, strict=True)
        return [found[name] for name in sorted(found)]

    def _lines(self, day: str, name: str) -> list[dict[str, Any]]:
        where = f"{self.feed}/records/{day}/{name}"
        try:
            return [json.loads(line) for line in gzip.decompress(self.place.read(where)).splitlines()]
        except (ValueError, EOFError, gzip.BadGzipFile) as error:
            raise StoreError(f"{self.place.url}/{where} is damaged: {error}.") from error

    def seal(self, day: str, least: int = SEAL) -> None:
        """Put a day's records into one file, where there are at least so many loose ones."""
        folder = f"{self.feed}/records/{day}"
        names = self.place.names(folder)
        if sum(not _is_sealed(name) for name in names) < least:
            return
        lines = [json.dumps(item, sort_keys=True, separators=(",", ":")).encode() for item in self._items(day)]
        data = gzip.compress(b"\n".join(lines), mtime=0)
        sealed = f"sealed-{digest.of_bytes(data)[:12]}.jsonl.gz"
        self.place.write(f"{folder}/{sealed}", data)
        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(self.place.remove, (f"{folder}/{name}" for name in names if name != sealed)))

    def contents(self, sol: int | None) -> list[str]:
        """The names of a sol's images."""
        return self.place.names(f"{self.feed}/images/{sol_folder(sol)}")

    def take(self, arrival: Arrival, data: bytes, sha256: str, etag: str, at: str) -> Fetched:
        """Put an image where its content belongs."""
        where = f"{self.feed}/images/{sol_folder(arrival.sol)}/{image_name(arrival, data, sha256)}"
        if not self.place.exists(where):
            self.place.write(where, data)
        return Fetched(where, sha256, len(data), etag, arrival.url, at)

    def partial(self, arrival: Arrival) -> str:
        """Where the beginning of a download is kept."""
        return f"{self.feed}/partial/{arrival.name}-{arrival.key}"

    def partials(self) -> set[str]:
        """The downloads that have begun."""
        return {f"{self.feed}/partial/{name}" for name in self.place.names(f"{self.feed}/partial")}

    def outstanding_names(self) -> list[str]:
        """The files of what could not be fetched yet."""
        return self.place.names(f"{self.feed}/outstanding")

    def outstanding(self) -> list[Outstanding]:
        """What could not be fetched yet, by file."""
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(partial(_outstanding, self), self.outstanding_names()))

    def put_off(self, arrival: Arrival, why: str, tries: int, at: str) -> None:
        """Write down that an image could not be fetched, in so many polls by now."""
        value = {"format": FORMAT, "record": arrival.record, "tries": tries, "why": why, "last": at}
        self._write_json(f"outstanding/{outstanding_name(arrival)}", value)

    def settled(self, file: str) -> None:
        """An image is not outstanding any more."""
        self.place.remove(f"{self.feed}/outstanding/{file}")

    def cursor(self) -> Cursor | None:
        """How far polls came; None before the first was whole."""
        if not self.place.exists(f"{self.feed}/cursor.json"):
            return None
        said = self.place.read_json(f"{self.feed}/cursor.json")
        try:
            return Cursor(*(str(said[name]) for name in ("settings", "received", "began", "brought")))
        except (KeyError, TypeError):
            raise StoreError(
                f"{self.place.url}/{self.feed}/cursor.json is damaged; remove it, and the next poll looks at all pages."
            ) from None

    def move(self, cursor: Cursor) -> None:
        """Write how far this poll came."""
        names = ("settings", "received", "began", "brought")
        self._write_json("cursor.json", {"format": FORMAT} | {name: getattr(cursor, name) for name in names})

    def _write_json(self, name: str, value: Any) -> None:
        # ASCII: a feed's text may hold halves of characters, which no file can.
        self.place.write(f"{self.feed}/{name}", json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def record_name(arrival: Arrival) -> str:
    """The name of a record's file."""
    return f"{arrival_name(arrival)}-{arrival.digest}.json"


def arrival_name(arrival: Arrival) -> str:
    """What the names of all records of one arrival begin with."""
    return f"{arrival.stamp}-{arrival.name}-{arrival.key}"


def outstanding_name(arrival: Arrival) -> str:
    """The name of the file that says why an image is outstanding."""
    return f"{arrival.name}-{arrival.key}-{arrival.digest}.json"


def sol_folder(sol: int | None) -> str:
    """A sol as a folder's name."""
    return "unknown" if sol is None else f"{sol:05d}"


def image_name(arrival: Arrival, data: bytes, sha256: str) -> str:
    """The name of an image by its id, its content and what it is."""
    magic = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"II*\0": ".tif", b"MM\0*": ".tif", b"LBLSIZE": ".img"}
    kind = next((suffix for start, suffix in magic.items() if data.startswith(start)), "")
    if not kind:
        end = re.search(r"\.[a-z0-9]{1,5}$", urlsplit(arrival.url).path.lower())
        kind = end[0] if end and end[0] in _SUFFIXES else ".bin"
    return f"{arrival.name}-{sha256[:12]}{kind}"


def _is_sealed(name: str) -> bool:
    return name.startswith("sealed-")


def _kept(item: dict[str, Any], where: str) -> Kept:
    try:
        return Kept(item["file"], item["id"], item["record"], item["received"], Fetched(**item["image"]))
    except (KeyError, TypeError) as error:
        raise StoreError(f"{where} holds a record that is damaged: {error}.") from error


def _outstanding(inbox: Inbox, name: str) -> Outstanding:
    item = inbox.place.read_json(f"{inbox.feed}/outstanding/{name}")
    return Outstanding(name, item["record"], int(item["tries"]), str(item["why"]))
