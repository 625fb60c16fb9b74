"""Plan a backfill: list the shards, and give each a batch of the archive."""

import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import Batch, list_batches, reserve_batch
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.feature_store import FeatureStore, StoredDtype, format_store_name
from interpdisc_core.archive.layout import open_or_create_archive
from interpdisc_core.operations.backfill import records
from interpdisc_core.operations.backfill.records import ShardVersion
from interpdisc_core.plan import Plan
from interpdisc_core.sources.entry import SourceEntry
from interpdisc_core.sources.shards import Shards, is_rest_entry, list_shard_entries
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)

ROWS_PER_BLOCK = 2048
"""Default rows of a block, which a selection reads at a time: 5 MB for 1,280 features in float16."""


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a call has to do.

    Attributes:
        name: Of the backfill.
        shard_count: Number of shards that the sources name; `bytes`: their size.
        pending_shards: Those that are still to be read.
        sequence: Sequence number for the catalog parts of the call.
    """

    name: str
    shard_count: int
    bytes: int
    pending_shards: tuple[ShardVersion, ...]
    sequence: int


def plan_backfill(
    url: str, sources: Sequence[str], settings: Plan, dtype: StoredDtype, block: int = ROWS_PER_BLOCK
) -> BackfillPlan:
    """List the shards of `sources`, and give each new or changed one a batch. Nothing is read.

    A shard that another backfill of the archive has read keeps its batch.

    Args:
        url: Address of the archive.
        sources: Shards, patterns, folders or s3:// prefixes.
        settings: Its representation is computed.
        dtype: Of the stored features.
        block: Rows of a block.

    Raises:
        PlanError: If a source names no shard.
    """
    shard_entries, other_entries = list_source_shards(sources)
    archive = open_or_create_archive(url)
    name = format_store_name(settings.features_digest, dtype)
    FeatureStore(archive, name).write_spec(settings.representation)
    planned_shards = _drop_unreadable(archive, name, {item.uri for item in shard_entries})
    shard_by_uri = records.select_current_versions(
        shard
        for other_name in records.list_backfills(archive)
        for shard in records.load_shard_plan(archive, other_name)
    )
    own_shard_by_uri, new_shards = records.select_current_versions(planned_shards), []
    next_batch = _next_batch(archive)
    for item in shard_entries:
        known_shard = shard_by_uri.get(item.uri)
        if known_shard is None or (known_shard.size, known_shard.stamp) != (item.size, item.stamp):
            new_shards.append(ShardVersion(item.uri, item.id, item.size, item.stamp, next_batch, block))
            next_batch += 1
        elif own_shard_by_uri.get(item.uri) != known_shard:
            new_shards.append(known_shard)
    if new_shards:
        # From now on no other run uses these numbers, however long reading the shards takes.
        reserve_batch(archive, next_batch - 1)
        planned_shards = sorted([*planned_shards, *new_shards], key=lambda shard: shard.batch)
        records.write_shard_plan(archive, name, planned_shards)
    wanted_uris, done_batches = {item.uri for item in shard_entries}, records.load_done_batches(archive, name)
    wanted_shards = [
        shard for uri, shard in records.select_current_versions(planned_shards).items() if uri in wanted_uris
    ]
    pending_shards = tuple(shard for shard in wanted_shards if shard.batch not in done_batches)
    records.remove_deduplicated_batches(archive, name, {shard.batch for shard in pending_shards})
    sequence = _log_skipped(archive, catalog.next_sequence(archive), other_entries)
    log.info("%d shards, %d of them new or changed, %d to do", len(wanted_shards), len(new_shards), len(pending_shards))
    size = sum(max(shard.size, 0) for shard in wanted_shards)
    return BackfillPlan(name, len(wanted_shards), size, pending_shards, sequence)


def count_remaining_work(url: str, sources: Sequence[str], settings: Plan, dtype: StoredDtype) -> tuple[int, int, int]:
    """Number of shards, of those to be read, and their bytes; nothing is written."""
    shard_entries, _ = list_source_shards(sources)
    archive, name = Location.parse(url), format_store_name(settings.features_digest, dtype)
    done_batches = records.load_done_batches(archive, name)
    shard_by_uri = records.select_current_versions(records.load_shard_plan(archive, name))
    remaining = [
        item
        for item in shard_entries
        if (known_shard := shard_by_uri.get(item.uri)) is None
        or (known_shard.size, known_shard.stamp) != (item.size, item.stamp)
        or known_shard.batch not in done_batches
    ]
    return len(shard_entries), len(remaining), sum(max(item.size, 0) for item in remaining)


def _drop_unreadable(archive: Location, name: str, wanted_uris: set[str]) -> list[ShardVersion]:
    """The shards of a backfill without those that could never be read and that no source names any more."""
    planned_shards = records.load_shard_plan(archive, name)
    unread_batches = set(records.read_shard_faults(archive, name)) - records.load_read_batches(archive, name)
    remaining = [shard for shard in planned_shards if shard.uri in wanted_uris or shard.batch not in unread_batches]
    if len(remaining) < len(planned_shards):
        records.write_shard_plan(archive, name, remaining)
        log.info("%d shards that could not be read are no longer named", len(planned_shards) - len(remaining))
    return remaining


def _next_batch(archive: Location) -> int:
    """The first number that neither a batch nor a shard of any backfill has."""
    planned_batches = {
        shard.batch for name in records.list_backfills(archive) for shard in records.load_shard_plan(archive, name)
    }
    existing_batches = list_batches(archive)
    if (
        existing_batches
        and existing_batches[-1] not in planned_batches
        and not len(Batch.read(archive, existing_batches[-1]).table)
    ):
        existing_batches.pop()  # reserved by a call that was killed before it wrote its plan
    return max(planned_batches.union(existing_batches), default=-1) + 1


def _log_skipped(archive: Location, sequence: int, other_entries: list[SourceEntry]) -> int:
    """Catalog files next to the shards that are no shards as skipped; returns the next sequence number."""
    entries = {entry.key: entry for entry in map(CatalogEntry.from_source_entry, other_entries)}
    for key in catalog.find_entries_by_id(archive, keys=list(entries)):
        del entries[key]
    if not entries:
        return sequence
    catalog.write_part(archive, sequence, "beside-shards", entries.values())
    return sequence + 1


def list_source_shards(sources: Iterable[str]) -> tuple[list[SourceEntry], list[SourceEntry]]:
    """The shards that sources name, each address once, in order of id; and files that are no shards, with the reason.

    A shard that is named but missing is among the shards.

    Raises:
        PlanError: If a source names no shard.
    """
    entry_by_uri: dict[str, SourceEntry] = {}
    for source in sources:
        for entry in list_shard_entries(Shards(of=source.removeprefix("shards:"))):
            entry_by_uri.setdefault(entry.uri, entry)
    entries = sorted(entry_by_uri.values(), key=lambda entry: (entry.id, entry.uri))
    is_shard = [not entry.skip_reason or is_rest_entry(entry) for entry in entries]
    return list(itertools.compress(entries, is_shard)), [
        entry for entry, shard in zip(entries, is_shard, strict=True) if not shard
    ]
