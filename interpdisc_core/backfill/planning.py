"""What there is to do: the shards, and the batch of the archive that each one is."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interpdisc_core import catalog, catalog_lookup
from interpdisc_core.backfill import records
from interpdisc_core.backfill.records import Shard
from interpdisc_core.catalog import Entry
from interpdisc_core.features import Batch, FeatureStore, Stored, batches, reserve, store_name
from interpdisc_core.ingest import ready_archive
from interpdisc_core.plan import Plan
from interpdisc_core.sources.listed import Listed
from interpdisc_core.sources.shards import Shards, addresses, is_rest
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

ROWS = 2048
"""Rows of a block unless another number is asked for: what a selection looks at together, 5 MB of 1,280 float16."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a call has to do. name: of the backfill. shards: how many its sources name, `bytes` in all.

    todo: those that are not done yet. turn: of the catalog, for what the call writes.
    """

    name: str
    shards: int
    bytes: int
    todo: tuple[Shard, ...]
    turn: int


def plan(url: str, sources: Sequence[str], settings: Plan, dtype: Stored, block: int = ROWS) -> Planned:
    """List the shards of `sources`, and fix the batch of each that is new or has changed.

    Only addresses are listed, nothing is read. A shard that another backfill of the archive has taken in keeps its batch.
    Raises PlanError where a source names no shard.
    """
    listed, beside = shards_of(sources)
    archive = ready_archive(url)
    name = store_name(settings.features, dtype)
    FeatureStore(archive, name).describe(settings.representation)
    mine = _without_dropped(archive, name, {item.uri for item in listed})
    anyone = records.current(shard for other in records.names(archive) for shard in records.planned(archive, other))
    here, fresh = records.current(mine), []
    number = _next(archive)
    for item in listed:
        there = anyone.get(item.uri)
        if there is None or (there.size, there.stamp) != (item.size, item.stamp):
            fresh.append(Shard(item.uri, item.id, item.size, item.stamp, number, block))
            number += 1
        elif here.get(item.uri) != there:
            fresh.append(there)
    if fresh:
        # From now on nobody else takes these numbers, however long the shards take to come to them.
        reserve(archive, number - 1)
        mine = sorted([*mine, *fresh], key=lambda shard: shard.batch)
        records.write_plan(archive, name, mine)
    wanted, done = {item.uri for item in listed}, records.done(archive, name)
    now = [shard for uri, shard in records.current(mine).items() if uri in wanted]
    todo = tuple(shard for shard in now if shard.batch not in done)
    records.unsettle(archive, name, {shard.batch for shard in todo})
    turn = _log_beside(archive, catalog.next_turn(archive), beside)
    log.info("%d shards, %d of them new or changed, %d to do", len(now), len(fresh), len(todo))
    size = sum(max(shard.size, 0) for shard in now)
    return Planned(name, len(now), size, todo, turn)


def to_do(url: str, sources: Sequence[str], settings: Plan, dtype: Stored) -> tuple[int, int, int]:
    """What `plan` would say, without writing anything: shards, those to do, and bytes to do."""
    (listed, _), archive, name = shards_of(sources), Place.of(url), store_name(settings.features, dtype)
    done, here = records.done(archive, name), records.current(records.planned(archive, name))
    left = [
        item for item in listed
        if (there := here.get(item.uri)) is None
        or (there.size, there.stamp) != (item.size, item.stamp) or there.batch not in done
    ]  # fmt: skip
    return len(listed), len(left), sum(max(item.size, 0) for item in left)


def _without_dropped(archive: Place, name: str, wanted: set[str]) -> list[Shard]:
    """The shards of a backfill but for those that never could be read, and are not asked for any more."""
    mine, unread = records.planned(archive, name), set(records.faults(archive, name)) - records.read(archive, name)
    kept = [shard for shard in mine if shard.uri in wanted or shard.batch not in unread]
    if len(kept) < len(mine):
        records.write_plan(archive, name, kept)
        log.info("%d shards that could not be read are not asked for any more", len(mine) - len(kept))
    return kept


def _next(archive: Place) -> int:
    """The first number that no batch has, and no shard of any backfill."""
    taken = {shard.batch for name in records.names(archive) for shard in records.planned(archive, name)}
    there = batches(archive)
    if there and there[-1] not in taken and not len(Batch.read(archive, there[-1]).table):
        there.pop()  # reserved by a call that was killed before it said for what
    return max(taken.union(there), default=-1) + 1


def _log_beside(archive: Place, turn: int, beside: list[Listed]) -> int:
    """What lies beside the shards and is none has a status too, skipped; the turn after that."""
    entries = {entry.key: entry for entry in map(Entry.of, beside)}
    for key in catalog_lookup.find(archive, keys=list(entries)):
        del entries[key]
    if not entries:
        return turn
    catalog.write_part(archive, turn, "beside-shards", entries.values())
    return turn + 1


def shards_of(sources: Iterable[str]) -> tuple[list[Listed], list[Listed]]:
    """The shards that sources name, each address once, in order of id; and what is no shard, with the reason.

    A shard that is named and is not there is among the first. Raises PlanError for a source that names none.
    """
    found: dict[str, Listed] = {}
    for source in sources:
        found = {item.uri: item for item in addresses(Shards(of=source.removeprefix("shards:")))} | found
    listed = sorted(found.values(), key=lambda item: (item.id, item.uri))
    return [i for i in listed if not i.skipped or is_rest(i)], [i for i in listed if i.skipped and not is_rest(i)]
