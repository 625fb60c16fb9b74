"""The proof of completeness: for each shard, the members by its headers are the inputs in the catalog."""

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import BlockId
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.operations.backfill import records
from interpdisc_core.sources.shard_members import SHARD_SCHEME
from interpdisc_core.storage.location import Location

_READERS = 16
"""Batches that are checked at a time."""


@dataclass(frozen=True, slots=True)
class CompletenessProof:
    """The members of all versions of a backfill's shards that were read, and the inputs that they became.

    Attributes:
        shards: Number of shards, in their current version.
        left: Shards that are still to be read.
        headers: Members by the shards' headers; `members`: those that were read.
        statuses: Members by status in the catalog.
        rows: Images with a row; `vectors`: ready ones with a vector.
        faults: What is wrong with a shard, by its id.
        gaps: What does not add up, one sentence each.
    """

    shards: int
    left: int
    headers: int
    members: int
    statuses: dict[str, int]
    rows: int
    vectors: int
    faults: dict[str, str]
    gaps: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every shard was read and every member is accounted for."""
        return not (self.left or self.faults or self.gaps)


def prove_completeness(url: str, name: str) -> CompletenessProof:
    """Compare the catalog and the features with the shards; the result is also written as `proof.json`."""
    archive = Location.parse(url)
    shards = records.load_shard_plan(archive, name)
    fault_by_batch = records.read_shard_faults(archive, name)
    current_batches = {shard.batch for shard in records.select_current_versions(shards).values()}
    read_batches = records.load_read_batches(archive, name) & {shard.batch for shard in shards}
    record_by_batch = {record["batch"]: record for record in records.read_shard_records(archive, name, read_batches)}
    counts, ready, duplicate_gaps = _count_by_shard(archive, {f"{SHARD_SCHEME}{shard.uri}" for shard in shards})
    gaps, by_shard = list(duplicate_gaps), []
    records_by_uri: dict[str, dict[tuple[int, str], dict[str, Any]]] = defaultdict(dict)
    for shard in shards:
        if shard.batch in record_by_batch:  # a version that returned later has the same members
            records_by_uri[shard.uri][shard.size, shard.stamp] = record_by_batch[shard.batch]
    for uri, record_by_version in sorted(records_by_uri.items()):
        version_records = list(record_by_version.values())
        statuses = {status: counts[f"{SHARD_SCHEME}{uri}", status] for status in catalog.ENTRY_STATUSES}
        members, headers = (
            sum(shard_record["members"] for shard_record in version_records),
            sum(shard_record["headers"] for shard_record in version_records),
        )
        # The unreadable rest of a damaged shard is one input without a header.
        damaged_count = sum(bool(shard_record["fault"]) for shard_record in version_records)
        label = version_records[-1]["id"]
        if not members - damaged_count <= headers <= members:
            gaps.append(f"{label}: has {headers} members by its headers, and {members - damaged_count} were read")
        if sum(statuses.values()) != members or statuses["pending"]:
            gaps.append(f"{label}: {members} members were read, and the catalog accounts for {sum(statuses.values())}")
        by_shard.append({"shard": label, "headers": headers, "members": members, "statuses": statuses})
    vectors = _count_vectors(FeatureStore(archive, name), record_by_batch, ready, gaps)
    proof = CompletenessProof(
        shards=len(current_batches),
        left=len(current_batches - set(record_by_batch) - set(fault_by_batch)),
        headers=sum(shard_record["headers"] for shard_record in by_shard),
        members=sum(shard_record["members"] for shard_record in by_shard),
        statuses={
            status: sum(shard_record["statuses"][status] for shard_record in by_shard)
            for status in catalog.ENTRY_STATUSES
        },
        rows=sum(shard_record["rows"] for shard_record in record_by_batch.values()),
        vectors=vectors,
        faults={
            fault["shard"]: fault["why"]
            for number, fault in sorted(fault_by_batch.items())
            if number in current_batches
        },
        gaps=tuple(gaps),
    )
    archive.write_checked_json(
        f"backfills/{name}/proof.json", {"complete": proof.is_complete, **asdict(proof), "by_shard": by_shard}
    )
    return proof


def _count_by_shard(archive: Location, shard_uris: set[str]) -> tuple[Counter[tuple[str, str]], pa.Table, list[str]]:
    """Inputs by shard and status, the batch and row of ready inputs, and gaps for contents or rows that are ready twice."""
    latest = catalog.read_latest(archive, ["key", "uri", "status", "sha256", "batch", "row"])
    shard = records.get_shard_uris(latest["uri"])
    of_shards = pc.is_in(shard, value_set=pa.array(sorted(shard_uris), pa.string()))
    # A tile of a frame is an input, but not a member of the shard.
    members = pa.table({"shard": shard, "status": latest["status"]}).filter(
        pc.and_(of_shards, pc.invert(pc.match_substring(latest["uri"], "&xywh=")))
    )
    status_counts = members.group_by(["shard", "status"], use_threads=False).aggregate([([], "count_all")])
    counts = Counter({(row["shard"], row["status"]): row["count_all"] for row in status_counts.to_pylist()})
    ready = latest.filter(pc.equal(latest["status"], "ready"))
    duplicate_gaps = [
        f"{len(ready) - distinct} ready inputs share {what} with another"
        for what, keys in (("a content", ["sha256"]), ("a row", ["batch", "row"]))
        if (distinct := len(ready.group_by(keys, use_threads=False).aggregate([]))) != len(ready)
    ]
    return counts, ready.select(["batch", "row"]), duplicate_gaps


def _count_vectors(
    store: FeatureStore, record_by_batch: dict[int, dict[str, Any]], ready: pa.Table, gaps: list[str]
) -> int:
    """Number of ready inputs of these batches that have a vector; adds a gap for those that have none."""
    batch, row = (np.asarray(ready[name].combine_chunks()) for name in ("batch", "row"))
    order = np.argsort(batch, kind="stable")
    numbers, starts = np.unique(batch[order], return_index=True)
    parts = np.split(row[order], starts[1:]) if len(numbers) else []
    rows_by_batch = dict(zip(numbers.tolist(), parts, strict=True))

    def count_batch_vectors(record: dict[str, Any]) -> tuple[int, int]:
        """How many of a batch's ready rows have a vector, and how many do not."""
        number = record["batch"]
        rows, done_blocks = rows_by_batch.get(number, np.empty(0, row.dtype)), store.list_complete_blocks(number)
        failed_rows = [
            int(failed_row) for block in done_blocks for failed_row in store.read_record(BlockId(number, block)).failed
        ]
        missing = int((~np.isin(rows // record["block"], sorted(done_blocks)) | np.isin(rows, failed_rows)).sum())
        return len(rows) - missing, missing

    with ThreadPoolExecutor(_READERS) as pool:
        counts = list(pool.map(count_batch_vectors, record_by_batch.values()))
    gaps += [
        f"{record['id']}: {missing} of its {present + missing} ready images have no vector"
        for record, (present, missing) in zip(record_by_batch.values(), counts, strict=True)
        if missing
    ]
    return sum(present for present, _ in counts)
