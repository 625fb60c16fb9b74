"""One shard, read once from front to back: identified, decoded, prepared, embedded, written.

What comes of it is written in this order: values, a block at a time; the batch, which fixes whose rows they are; the
events of all members; the blocks' records; that the shard is there. Whatever is missing after a kill, what is there is
sound, and doing it again writes the same.
"""

import logging
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core import catalog, digest
from interpdisc_core.artefacts import reasons
from interpdisc_core.backfill import counting, records
from interpdisc_core.backfill.records import Shard
from interpdisc_core.catalog import Entry
from interpdisc_core.embedding import ahead, dimension, vectors
from interpdisc_core.errors import Unreadable
from interpdisc_core.features import FeatureStore, Record, Values, write_rows
from interpdisc_core.images import Pixels, decode, identify
from interpdisc_core.ingest import mosaic_of, radiometry_of
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Meter, Watch
from interpdisc_core.representations.runtime import describe
from interpdisc_core.sources import access, shards
from interpdisc_core.sources.listed import Listed
from interpdisc_core.sources.members import REST
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

_PIECE = 4096
"""Entries that are held as Python's objects; more are kept as columns, a fifth of the size."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of a shard. rows: its images; members: all that is in it. fault: what is wrong with it, or empty."""

    batch: int
    rows: int
    members: int
    bytes: int
    seconds: float
    fault: str


class _Faulty(Exception):
    """A shard that cannot be read to its end, and of which nothing is kept."""


def fill(
    url: str, name: str, settings: Plan, todo: Sequence[Shard], turn: int, watch: Watch
) -> tuple[Filled, ...]:  # fmt: skip
    """Take in some shards, one after the other. A shard that is there already is left alone.

    A shard that cannot be got at, or is damaged, is a fault that is told; the others go on. A damaged one is taken in as
    far as it goes. Raises StoreError and WeightsError.
    """
    archive = Place.of(url)
    store, embed, meter = FeatureStore(archive, name), settings.representation.load(), _meter(watch)
    filled = []
    for shard in todo:
        if records.is_done(archive, name, shard.batch):
            (told,) = records.completed(archive, name, [shard.batch])
            filled.append(Filled(shard.batch, told["rows"], told["members"], shard.size, 0.0, ""))
            continue
        began = time.monotonic()
        try:
            filled.append(_Pass(archive, store, settings, embed, shard, meter).filled(name, turn))
        except _Faulty as error:
            records.fault(archive, name, shard, str(error))
            log.warning("%s: %s", shard.id, error)
            filled.append(Filled(shard.batch, 0, 0, 0, time.monotonic() - began, str(error)))
    meter.close()
    return tuple(filled)


@dataclass(frozen=True, slots=True)
class _Look:
    """A member that was looked at. image: as the representation takes it, or why there is none; None for no image.

    artefact: what is wrong with its pixels, or empty.
    """

    entry: Entry
    image: Pixels | Unreadable | None
    artefact: str = ""


@dataclass(slots=True)
class _Pass:
    """One reading of one shard."""

    archive: Place
    store: FeatureStore
    settings: Plan
    embed: Any
    shard: Shard
    meter: Meter
    waiting: deque[_Look] = field(default_factory=deque)
    rest: str = ""
    events: "_Entries" = field(default_factory=lambda: _Entries())
    rows: "_Entries" = field(default_factory=lambda: _Entries())
    block: list[Any] = field(default_factory=list)
    artefacts: dict[str, str] = field(default_factory=dict)
    blocks: list[Record] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("ready", "quarantined", "skipped"), 0))

    def filled(self, name: str, turn: int) -> Filled:
        """Read it and write what comes of it."""
        began, shard, batch = time.monotonic(), self.shard, self.shard.batch
        for found in vectors(self.embed, self._images()):
            self._take(self.waiting.popleft(), found)
            if len(self.block) == shard.block:
                self._put()
        self._put()
        self._unchanged()
        counted = _headers(shard.uri)

        self.store.fix(batch, self.rows.count, len(self.blocks))
        write_rows(self.archive, batch, self.rows.table(), shard.block)
        events = self.events.table()
        if records.catalogued(self.archive, name, batch):
            # Its members are settled, and others' rows rely on it: only what cannot be read is news.
            events = events.filter(pc.equal(events["status"], "quarantined"))
        self.archive.write(f"catalog/{turn:08d}-{name}-{batch:06d}.parquet", catalog.parquet(events))
        for number, record in enumerate(self.blocks):
            self.store.complete(batch, number, record)
        seconds = time.monotonic() - began
        told = {
            **asdict(shard), "members": self.events.count, "headers": counted, "statuses": self.statuses,
            "rows": self.rows.count, "sha256": digest.of_json([record.sha256 for record in self.blocks]),
            "runtime": describe(self.embed), "seconds": round(seconds, 3), "fault": self.rest,
            "images_per_second": round(self.rows.count / max(seconds, 1e-9), 1),
        }  # fmt: skip
        if self.rest:
            records.fault(self.archive, name, shard, self.rest)
        records.complete(self.archive, name, batch, told)
        log.info(
            "%s: %d images in %.1f s (%.0f images/s)", shard.id, self.rows.count, seconds, self.rows.count / seconds
        )
        return Filled(batch, self.rows.count, self.events.count, shard.size, seconds, self.rest)

    def _images(self) -> Iterator[Pixels | Unreadable]:
        """The images in order, or why there is none; their entries wait beside."""
        look = partial(_looked, self.settings.representation)
        for seen in ahead(look, _members(self.shard.uri), weight=lambda pair: len(pair[1])):
            self.meter.add(max(seen.entry.size, 0) / 1e6)
            if seen.image is None:
                self._log(seen.entry)
            else:
                self.waiting.append(replace(seen, image=None))
                yield seen.image

    def _take(self, seen: _Look, found: Any) -> None:
        """Give an image its row, whatever became of it: so rows are the same for every representation."""
        entry, row = seen.entry, self.rows.count
        if seen.artefact:
            self.artefacts[str(row)] = seen.artefact
        self.rows.add(entry)
        self.block.append(found)
        if isinstance(found, Unreadable):
            self._log(entry.now("quarantined", str(found), access=found.access))
        else:
            self._log(entry.now("ready", batch=self.shard.batch, row=row))

    def _log(self, entry: Entry) -> None:
        if entry.status == "skipped" and entry.why.startswith(REST):
            self.rest = entry.why
        self.statuses[entry.status] += 1
        self.events.add(entry)

    def _put(self) -> None:
        """Write the values of the block that is full, or of the last one."""
        if not self.block:
            return
        start = self.rows.count - len(self.block)
        failed = {str(start + at): str(found) for at, found in enumerate(self.block) if isinstance(found, Unreadable)}
        size = next((len(found) for found in self.block if not isinstance(found, Unreadable)), 0)
        values: Values = np.full(
            (len(self.block), size or dimension(self.settings.representation, self.embed)), np.nan, dtype=np.float32
        )
        for at, found in enumerate(self.block):
            if not isinstance(found, Unreadable):
                values[at] = found
        stored = self.store.put(self.shard.batch, start, values, self.shard.block)
        record = Record((start, self.rows.count), stored, failed, describe(self.embed), self.artefacts)
        self.blocks.append(record)
        self.block, self.artefacts = [], {}

    def _unchanged(self) -> None:
        """Raises _Faulty where it is not the shard any more that was listed."""
        try:
            facts = access.look(self.shard.uri)
        except Unreadable as error:
            raise _Faulty(str(error)) from error
        if (facts.size, facts.stamp) != (self.shard.size, self.shard.stamp):
            raise _Faulty("it changed since it was listed; the same command lists it again")


class _Entries:
    """Entries in order, most of them as columns."""

    def __init__(self) -> None:
        self.count, self._some, self._pieces = 0, list[Entry](), list[pa.Table]()

    def add(self, entry: Entry) -> None:
        """One more."""
        self.count += 1
        self._some.append(entry)
        if len(self._some) == _PIECE:
            self._pieces.append(_table(self._some))
            self._some.clear()

    def table(self) -> pa.Table:
        """All of them."""
        return pa.concat_tables([*self._pieces, _table(self._some)]).combine_chunks()


def _table(entries: list[Entry]) -> pa.Table:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return pa.Table.from_pylist([{**asdict(entry), "at": at} for entry in entries], schema=catalog.SCHEMA)


def _members(uri: str) -> Iterator[tuple[Listed, bytes]]:
    """The shard's members; whatever stops the reading of it is a fault of this shard."""
    try:
        yield from shards.members(uri)
    except Exception as error:
        raise _Faulty(" ".join(str(error).split())[:300] or type(error).__name__) from error


def _headers(uri: str) -> int:
    try:
        return counting.headers(uri)
    except Unreadable as error:
        raise _Faulty(str(error)) from error


def _looked(representation: Any, pair: tuple[Listed, bytes]) -> _Look:
    """What a member is. Nothing about its content raises."""
    item, data = pair
    entry = Entry.of(item)
    if entry.status == "skipped":
        return _Look(entry, None)
    entry = replace(entry, sha256=digest.of_bytes(data))
    try:
        entry = replace(entry, **asdict(identify(data)))
        entry = replace(entry, radiometry=radiometry_of(entry))
        image: Pixels = representation.prepare(decode(data, at_least=representation.side, mosaic=mosaic_of(entry)))
    except Unreadable as error:
        return _Look(entry, error)
    return _Look(entry, image, ", ".join(reasons(image)))


_METERS: dict[str, Meter] = {}


def _meter(watch: Watch) -> Meter:
    """This process's mark, one for all its shards: those who watch read every mark, and there may be many shards."""
    if watch.token not in _METERS:
        _METERS.clear()
        _METERS[watch.token] = watch.meter(
            "backfill", digest.of_bytes(f"{socket.gethostname()} {uuid4()}".encode())[:12]
        )
    return _METERS[watch.token]
