"""Rebuild features and memory of an archive: after a change of representation, strata or rules, or after damage."""

from dataclasses import dataclass

from interpdisc_core.archive import catalog, layout
from interpdisc_core.archive.batches import BlockId
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.archive.feedback import load_latest_verdicts
from interpdisc_core.archive.memory import Memory
from interpdisc_core.operations.daily import commit
from interpdisc_core.operations.daily import days as calendar
from interpdisc_core.operations.daily.days import stratum_key
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.operations.daily.triage import triage_images
from interpdisc_core.pipeline import assign_rows
from interpdisc_core.storage.location import Location


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild has to do.

    Attributes:
        days: In order.
        blocks: The blocks whose features are missing; `images`: number of images in them.
        sequence: Sequence number for the catalog parts of the rebuild.
    """

    days: tuple[str, ...]
    blocks: tuple[BlockId, ...]
    images: int
    sequence: int


def plan_rebuild(url: str, settings: Daily) -> RebuildPlan:
    """Find what there is to rebuild.

    Raises:
        StoreError: If there is no archive at `url`, or one of another version.
    """
    archive = Location.parse(url)
    layout.check_format(archive)
    store = FeatureStore(archive, settings.plan.features_digest)
    store.write_spec(settings.plan.representation)
    days = {day: items for day, items in calendar.load_days(archive).items() if not commit.is_undone(archive, day)}
    positions = [item.position for items in days.values() for item in items if item.is_readable]
    blocks, images = assign_rows.find_missing_blocks_of_rows(store, positions)
    return RebuildPlan(tuple(days), blocks, images, catalog.next_sequence(archive))


def rebuild_day(url: str, settings: Daily, day: str) -> int:
    """Rebuild a day's records from its features and commit the day; returns its number of strata."""
    archive = Location.parse(url)
    entries = catalog.load_entries(archive)
    items = calendar.group_by_day(entries).get(day, [])
    previous = commit.load_commit(archive, day, ignore_damage=True)
    triage = triage_images(archive, settings, items, load_latest_verdicts(archive, entries))
    day_commit = commit.commit_day(
        archive, settings, day, items, triage, previous.revision if previous else 0, previous.run if previous else ""
    )
    return len(day_commit.records)


def finish_rebuild(url: str, settings: Daily) -> str:
    """Remove the records that no commit names from the memory; returns the address of the rebuild's log."""
    archive = Location.parse(url)
    committed_digests = {
        (stratum_key(stratum, day_commit.memory_digest), day_commit.day): reference.digest
        for day_commit in commit.load_commits(archive)
        for stratum, reference in day_commit.records.items()
    }
    removed_count = 0
    for stratum in commit.list_daily_strata(archive):
        memory = Memory(archive, stratum)
        memory.clear_cache()
        if stratum not in {name for name, _ in committed_digests}:
            removed_count += len(memory.list_names())
            memory.clear()
            continue
        for day in memory.list_names():
            if (stratum, day) not in committed_digests:
                memory.remove(day)
                removed_count += 1
    summary = {
        "days": len(commit.load_commits(archive)),
        "memory_digest": settings.memory_digest,
        "records_removed": removed_count,
    }
    archive.write_checked_json(f"accounts/rebuild-{settings.memory_digest}.json", summary)
    return f"{archive.url}/accounts/rebuild-{settings.memory_digest}.json"
