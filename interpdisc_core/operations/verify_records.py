"""Verification of the records of days, inboxes and backfills: what they refer to exists."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow.compute as pc

from interpdisc_core.archive import catalog
from interpdisc_core.archive.disk_names import COMMIT_KEYS, use_current_names
from interpdisc_core.archive.memory import Memory
from interpdisc_core.errors import PlanError, StoreError, one_line
from interpdisc_core.operations.backfill import records
from interpdisc_core.operations.daily.days import stratum_key
from interpdisc_core.sources.feeds.inbox import Inbox
from interpdisc_core.sources.feeds.list_inbox import inbox_uri
from interpdisc_core.storage.location import Location


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """Numbers of records.

    Attributes:
        days: Days in the memory.
        memory_records: Records of the memory; each was read.
        feed_records: Records of feeds in inboxes.
        pending_records: Of these, records that no run has ingested yet.
        shards_read: Shards that backfills have read.
        shards_left: Shards that are only planned.
    """

    days: int = 0
    memory_records: int = 0
    feed_records: int = 0
    pending_records: int = 0
    shards_read: int = 0
    shards_left: int = 0


def check_records(archive: Location, rows_by_batch: Mapping[int, int], faults: list[str]) -> RecordCounts:
    """Read every record of the memory, and check that everything that records refer to exists.

    Args:
        archive: The archive.
        rows_by_batch: Number of rows of each batch.
        faults: A sentence for each fault is appended.
    """
    digests_by_stratum = _check_memory(archive, faults)
    days = _check_days(archive, digests_by_stratum, faults)
    feed_records, pending_records = _check_inboxes(archive, faults)
    shards_read, shards_left = _check_backfills(archive, rows_by_batch, faults)
    count = sum(len(names) for names in digests_by_stratum.values())
    return RecordCounts(days, count, feed_records, pending_records, shards_read, shards_left)


def _check_memory(archive: Location, faults: list[str]) -> dict[str, dict[str, str]]:
    """The digests of the memory's records, by stratum and batch."""
    digests_by_stratum = {}
    for quoted in archive.list_folders("memory"):
        if quoted.startswith("~"):  # the stratum's name is too long for a folder, which has a digest of it instead
            continue
        try:
            memory = Memory(archive, unquote(quoted, errors="surrogatepass"))
            digests_by_stratum[memory.stratum] = memory.list_horizon_batches()
            faults += memory.find_faults()
        except (StoreError, PlanError) as error:
            faults.append(str(error))
    return digests_by_stratum


def _check_days(archive: Location, digests_by_stratum: Mapping[str, Mapping[str, str]], faults: list[str]) -> int:
    """Every committed day has the records in the memory that its commit refers to."""
    count = 0
    for day in archive.list_folders("days"):
        path = f"days/{day}/commit.json"
        try:
            payload = archive.read_checked_json(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except StoreError as error:
            faults.append(str(error))
            continue
        count += 1
        if isinstance(payload, dict) and payload.get("run") and not archive.exists(f"runs/{payload['run']}/picks.json"):
            faults.append(f"{path}: the run of the day, {payload['run']}, is lost")
        for stratum, digest in _iter_commit_records(payload):
            if stratum.startswith("~"):
                continue
            actual_digest = digests_by_stratum.get(stratum, {}).get(day)
            if actual_digest is None:
                faults.append(f"{path}: the memory of {stratum!r} has no record of the day; run `interpdisc rebuild`")
            elif actual_digest != digest:
                faults.append(f"{path}: the memory of {stratum!r} has another record of the day than the commit")
    return count


def _iter_commit_records(payload: Any) -> Iterator[tuple[str, str]]:
    """The strata of a commit by their names in the memory, and the digests of their records."""
    fields = use_current_names(payload, COMMIT_KEYS) if isinstance(payload, dict) else {}
    if isinstance(fields.get("records"), dict):
        memory_digest = fields.get("memory_digest")
        for name, reference in fields["records"].items():
            stratum = stratum_key(name, memory_digest) if memory_digest else name
            yield stratum, str(reference.get("digest")) if isinstance(reference, dict) else str(reference)


def _check_inboxes(archive: Location, faults: list[str]) -> tuple[int, int]:
    """Every record of a feed has its image. Returns the number of records, and of those that are not in the catalog."""
    inbox = archive / "inbox"
    feeds = archive.list_folders("inbox")
    if not feeds:
        return 0, 0
    uris = catalog.read_latest(archive, ("uri",))["uri"]  # was read before without a fault
    known_uris = set(uris.filter(pc.starts_with(uris, inbox_uri(inbox, "x")[:-1])).to_pylist())
    feed_records = pending_records = 0
    for feed in feeds:
        feed_inbox = Inbox(inbox, feed)
        images = {
            f"{feed}/images/{sol}/{name}"
            for sol in inbox.list_names(f"{feed}/images")
            for name in inbox.list_names(f"{feed}/images/{sol}")
        }
        for day in feed_inbox.list_days():
            try:
                day_records = feed_inbox.read_day(day)
            except StoreError as error:
                faults.append(str(error))
                continue
            feed_records += len(day_records)
            pending_records += sum(inbox_uri(inbox, item.image.name) not in known_uris for item in day_records)
            faults += [
                f"inbox/{feed}: the image of {item.id!r} is missing ({item.image.name})"
                for item in day_records
                if item.image.name not in images
            ]
    return feed_records, pending_records


def _check_backfills(archive: Location, rows_by_batch: Mapping[int, int], faults: list[str]) -> tuple[int, int]:
    """Every shard that was read has its batch, with the same number of rows."""
    shards_read = shards_left = 0
    for name in records.list_backfills(archive):
        try:
            planned_batches = {
                shard.batch
                for shard in records.select_current_versions(records.load_shard_plan(archive, name)).values()
            }
            read_batches = records.load_read_batches(archive, name)
            for shard_record in records.read_shard_records(archive, name, read_batches):
                row_count = rows_by_batch.get(shard_record["batch"])
                if row_count != shard_record["rows"]:
                    faults.append(
                        f"backfills/{name}: {shard_record['id']!r} gave {shard_record['rows']} rows, and its batch has {row_count or 0}"
                    )
        except StoreError as error:
            faults.append(str(error))
            continue
        except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
            faults.append(f"backfills/{name}: its records are damaged: {one_line(error)}")
            continue
        shards_read, shards_left = shards_read + len(read_batches), shards_left + len(planned_batches - read_batches)
    return shards_read, shards_left
