"""Process a shard: read it once from front to back; identify, decode, prepare and embed its members; write the features.

The order of writes: features, a block at a time; the batch, which fixes whose rows they are; the catalog entries of all
members; the blocks' records; the shard's record. After a kill at any point the archive is sound, and processing the shard
again writes the same.
"""

import logging
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core import digest
from interpdisc_core._types import Float32Array, PixelArray
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import write_batch_table
from interpdisc_core.archive.catalog import CatalogEntry, get_bayer_pattern
from interpdisc_core.archive.crashes import KnownCrashes
from interpdisc_core.archive.feature_store import BlockRecord, FeatureStore
from interpdisc_core.errors import AccessError, Unreadable, one_line
from interpdisc_core.images.artefacts import find_artefacts
from interpdisc_core.images.decode import decode, identify
from interpdisc_core.images.isolated_map import ProcessDeath, map_isolated
from interpdisc_core.operations.backfill import member_count, records
from interpdisc_core.operations.backfill.records import ShardVersion
from interpdisc_core.pipeline.ingest import describe_radiometry
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressMeter, ProgressReporter
from interpdisc_core.provenance import utc_now
from interpdisc_core.representations.batching import embed_minibatches, measure_dimension, prefetch_map
from interpdisc_core.representations.runtime import describe_runtime
from interpdisc_core.sources import fetch, shards
from interpdisc_core.sources.entry import SourceEntry
from interpdisc_core.sources.shard_members import REST_REASON
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet

log = logging.getLogger(__name__)

_PIECE_ENTRIES = 4096
"""Entries that are kept as Python objects; more are kept as columns, a fifth of the size."""


@dataclass(frozen=True, slots=True)
class ShardResult:
    """The result of processing a shard.

    Attributes:
        batch: Its batch.
        rows: Its images; `members`: all of its members.
        bytes: Its size; `seconds`: the time that it took.
        fault: What is wrong with it, or empty.
    """

    batch: int
    rows: int
    members: int
    bytes: int
    seconds: float
    fault: str


class _ShardError(Exception):
    """The shard cannot be read, and nothing of it is kept."""


def process_shards(
    url: str,
    name: str,
    settings: Plan,
    pending_shards: Sequence[ShardVersion],
    sequence: int,
    watch: ProgressReporter,
    *,
    is_isolated: bool = False,
) -> tuple[ShardResult, ...]:
    """Process shards one after the other; those that were read already are skipped.

    A shard that cannot be read is recorded as a fault, and the others are processed. A damaged one is read up to the
    damage.

    Args:
        url: Address of the archive.
        name: Name of the backfill.
        settings: Its representation is computed.
        pending_shards: The shards.
        sequence: Sequence number for their catalog parts.
        watch: Where progress is reported.
        is_isolated: A worker died of these shards: their members are decoded one at a time in a process of their own. One
            that kills it is quarantined and remembered.

    Raises:
        StoreError: If the archive cannot be written.
        AccessError: If the store of the shards cannot be got at; the same call reads the rest.
        WeightsError: If the weights of the representation are missing or do not fit.
    """
    archive = Location.parse(url)
    store, embed, meter = FeatureStore(archive, name), settings.representation.load(), _get_meter(watch)
    results = []
    for shard in pending_shards:
        if records.is_shard_done(archive, name, shard.batch):
            (record,) = records.read_shard_records(archive, name, [shard.batch])
            results.append(ShardResult(shard.batch, record["rows"], record["members"], shard.size, 0.0, ""))
            continue
        start_time = time.monotonic()
        try:
            results.append(
                _ShardReader(archive, store, settings, embed, shard, meter, is_isolated).process(name, sequence)
            )
        except _ShardError as error:
            records.write_shard_fault(archive, name, shard, str(error))
            log.warning("%s: %s", shard.id, error)
            results.append(ShardResult(shard.batch, 0, 0, 0, time.monotonic() - start_time, str(error)))
    meter.flush()
    return tuple(results)


@dataclass(frozen=True, slots=True)
class _MemberImage:
    """A member that was read.

    Attributes:
        image: As the representation expects it, or why it cannot be read; None if it is no image.
        artefact: What is wrong with its pixels, or empty.
    """

    entry: CatalogEntry
    image: PixelArray | Unreadable | None
    artefact: str = ""


@dataclass(slots=True)
class _ShardReader:
    """One reading of one shard."""

    archive: Location
    store: FeatureStore
    settings: Plan
    embed: Any
    shard: ShardVersion
    meter: ProgressMeter
    is_isolated: bool = False
    pending_members: deque[_MemberImage] = field(default_factory=deque)
    rest_fault: str = ""
    events: "_EntryBuffer" = field(default_factory=lambda: _EntryBuffer())
    rows: "_EntryBuffer" = field(default_factory=lambda: _EntryBuffer())
    block_vectors: list[Any] = field(default_factory=list)
    artefacts: dict[str, str] = field(default_factory=dict)
    block_records: list[BlockRecord] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("ready", "quarantined", "skipped"), 0))

    def process(self, name: str, sequence: int) -> ShardResult:
        """Read the shard and write the results."""
        start_time, shard, batch = time.monotonic(), self.shard, self.shard.batch
        for vector in embed_minibatches(self.embed, self._iter_images()):
            self._append_row(self.pending_members.popleft(), vector)
            if len(self.block_vectors) == shard.block:
                self._flush_block()
        self._flush_block()
        self._check_unchanged()
        header_count = _count_headers(shard.uri)

        self.store.truncate(batch, self.rows.count, len(self.block_records))
        write_batch_table(self.archive, batch, self.rows.to_table(), shard.block)
        events = self.events.to_table()
        if records.is_logged_by_another(self.archive, name, batch):
            # The status of its members is decided, and rows of others rely on it: only unreadable ones are new.
            events = events.filter(pc.equal(events["status"], "quarantined"))
        self.archive.write_checked(f"catalog/{sequence:08d}-{name}-{batch:06d}.parquet", encode_parquet(events))
        for number, record in enumerate(self.block_records):
            self.store.mark_complete(batch, number, record)
        seconds = time.monotonic() - start_time
        payload = {
            **asdict(shard),
            "members": self.events.count,
            "headers": header_count,
            "statuses": self.statuses,
            "rows": self.rows.count,
            "sha256": digest.digest_json([record.sha256 for record in self.block_records]),
            "runtime": describe_runtime(self.embed),
            "seconds": round(seconds, 3),
            "fault": self.rest_fault,
            "images_per_second": round(self.rows.count / max(seconds, 1e-9), 1),
        }
        if self.rest_fault:
            records.write_shard_fault(self.archive, name, shard, self.rest_fault)
        records.write_shard_record(self.archive, name, batch, payload)
        log.info(
            "%s: %d images in %.1f s (%.0f images/s)", shard.id, self.rows.count, seconds, self.rows.count / seconds
        )
        return ShardResult(batch, self.rows.count, self.events.count, shard.size, seconds, self.rest_fault)

    def _iter_images(self) -> Iterator[PixelArray | Unreadable]:
        """The images in order, or why one cannot be read; their entries are put into `pending_members`."""
        crashes = KnownCrashes.load(self.archive)
        prepare, pairs = partial(_prepare_member, self.settings.representation, crashes), _iter_members(self.shard.uri)
        for member in (
            map_isolated(prepare, pairs, partial(_remember_crash, crashes))
            if self.is_isolated
            else prefetch_map(prepare, pairs, count_bytes=lambda pair: len(pair[1]))
        ):
            self.meter.add(max(member.entry.size, 0) / 1e6)
            if member.image is None:
                self._log_event(member.entry)
            else:
                self.pending_members.append(replace(member, image=None))
                yield member.image

    def _append_row(self, member: _MemberImage, vector: Any) -> None:
        """Give an image its row, even if it cannot be read: so rows are the same for every representation."""
        entry, row = member.entry, self.rows.count
        if member.artefact:
            self.artefacts[str(row)] = member.artefact
        self.rows.add(entry)
        self.block_vectors.append(vector)
        if isinstance(vector, Unreadable):
            self._log_event(entry.with_status("quarantined", str(vector), retryable=vector.retryable))
        else:
            self._log_event(entry.with_status("ready", batch=self.shard.batch, row=row))

    def _log_event(self, entry: CatalogEntry) -> None:
        if entry.status == "skipped" and entry.reason.startswith(REST_REASON):
            self.rest_fault = entry.reason
        self.statuses[entry.status] += 1
        self.events.add(entry)

    def _flush_block(self) -> None:
        """Write the features of a block that is full, or of the last one."""
        if not self.block_vectors:
            return
        start = self.rows.count - len(self.block_vectors)
        failures = {
            str(start + offset): str(vector)
            for offset, vector in enumerate(self.block_vectors)
            if isinstance(vector, Unreadable)
        }
        size = next((len(vector) for vector in self.block_vectors if not isinstance(vector, Unreadable)), 0)
        values: Float32Array = np.full(
            (len(self.block_vectors), size or measure_dimension(self.settings.representation, self.embed)),
            np.nan,
            dtype=np.float32,
        )
        for offset, vector in enumerate(self.block_vectors):
            if not isinstance(vector, Unreadable):
                values[offset] = vector
        stored = self.store.append_block(self.shard.batch, start, values, self.shard.block)
        record = BlockRecord((start, self.rows.count), stored, failures, describe_runtime(self.embed), self.artefacts)
        self.block_records.append(record)
        self.block_vectors, self.artefacts = [], {}

    def _check_unchanged(self) -> None:
        """Check that the shard is still the one that was listed.

        Raises:
            _ShardError: If it is not.
        """
        try:
            facts = fetch.stat_uri(self.shard.uri)
        except Unreadable as error:
            raise _ShardError(str(error)) from error
        if (facts.size, facts.stamp) != (self.shard.size, self.shard.stamp):
            raise _ShardError("it changed since it was listed; run the same command again")


class _EntryBuffer:
    """A list of entries, most of them as columns."""

    def __init__(self) -> None:
        self.count, self._buffer, self._pieces = 0, list[CatalogEntry](), list[pa.Table]()

    def add(self, entry: CatalogEntry) -> None:
        """Append an entry."""
        self.count += 1
        self._buffer.append(entry)
        if len(self._buffer) == _PIECE_ENTRIES:
            self._pieces.append(_entries_to_table(self._buffer))
            self._buffer.clear()

    def to_table(self) -> pa.Table:
        """All entries as a table."""
        return pa.concat_tables([*self._pieces, _entries_to_table(self._buffer)]).combine_chunks()


def _entries_to_table(entries: list[CatalogEntry]) -> pa.Table:
    at = utc_now()
    return pa.Table.from_pylist([{**entry.as_row(), "at": at} for entry in entries], schema=catalog.CATALOG_SCHEMA)


def _iter_members(uri: str) -> Iterator[tuple[SourceEntry, bytes]]:
    """The members of a shard.

    Raises:
        _ShardError: If anything else stops the reading of it.
        AccessError: If its store cannot be got at.
    """
    try:
        yield from shards.iter_members(uri)
    except AccessError:  # no other shard could be read either
        raise
    except Exception as error:
        raise _ShardError(one_line(error, 300)) from error


def _count_headers(uri: str) -> int:
    try:
        return member_count.count_members(uri)
    except Unreadable as error:
        raise _ShardError(str(error)) from error


def _remember_crash(crashes: KnownCrashes, pair: tuple[SourceEntry, bytes], death: ProcessDeath) -> _MemberImage:
    item, data = pair
    entry = replace(CatalogEntry.from_source_entry(item), sha256=digest.digest_bytes(data))
    crashes.add(entry.uri, entry.sha256, str(death))
    return _MemberImage(entry, death)


def _prepare_member(representation: Any, crashes: KnownCrashes, pair: tuple[SourceEntry, bytes]) -> _MemberImage:
    """Identify and decode a member. Its content never raises."""
    item, data = pair
    entry = CatalogEntry.from_source_entry(item)
    if entry.status == "skipped":
        return _MemberImage(entry, None)
    entry = replace(entry, sha256=digest.digest_bytes(data))
    if crash_reason := crashes.find(entry.uri, entry.sha256):
        return _MemberImage(entry, Unreadable(crash_reason))
    try:
        entry = replace(entry, **asdict(identify(data)))
        entry = replace(entry, radiometry=describe_radiometry(entry))
        image: PixelArray = representation.prepare(
            decode(data, at_least=representation.side, bayer_pattern=get_bayer_pattern(entry))
        )
    except Unreadable as error:
        return _MemberImage(entry, error)
    return _MemberImage(entry, image, ", ".join(find_artefacts(image)))


_METER_BY_TOKEN: dict[str, ProgressMeter] = {}


def _get_meter(watch: ProgressReporter) -> ProgressMeter:
    """The progress meter of this process: one for all of its shards, since each meter is a file."""
    if watch.token not in _METER_BY_TOKEN:
        _METER_BY_TOKEN.clear()
        _METER_BY_TOKEN[watch.token] = watch.open_meter(
            "backfill", digest.digest_bytes(f"{socket.gethostname()} {uuid4()}".encode())[:12]
        )
    return _METER_BY_TOKEN[watch.token]
