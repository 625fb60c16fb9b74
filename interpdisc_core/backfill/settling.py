"""After the shards: which contents are there several times, and what became of members of shards that have changed.

The catalog is looked through by columns, whatever its size; only inputs that get an event are read whole.
"""

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core import catalog
from interpdisc_core.backfill import records
from interpdisc_core.compaction import compact
from interpdisc_core.sources.members import SCHEME, parsed
from interpdisc_core.storage import Place
from interpdisc_core.tiles import parted

log = logging.getLogger(__name__)

GONE = "no longer in its shard, which has changed"


@dataclass(frozen=True, slots=True)
class Settled:
    """How many inputs got an event: as a duplicate of another, as superseded by one, as gone with their shard."""

    duplicates: int = 0
    superseded: int = 0
    gone: int = 0
    ready: int = 0


def settle(url: str, name: str) -> Settled:
    """Bring the catalog's contents and ready inputs to correspond one to one, so far as this backfill has touched them.

    Of several inputs of one content the one with the lowest batch and row is ready, whatever the order in which shards
    were read; one that was ready before the backfill stays so. Doing it again changes nothing.
    """
    archive = Place.of(url)
    shards = records.planned(archive, name)
    mine = {shard.batch for shard in shards}
    done = records.read(archive, name) & mine
    if done <= records.settled(archive, name):
        return Settled()
    latest = catalog.latest(archive, ["key", "uri", "stamp", "status", "why", "sha256", "batch", "row"])
    current = records.current(shards)
    old = {shard.uri: current[shard.uri] for shard in shards if current[shard.uri] is not shard}
    over = _outdated(latest, {uri: shard.stamp for uri, shard in old.items() if shard.batch in done})
    same = _duplicates(latest, mine, set(over))
    events = over | same
    whole = {entry.key: entry for entry in catalog.find(archive, "key", events)}
    written = [whole[key].now(status, why, **_facts(status)) for key, (status, why) in events.items()]
    if written:
        catalog.write_part(archive, catalog.next_turn(archive), f"settle-{name}", written)
    records.settle(archive, name, done)
    compact(archive)
    count = {status: sum(event.status == status for event in written) for status in catalog.STATUSES}
    log.info("settled: %s", {status: number for status, number in count.items() if number})
    return Settled(count["duplicate-of"], count["superseded-by"], count["quarantined"], count["ready"])


_Event = tuple[str, str]
"""Status and why."""


def _facts(status: str) -> dict[str, Any]:
    return {"access": True, "batch": -1, "row": -1} if status == "quarantined" else {"access": False}


def _outdated(latest: pa.Table, stamps: dict[str, str]) -> dict[str, _Event]:
    """Members of earlier versions of shards, by key. stamps: of the version that counts, by the shard's address."""
    if not stamps:
        return {}
    marks = pa.array([f"{SCHEME}{uri}" for uri in stamps], pa.string())
    shard = pc.list_element(pc.split_pattern(latest["uri"], "#", max_splits=1), 0)
    old: list[tuple[str, str, str]] = []
    now: dict[tuple[str, str], str] = {}
    for row in latest.filter(pc.is_in(shard, value_set=marks)).select(["key", "uri", "stamp", "status"]).to_pylist():
        uri, box = parted(row["uri"])
        address, member = parsed(uri)
        name = f"{member.name}\0{box}"
        if row["stamp"] == stamps[address]:
            now.setdefault((address, name), row["key"])
        elif row["status"] not in ("superseded-by", "quarantined"):
            old.append((row["key"], address, name))
    return {
        key: ("superseded-by", now[(address, name)]) if (address, name) in now else ("quarantined", GONE)
        for key, address, name in old
    }


def _duplicates(latest: pa.Table, mine: Collection[int], over: Collection[str]) -> dict[str, _Event]:
    """What is to change about inputs that share their content with others, by key."""
    alive = latest.filter(
        pc.and_(
            pc.is_in(latest["status"], value_set=pa.array(["ready", "duplicate-of"])),
            pc.invert(pc.is_in(latest["key"], value_set=pa.array(sorted(over), pa.string()))),
        )
    )  # fmt: skip
    if not len(alive):
        return {}
    counted = alive.group_by("sha256").aggregate([("key", "count"), ("status", "min"), ("status", "max")])
    # `duplicate-of` sorts before `ready`: a content with one input, which is ready, is as it should be.
    odd = counted.filter(pc.or_(pc.greater(counted["key_count"], 1), pc.equal(counted["status_max"], "duplicate-of")))
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in alive.filter(pc.is_in(alive["sha256"], value_set=odd["sha256"].combine_chunks())).to_pylist():
        groups[row["sha256"]].append(row)
    events: dict[str, _Event] = {}
    for group in groups.values():
        first = min(group, key=lambda row: _rank(row, mine))
        if first["row"] < 0 or not any(row["batch"] in mine for row in group):
            continue
        if first["status"] != "ready":
            events[first["key"]] = ("ready", "")
        for row in group:
            if row is not first and (row["status"], row["why"]) != ("duplicate-of", first["key"]):
                events[row["key"]] = ("duplicate-of", first["key"])
    return events


def _rank(row: dict[str, Any], mine: Collection[int]) -> tuple[Any, ...]:
    outside = row["batch"] not in mine
    return not (outside and row["status"] == "ready"), row["row"] < 0, outside, row["batch"], row["row"], row["key"]
