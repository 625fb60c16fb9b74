"""The proof of completeness: what the shards' headers say went in is what the catalog says came out, shard by shard."""

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core import catalog
from interpdisc_core.backfill import records
from interpdisc_core.features import Block, FeatureStore
from interpdisc_core.sources.members import SCHEME
from interpdisc_core.storage import Place

_READERS = 16


@dataclass(frozen=True, slots=True)
class Proof:
    """What went in and what came out of all shards of a backfill that were read, all versions of them.

    headers: members by the headers; members: those that were listed; statuses: what became of them, by the catalog. rows:
    images that have a row; vectors: ready ones, each of which has a vector of its own. left: shards to do. faults: by
    shard, what is wrong with it. gaps: what does not add up, a sentence each.
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
    def complete(self) -> bool:
        """Whether every shard is there and every member accounted for."""
        return not (self.left or self.faults or self.gaps)


def prove(url: str, name: str) -> Proof:
    """Hold the catalog and the features against the shards; the result is kept as `proof.json` too."""
    archive = Place.of(url)
    shards = records.planned(archive, name)
    wrong = records.faults(archive, name)
    current = {shard.batch for shard in records.current(shards).values()}
    read = records.read(archive, name) & {shard.batch for shard in shards}
    told = {record["batch"]: record for record in records.completed(archive, name, read)}
    found, ready, twice = _by_shard(archive, {f"{SCHEME}{shard.uri}" for shard in shards})
    gaps, by_shard = list(twice), []
    of: dict[str, dict[tuple[int, str], dict[str, Any]]] = defaultdict(dict)
    for shard in shards:
        if shard.batch in told:  # a version that came back has the same members
            of[shard.uri][shard.size, shard.stamp] = told[shard.batch]
    for uri, versions in sorted(of.items()):
        several = list(versions.values())
        statuses = {status: found[f"{SCHEME}{uri}", status] for status in catalog.STATUSES}
        members, headers = sum(each["members"] for each in several), sum(each["headers"] for each in several)
        # A damaged shard's rest is one input that no header stands for.
        rests = sum(bool(each["fault"]) for each in several)
        label = several[-1]["id"]
        if not members - rests <= headers <= members:
            gaps.append(f"{label}: has {headers} members by its headers, and {members - rests} were read")
        if sum(statuses.values()) != members or statuses["pending"]:
            gaps.append(f"{label}: {members} members were read, and the catalog accounts for {sum(statuses.values())}")
        by_shard.append({"shard": label, "headers": headers, "members": members, "statuses": statuses})
    vectors = _vectors(FeatureStore(archive, name), told, ready, gaps)
    proof = Proof(
        shards=len(current), left=len(current - set(told) - set(wrong)),
        headers=sum(each["headers"] for each in by_shard), members=sum(each["members"] for each in by_shard),
        statuses={status: sum(each["statuses"][status] for each in by_shard) for status in catalog.STATUSES},
        rows=sum(each["rows"] for each in told.values()), vectors=vectors,
        faults={fault["shard"]: fault["why"] for number, fault in sorted(wrong.items()) if number in current},
        gaps=tuple(gaps),
    )  # fmt: skip
    archive.write_json(
        f"backfills/{name}/proof.json", {"complete": proof.complete, **asdict(proof), "by_shard": by_shard}
    )  # fmt: skip
    return proof


def _by_shard(archive: Place, addresses: set[str]) -> tuple[Counter[tuple[str, str]], pa.Table, list[str]]:
    """Inputs by shard and status; the ready ones' places; and contents or rows that are ready twice."""
    latest = catalog.latest(archive, ["key", "uri", "status", "sha256", "batch", "row"])
    shard = pc.list_element(pc.split_pattern(latest["uri"], "#", max_splits=1), 0)
    of_shards = pc.is_in(shard, value_set=pa.array(sorted(addresses), pa.string()))
    # A tile of a frame is an input of its own, and no member.
    mine = pa.table({"shard": shard, "status": latest["status"]}).filter(
        pc.and_(of_shards, pc.invert(pc.match_substring(latest["uri"], "&xywh=")))
    )
    counted = mine.group_by(["shard", "status"], use_threads=False).aggregate([([], "count_all")])
    found = Counter({(row["shard"], row["status"]): row["count_all"] for row in counted.to_pylist()})
    everyone = latest.filter(pc.equal(latest["status"], "ready"))
    twice = [
        f"{len(everyone) - distinct} ready inputs are of {what} that another has too"
        for what, keys in (("a content", ["sha256"]), ("a row", ["batch", "row"]))
        if (distinct := len(everyone.group_by(keys, use_threads=False).aggregate([]))) != len(everyone)
    ]
    return found, everyone.select(["batch", "row"]), twice


def _vectors(store: FeatureStore, told: dict[int, dict[str, Any]], ready: pa.Table, gaps: list[str]) -> int:
    """How many ready inputs of these batches have a vector; those that have none are gaps."""
    batch, row = (np.asarray(ready[name].combine_chunks()) for name in ("batch", "row"))
    order = np.argsort(batch, kind="stable")
    numbers, starts = np.unique(batch[order], return_index=True)
    parts = np.split(row[order], starts[1:]) if len(numbers) else []
    rows_of = dict(zip(numbers.tolist(), parts, strict=True))

    def vectors(record: dict[str, Any]) -> tuple[int, int]:
        """How many of a batch's ready rows have one, and how many have not."""
        number = record["batch"]
        rows, done = rows_of.get(number, np.empty(0, row.dtype)), store.done(number)
        failed = [int(each) for block in done for each in store.record(Block(number, block)).failed]
        lost = int((~np.isin(rows // record["block"], sorted(done)) | np.isin(rows, failed)).sum())
        return len(rows) - lost, lost

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(vectors, told.values()))
    gaps += [
        f"{record['id']}: {lost} of its {there + lost} ready images have no vector"
        for record, (there, lost) in zip(told.values(), found, strict=True) if lost
    ]  # fmt: skip
    return sum(there for there, _ in found)
