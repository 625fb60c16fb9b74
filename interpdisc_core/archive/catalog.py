"""The catalog: an append-only log of what happened to every input, in immutable Parquet files, called parts.

An event is a whole snapshot of one input, and the latest event of an input counts. So at any moment the number of inputs
is the sum over the statuses. Parts are ordered by name, `<sequence>-<step>.parquet`; parts with the same sequence number
are written in parallel by one step of a run and have events of different inputs. For the parts see
`interpdisc_core.archive.catalog_parts`.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from interpdisc_core import digest
from interpdisc_core.archive.catalog_parts import CATALOG_SCHEMA, iter_latest, next_sequence, read_latest
from interpdisc_core.archive.disk_names import CATALOG_COLUMNS, use_current_names
from interpdisc_core.errors import Unreadable
from interpdisc_core.images import radiometry
from interpdisc_core.images.uri_fragments import add_bayer_pattern
from interpdisc_core.provenance import utc_now
from interpdisc_core.sources import SourceEntry
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet

__all__ = [
    "CATALOG_SCHEMA",
    "ENTRY_STATUSES",
    "CatalogEntry",
    "compute_input_key",
    "count_entries_by_status",
    "find_entries",
    "iter_latest",
    "load_entries",
    "next_sequence",
    "read_latest",
    "write_part",
]

_SLICE_ROWS = 10_000

ENTRY_STATUSES = ("pending", "ready", "duplicate-of", "superseded-by", "quarantined", "outstanding", "skipped")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One event of an input.

    Attributes:
        key: Identifies the input by address and version (size, stamp), 16 hexadecimal digits.
        id: Its name for people.
        uri: Its address.
        size: In bytes.
        stamp: Time of modification or version, as the source gives it.
        status: One of `ENTRY_STATUSES`.
        reason: Why it is `quarantined`, `outstanding` or `skipped`; the key of the other input if it is `duplicate-of` or
            `superseded-by`.
        retryable: Another try may read it. It stays set while the input is `pending` for that try, with the reason why
            the last one failed.
        sha256: Of the content; like format, width, height and mode it is known once the input was read.
        format: The file format.
        width: In pixels, as `height`.
        mode: The kind of pixels, as Pillow names it.
        batch: Where its features are, once it is `ready`; -1 before, as `row`.
        record: The source's own record, verbatim JSON.
        header: What the file says of itself, JSON, once it was read.
        radiometry: The meaning of its values, by name, once it was read.
        at: When the event was written (UTC, ISO 8601).
    """

    key: str
    id: str
    uri: str
    size: int
    stamp: str
    status: str = "pending"
    reason: str = ""
    retryable: bool = False
    sha256: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    batch: int = -1
    row: int = -1
    record: str = "{}"
    header: str = "{}"
    radiometry: str = ""
    at: str = field(default="", compare=False)

    @classmethod
    def from_source_entry(cls, item: SourceEntry) -> "CatalogEntry":
        """The first event of a listed input: `pending`, or `skipped` with its reason."""
        return cls(
            key=compute_input_key(item),
            id=item.id,
            uri=item.uri,
            size=item.size,
            stamp=item.stamp,
            status="skipped" if item.skip_reason else "pending",
            reason=item.skip_reason,
            record=json.dumps(item.record, ensure_ascii=True, sort_keys=True),
        )

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "CatalogEntry":
        """The entry of a row with the columns of `CATALOG_SCHEMA`, by today's names or those of earlier versions."""
        return cls(**use_current_names(row, CATALOG_COLUMNS))

    @property
    def is_outstanding(self) -> bool:
        """Whether it could not be got at and is tried again when it is listed; version 0.1 quarantined these too."""
        return self.status == "outstanding" or (self.status == "quarantined" and self.retryable)

    @property
    def is_unread(self) -> bool:
        """Whether the last try could not get at it, and its run has not gone on without it."""
        return self.status == "pending" and self.retryable and bool(self.reason)

    def with_error(self, error: Unreadable, **facts: object) -> "CatalogEntry":
        """The next event of an input that could not be read: quarantined, or to be tried again. facts: other fields."""
        if not error.retryable:
            return self.with_status("quarantined", str(error), retryable=False, **facts)
        status = "outstanding" if self.is_outstanding else "pending"
        return self.with_status(status, str(error), retryable=True, **facts)

    def as_row(self) -> dict[str, Any]:
        """A row with the columns of `CATALOG_SCHEMA`."""
        return asdict(self)

    def with_status(self, status: str, reason: str = "", **facts: object) -> "CatalogEntry":
        """The next event of this input. facts: other fields that change.

        Raises:
            ValueError: If `status` is not in `ENTRY_STATUSES`.
        """
        if status not in ENTRY_STATUSES:
            raise ValueError(f"{status!r} is not a status; there are {', '.join(ENTRY_STATUSES)}")
        return replace(self, status=status, reason=reason, **facts)  # type: ignore[arg-type]


def compute_input_key(item: SourceEntry) -> str:
    """The key of a listed input, 16 hexadecimal digits: a file keeps its key as long as it is not changed."""
    return digest.digest_bytes(f"{item.uri}\0{item.size}\0{item.stamp}\0{bool(item.skip_reason)}".encode())[:16]


def write_part(archive: Location, sequence: int, step: str, entries: Iterable[CatalogEntry]) -> str:
    """Append events as one part.

    Args:
        archive: The archive.
        sequence: See `next_sequence`.
        step: What the events come from, such as `list`. A part with the same sequence number and step is replaced.
        entries: The events, of different inputs.

    Returns:
        The part's file name.
    """
    timestamp = utc_now()
    table = pa.Table.from_pylist([{**entry.as_row(), "at": timestamp} for entry in entries], schema=CATALOG_SCHEMA)
    name = f"{sequence:08d}-{step}.parquet"
    archive.write_checked(f"catalog/{name}", encode_parquet(table))
    return name


def load_entries(archive: Location) -> dict[str, CatalogEntry]:
    """The latest event of every input, by key, in order of first appearance. For large catalogs see `read_latest`."""
    return {entry.key: entry for entry in _read_entries(archive)}


def find_entries(archive: Location, column: str, values: Collection[str]) -> list[CatalogEntry]:
    """The latest events in which `column` is one of `values`, in order of first appearance of the inputs."""
    return _read_entries(archive, column, values)


def _read_entries(archive: Location, column: str = "", values: Collection[str] = ()) -> list[CatalogEntry]:
    positioned_entries: list[tuple[int, CatalogEntry]] = []
    for rows, table in iter_latest(archive, CATALOG_SCHEMA.names, column, values):
        entries = (
            CatalogEntry.from_row(row)
            for start in range(0, len(table), _SLICE_ROWS)
            for row in table.slice(start, _SLICE_ROWS).to_pylist()
        )
        positioned_entries += zip(rows.positions.tolist(), entries, strict=True)
    return [entry for _, entry in sorted(positioned_entries, key=lambda pair: pair[0])]


def count_entries_by_status(entries: Iterable[CatalogEntry]) -> dict[str, int]:
    """The number of inputs by status."""
    tally = Counter(entry.status for entry in entries)
    return {status: tally[status] for status in ENTRY_STATUSES}


def pixel_uri(entry: CatalogEntry) -> str:
    """The address from which an input's pixels are read: its own, with the Bayer pattern of its values if they have one."""
    return add_bayer_pattern(entry.uri, get_bayer_pattern(entry))


def get_bayer_pattern(entry: CatalogEntry) -> str:
    """The Bayer pattern of an input's values, such as RGGB; empty if they are not a Bayer mosaic."""
    if not entry.radiometry.endswith(" bayer"):
        return ""
    return radiometry.find_bayer_pattern(entry.radiometry, json.loads(entry.header), json.loads(entry.record))


_SUMMARY_COLUMNS = ["key", "id", "uri", "sha256", "status"]


@dataclass(frozen=True, slots=True)
class EntrySummary:
    """The main fields of an input's latest event."""

    key: str
    id: str
    uri: str
    sha256: str
    status: str


def find_entries_by_id(
    archive: Location, ids: Collection[str] = (), keys: Collection[str] = ()
) -> dict[str, EntrySummary]:
    """The latest event of every input that has one of the ids or one of the keys, by key.

    Raises:
        StoreError: If a part of the catalog is damaged.
    """
    entries: dict[str, EntrySummary] = {}
    for column, values in (("id", _filter_encodable(ids)), ("key", _filter_encodable(keys))):
        if values:
            for _, table in iter_latest(archive, _SUMMARY_COLUMNS, column, values):
                entries |= {row["key"]: EntrySummary(**row) for row in table.select(_SUMMARY_COLUMNS).to_pylist()}
    return entries


def _filter_encodable(names: Collection[str]) -> set[str]:
    """The names that a catalog can hold: those without lone surrogates."""
    return {name for name in names if not any("\ud800" <= c <= "\udfff" for c in name)}
