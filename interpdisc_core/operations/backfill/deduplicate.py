"""Deduplicate: one ready input for each content, and a status for members of shards that have changed.

The catalog is scanned by columns; only inputs whose status changes are read whole.
"""

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core.archive import catalog
from interpdisc_core.archive.catalog_compaction import compact_catalog
from interpdisc_core.images.uri_fragments import split_tile_uri
from interpdisc_core.operations.backfill import records
from interpdisc_core.sources.shard_members import SHARD_SCHEME, parse_member_uri
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)

GONE_REASON = "no longer in its shard, which has changed"


@dataclass(frozen=True, slots=True)
class DeduplicationResult:
    """How many inputs got another status.

    Attributes:
        duplicates: Duplicates of another input.
        superseded: Replaced by a later version of their shard.
        gone: No longer in their shard.
        ready: The first input of a content, where another one was.
    """

    duplicates: int = 0
    superseded: int = 0
    gone: int = 0
    ready: int = 0


def deduplicate_shards(url: str, name: str) -> DeduplicationResult:
    """Make each content of the backfill's inputs `ready` exactly once. Repeating it changes nothing.

    Of several inputs with one content, the one with the lowest batch and row is ready, whatever the order in which the
    shards were read. An input that was ready before the backfill stays ready.
    """
    archive = Location.parse(url)
    shards = records.load_shard_plan(archive, name)
    batches = {shard.batch for shard in shards}
    read_batches = records.load_read_batches(archive, name) & batches
    if read_batches <= records.load_deduplicated_batches(archive, name):
        return DeduplicationResult()
    latest = catalog.read_latest(archive, ["key", "uri", "stamp", "status", "reason", "sha256", "batch", "row"])
    current = records.select_current_versions(shards)
    old_versions = {shard.uri: current[shard.uri] for shard in shards if current[shard.uri] is not shard}
    outdated = _find_outdated(
        latest, {uri: shard.stamp for uri, shard in old_versions.items() if shard.batch in read_batches}
    )
    duplicates = _find_duplicates(latest, batches, set(outdated))
    events = outdated | duplicates
    entry_by_key = {entry.key: entry for entry in catalog.find_entries(archive, "key", events)}
    new_entries = [
        entry_by_key[key].with_status(status, reason, **_status_fields(status))
        for key, (status, reason) in events.items()
    ]
    if new_entries:
        catalog.write_part(archive, catalog.next_sequence(archive), f"settle-{name}", new_entries)
    records.write_deduplicated_batches(archive, name, read_batches)
    compact_catalog(archive)
    count = {status: sum(event.status == status for event in new_entries) for status in catalog.ENTRY_STATUSES}
    log.info("deduplicated: %s", {status: number for status, number in count.items() if number})
    return DeduplicationResult(count["duplicate-of"], count["superseded-by"], count["quarantined"], count["ready"])


_StatusChange = tuple[str, str]
"""Status and reason."""


def _status_fields(status: str) -> dict[str, Any]:
    return {"retryable": True, "batch": -1, "row": -1} if status == "quarantined" else {"retryable": False}


def _find_outdated(latest: pa.Table, stamps: dict[str, str]) -> dict[str, _StatusChange]:
    """The new status of members of earlier versions of shards, by key.

    Args:
        latest: The catalog.
        stamps: Of the current version, by the shard's address.
    """
    if not stamps:
        return {}
    shard_uris = pa.array([f"{SHARD_SCHEME}{uri}" for uri in stamps], pa.string())
    shard = records.get_shard_uris(latest["uri"])
    old_members: list[tuple[str, str, str]] = []
    current_keys: dict[tuple[str, str], str] = {}
    for row in (
        latest.filter(pc.is_in(shard, value_set=shard_uris)).select(["key", "uri", "stamp", "status"]).to_pylist()
    ):
        uri, box = split_tile_uri(row["uri"])
        address, member = parse_member_uri(uri)
        name = f"{member.name}\0{box}"
        if row["stamp"] == stamps[address]:
            current_keys.setdefault((address, name), row["key"])
        elif row["status"] not in ("superseded-by", "quarantined", "outstanding"):
            old_members.append((row["key"], address, name))
    return {
        key: ("superseded-by", current_keys[(address, name)])
        if (address, name) in current_keys
        else ("quarantined", GONE_REASON)
        for key, address, name in old_members
    }


def _find_duplicates(
    latest: pa.Table, batches: Collection[int], outdated_keys: Collection[str]
) -> dict[str, _StatusChange]:
    """The new status of inputs that share their content with others, by key."""
    active = latest.filter(
        pc.and_(
            pc.is_in(latest["status"], value_set=pa.array(["ready", "duplicate-of"])),
            pc.invert(pc.is_in(latest["key"], value_set=pa.array(sorted(outdated_keys), pa.string()))),
        )
    )
    if not len(active):
        return {}
    counts = active.group_by("sha256").aggregate([("key", "count"), ("status", "min"), ("status", "max")])
    # Statuses sort as text, `duplicate-of` before `ready`: a content with one ready input is as it should be.
    conflicts = counts.filter(
        pc.or_(pc.greater(counts["key_count"], 1), pc.equal(counts["status_max"], "duplicate-of"))
    )
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in active.filter(pc.is_in(active["sha256"], value_set=conflicts["sha256"].combine_chunks())).to_pylist():
        groups[row["sha256"]].append(row)
    events: dict[str, _StatusChange] = {}
    for group in groups.values():
        first = min(group, key=lambda row: _precedence(row, batches))
        if first["row"] < 0 or not any(row["batch"] in batches for row in group):
            continue
        if first["status"] != "ready":
            events[first["key"]] = ("ready", "")
        for row in group:
            if row is not first and (row["status"], row["reason"]) != ("duplicate-of", first["key"]):
                events[row["key"]] = ("duplicate-of", first["key"])
    return events


def _precedence(row: dict[str, Any], batches: Collection[int]) -> tuple[Any, ...]:
    outside = row["batch"] not in batches
    return not (outside and row["status"] == "ready"), row["row"] < 0, outside, row["batch"], row["row"], row["key"]
