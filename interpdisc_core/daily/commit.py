"""The memory takes a day in, gives it back, or is made anew.

`days/<day>/commit.json` is written last and names the day's records, so a day is in the memory wholly or, as far as any
horizon sees, not at all. What was interrupted is done again: the same images leave the same bits.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

import numpy as np

from interpdisc_core import catalog, digest
from interpdisc_core.daily import calendar
from interpdisc_core.daily.calendar import Item
from interpdisc_core.daily.lanes import Lanes, lanes
from interpdisc_core.daily.settings import Daily
from interpdisc_core.daily.strata import kept_as, memory_of, strata
from interpdisc_core.daily.word import spoken_of, word
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.features import FeatureStore, gather
from interpdisc_core.memory import Memory, Record, canonical
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

_OURS = re.compile(r" @[0-9a-f]{12}$")


@dataclass(frozen=True, slots=True)
class Kept:
    """A record of the memory. digest: names its content. count: images in it."""

    digest: str
    count: int


@dataclass(frozen=True, slots=True)
class Commit:
    """That a day is in the memory. of: what names its images (`calendar.content`); lanes: what names those remembered.

    site: where the rover was, as text; empty where that is not known. records: by stratum.
    """

    day: str
    of: str
    lanes: str
    remembers: str
    site: str
    revision: int
    run: str
    records: Mapping[str, Kept]
    at: str


def commits(archive: Place) -> list[Commit]:
    """The committed days, in order."""
    found = [committed(archive, day) for day in archive.names("days")]
    return sorted((commit for commit in found if commit is not None), key=lambda commit: canonical(commit.day))


def committed(archive: Place, day: str, damaged: bool = False) -> Commit | None:
    """A day's commit, or None where it is not in the memory. Raises StoreError where its file is damaged.

    damaged: None for that too.
    """
    try:
        told = archive.read_json(f"days/{day}/commit.json")
        return Commit(**told | {"records": {name: Kept(**kept) for name, kept in told["records"].items()}})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (TypeError, KeyError, AttributeError, StoreError) as error:
        if damaged:
            return None
        raise StoreError(
            f"{archive.url}/days/{day}/commit.json is damaged; `interpdisc rebuild` makes it anew."
        ) from error


def differs(archive: Place, day: str, items: list[Item], settings: Daily) -> bool:
    """Whether a day has to be done: it is not committed with these images, and was not taken back for good.

    Raises StoreError where it was committed with settings that make other records.
    """
    if taken_back(archive, day):
        return False
    commit = committed(archive, day)
    if commit is not None and commit.remembers != settings.remembers:
        raise StoreError(
            f"{archive.url}: its memory was made with another representation, normalisation, strata or rules than are "
            f"asked for; `interpdisc rebuild` with the same settings makes it anew, or name another archive."
        )
    return commit is None or commit.of != calendar.content(items, settings.remembers)


def taken_back(archive: Place, day: str) -> bool:
    """Whether somebody took the day out of the memory."""
    return archive.exists(f"days/{day}/undone.json")


def rows_of(archive: Place, settings: Daily, items: list[Item] | tuple[Item, ...]) -> Floats:
    """The features of images (n, d) float64, normalised as the plan says."""
    store = FeatureStore(archive, settings.plan.features)
    values = gather(store, [item.place for item in items]).astype(np.float64)
    if settings.plan.normalise == "l2" and len(values):
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def remember(archive: Place, settings: Daily, day: str, parted: Lanes) -> dict[str, Kept]:
    """Put a day's records into the memory, one a stratum, in place of those that it had.

    Of science images only, and not of those that people called interesting: more like them may come.
    """
    before = committed(archive, day)
    remembered = [item for item in parted.science if item.entry.key not in parted.interesting]
    kept = {}
    for stratum, items in strata(settings, remembered).items():
        content = [[item.name, item.entry.sha256] for item in items]
        made_from = {"images": content, "features": settings.plan.features, "normalise": settings.plan.normalise}
        record = Record.of(day, rows_of(archive, settings, items), made_from)
        memory = Memory(archive, memory_of(settings, stratum))
        _replace(memory, record)
        kept[stratum] = Kept(record.digest, record.count)
    gone = set(before.records if before is not None and before.remembers == settings.remembers else {}) - set(kept)
    for stratum in sorted(gone):
        _drop(Memory(archive, memory_of(settings, stratum)), day)
    return kept


def _replace(memory: Memory, record: Record) -> None:
    there = memory.chosen([record.name]) if record.name in memory.names() else {}
    if there.get(record.name) not in (None, record.digest):
        memory.remove(record.name)
    memory.add(record)


def _drop(memory: Memory, day: str) -> None:
    if day in memory.names():
        memory.remove(day)


def take_in(
    archive: Place, settings: Daily, day: str, items: list[Item], parted: Lanes, revision: int, run: str
) -> Commit:  # fmt: skip
    """Take a day into the memory. The same again changes nothing but the time."""
    kept = remember(archive, settings, day, parted)
    made = Commit(
        day, calendar.content(items, settings.remembers), lanes_name(parted), settings.remembers, site_of(items), revision,
        run, kept, datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    archive.write_json(f"days/{day}/commit.json", asdict(made))
    return made


def lanes_name(parted: Lanes) -> str:
    """Names which images are remembered; people may change that by what they say."""
    kept = [item for item in parted.science if item.entry.key not in parted.interesting]
    return digest.of_json([[item.name, item.entry.sha256] for item in kept])


def site_of(items: list[Item]) -> str:
    """Where the rover was on a day: the site of most of its images, or empty."""
    sites = sorted(str(item.told.site) for item in items if item.told.site is not None)
    return max(sorted(set(sites)), key=sites.count) if sites else ""


def settled(url: str, settings: Daily) -> tuple[str, ...]:
    """Take into account what people said since days were committed: of those days, records are made anew.

    Returns the days whose memory changed. Their lists and pages stay as they were made.
    """
    archive = Place.of(url)
    latest = catalog.load(archive)
    spoken = spoken_of(archive, latest)
    if not spoken:
        return ()
    known, changed = {commit.day: commit for commit in commits(archive)}, []
    for day, items in calendar.by_day(latest).items():
        commit = known.get(day)
        if commit is None or commit.of != calendar.content(items, settings.remembers):
            continue
        if spoken.isdisjoint(item.entry.sha256 for item in items):
            continue
        now = lanes(FeatureStore(archive, settings.plan.features), items, settings.artefacts, word(archive, latest))
        if lanes_name(now) != commit.lanes:
            take_in(archive, settings, day, items, now, commit.revision, commit.run)
            changed.append(day)
    return tuple(changed)


def undo(url: str, day: str, by: str, why: str) -> Commit:
    """Take a day out of the memory, for good: horizons are as if it had never been there, to the bit.

    `redo` lets the next daily run do it again. Raises PlanError for a day that is not in the memory.
    """
    archive = Place.of(url)
    found = committed(archive, day)
    if found is None:
        there = [commit.day for commit in commits(archive)]
        raise PlanError(
            f"{archive.url} has no day {day!r} in its memory; "
            + (f"it has {there[0]} to {there[-1]}." if there else "it has none.")
        )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    # First of all that it is taken back: a run that is interrupted from here on must not take it in again.
    archive.write_json(f"days/{day}/undone.json", {"by": by, "why": why, "at": at, "commit": asdict(found)})
    archive.remove(f"days/{day}/commit.json")
    for stratum in found.records:
        _drop(Memory(archive, kept_as(stratum, found.remembers)), day)
    return found


def redo(url: str, day: str) -> None:
    """Let the next daily run do a day that was taken back. Raises PlanError for one that was not."""
    archive = Place.of(url)
    if not taken_back(archive, day):
        raise PlanError(f"{archive.url}: day {day!r} was not taken back.")
    archive.write_json(f"days/{day}/redone.json", archive.read_json(f"days/{day}/undone.json"))
    archive.remove(f"days/{day}/undone.json")


def memory(archive: Place) -> dict[str, dict[str, str]]:
    """What daily runs have in the memory: by stratum, what names the content of each day's record."""
    return {stratum: Memory(archive, stratum).chosen() for stratum in strata_of(archive)}


def strata_of(archive: Place) -> list[str]:
    """The strata of the memory that daily runs made."""
    return [name for quoted in archive.names("memory") if _OURS.search(name := unquote(quoted))]
