"""The memory made anew, after a change of backbone or of what records are made by, or where it was damaged."""

from dataclasses import dataclass

from interpdisc_core import catalog, ingest
from interpdisc_core.daily import calendar, commit
from interpdisc_core.daily.lanes import lanes
from interpdisc_core.daily.settings import Daily
from interpdisc_core.daily.strata import kept_as
from interpdisc_core.daily.word import word
from interpdisc_core.features import Block, FeatureStore
from interpdisc_core.memory import Memory
from interpdisc_core.storage import Place


@dataclass(frozen=True, slots=True)
class Begun:
    """What is to be done. days: in order. blocks: to extract; images: in them. turn: of the catalog."""

    days: tuple[str, ...]
    blocks: tuple[Block, ...]
    images: int
    turn: int


def begin(url: str, settings: Daily) -> Begun:
    """Say what there is to rebuild. Raises StoreError where there is no archive at `url`, or one of another version."""
    archive = Place.of(url)
    ingest.check_format(archive)
    store = FeatureStore(archive, settings.plan.features)
    store.describe(settings.plan.representation)
    days = {day: items for day, items in calendar.calendar(archive).items() if not commit.taken_back(archive, day)}
    places = [item.place for items in days.values() for item in items if item.readable]
    blocks, images = ingest.unextracted_at(store, places)
    return Begun(tuple(days), blocks, images, catalog.next_turn(archive))


def rebuild_day(url: str, settings: Daily, day: str) -> int:
    """Make a day's records anew from its features, and commit it by them. Returns how many strata it has."""
    archive = Place.of(url)
    latest = catalog.load(archive)
    items = calendar.by_day(latest).get(day, [])
    before = commit.committed(archive, day, damaged=True)
    parted = lanes(FeatureStore(archive, settings.plan.features), items, settings.artefacts, word(archive, latest))
    made = commit.take_in(
        archive, settings, day, items, parted, before.revision if before else 0, before.run if before else ""
    )  # fmt: skip
    return len(made.records)


def end(url: str, settings: Daily) -> str:
    """Remove from the memory what no commit names any more; returns the address of an account."""
    archive = Place.of(url)
    named = {
        (kept_as(stratum, one.remembers), one.day): kept.digest
        for one in commit.commits(archive) for stratum, kept in one.records.items()
    }  # fmt: skip
    removed = 0
    for stratum in commit.strata_of(archive):
        memory = Memory(archive, stratum)
        memory.tidy()
        if stratum not in {name for name, _ in named}:
            removed += len(memory.names())
            memory.clear()
            continue
        for day in memory.names():
            if (stratum, day) not in named:
                memory.remove(day)
                removed += 1
    told = {"days": len(commit.commits(archive)), "remembers": settings.remembers, "records_removed": removed}
    archive.write_json(f"accounts/rebuild-{settings.remembers}.json", told)
    return f"{archive.url}/accounts/rebuild-{settings.remembers}.json"
