"""A day's runs, ready for selection: one over all of its images, and a short one a stratum."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from interpdisc_core import catalog, digest
from interpdisc_core.catalog import Entry
from interpdisc_core.daily import calendar
from interpdisc_core.daily.calendar import Item
from interpdisc_core.daily.commit import committed, rows_of, site_of
from interpdisc_core.daily.horizon import Horizon, before, novelty, write_scores
from interpdisc_core.daily.lanes import Lanes, lanes
from interpdisc_core.daily.settings import Daily
from interpdisc_core.daily.strata import ALL, memory_of, strata
from interpdisc_core.daily.word import Word, word
from interpdisc_core.errors import StoreError
from interpdisc_core.features import FeatureStore
from interpdisc_core.ingest import environment
from interpdisc_core.runs import Inputs, Member, Run
from interpdisc_core.storage import Place
from interpdisc_core.terms import Terms


@dataclass(frozen=True, slots=True)
class Opened:
    """A day that is ready. runs: by stratum, `all` first; empty where it has no science image. picks: of `all`, at most.

    revision: from 1; the same images again are the same revision.
    """

    day: str
    revision: int
    runs: Mapping[str, str]
    picks: int
    images: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a day is looked at by: its images in their lanes, its horizon, what people said so far.

    latest: the catalog, and days: its images by day, both as they were when the look was taken.
    """

    latest: Mapping[str, Entry]
    days: Mapping[str, list[Item]]
    items: tuple[Item, ...]
    parted: Lanes
    horizon: Horizon
    said: Word
    boring: tuple[Item, ...]


def look(archive: Place, settings: Daily, day: str) -> Look:
    """Gather what a day is looked at by. Raises StoreError for a day that has no image at all."""
    latest = catalog.load(archive)
    days = calendar.by_day(latest)
    items = days.get(day, [])
    if not items:
        raise StoreError(f"{archive.url} has no image of {day}.")
    said = word(archive, latest)
    parted = lanes(FeatureStore(archive, settings.plan.features), items, settings.artefacts, said)
    every = {item.entry.sha256: item for of in days.values() for item in of if item.readable}
    boring = sorted(sha256 for sha256, mark in said.items() if mark.verdict == "boring" and sha256 in every)
    horizon = before(archive, day, settings, site_of(items))
    return Look(latest, days, tuple(items), parted, horizon, said, tuple(every[sha256] for sha256 in boring))


def open_day(url: str, settings: Daily, day: str) -> Opened:
    """Begin a day's runs, and keep how new each of its images is beside the days before. Doing it again does the same."""
    archive = Place.of(url)
    seen = look(archive, settings, day)
    parts = strata(settings, seen.parted.science)
    terms = {name: _terms(settings, name, items, seen) for name, items in parts.items()}
    write_scores(archive, day, {name: _scored(archive, settings, seen, name, items) for name, items in parts.items()})
    runs, used = {}, environment()
    for name, items in parts.items():
        plan = settings.plan if name == ALL else replace(settings.plan, picks=settings.listed, explain=0)
        members = [_member(item) for item in items]
        told = [[item.name, item.entry.sha256] for item in items]
        named = digest.of_json([plan.digest, told, terms[name].told()])
        run = Run(archive, f"{day}-{_slug(name)}-{named[:8]}")
        run.begin(plan, Inputs(sources=(day,)), members, used, terms[name])
        runs[name] = run.id
    opened = Opened(
        day, _revision(archive, settings, day, seen.items), runs, min(settings.plan.picks, len(seen.parted.science)),
        len(seen.items),
    )  # fmt: skip
    archive.write_json(f"days/{day}/opened.json", asdict(opened))
    return opened


def _terms(settings: Daily, stratum: str, items: list[Item], seen: Look) -> Terms:
    observations = {item.entry.key: seen.parted.observation_of[item.entry.key] for item in items}
    known = {item.entry.key for item in seen.parted.known}
    return Terms(
        stratum=memory_of(settings, stratum),
        batches=seen.horizon.batches(stratum),
        absorbed=tuple(item.place for item in seen.boring),
        known=tuple(sorted(item.entry.key for item in items if item.entry.key in known)),
        observations=observations,
        groups={item.entry.key: item.told.instrument for item in items} if stratum == ALL and settings.budget else {},
        budget=dict(settings.budget) if stratum == ALL else {},
    )


def _scored(
    archive: Place, settings: Daily, seen: Look, stratum: str, items: list[Item]
) -> list[tuple[str, str, float]]:  # fmt: skip
    """(id, key, score) of each image of a stratum against the days before; what people called boring is not absorbed."""
    values = rows_of(archive, settings, items)
    scores = novelty(seen.horizon.seen(archive, settings, stratum), settings.selector.rank, values)
    return [(item.entry.id, item.entry.key, float(s)) for item, s in zip(items, scores, strict=True)]


def _member(item: Item) -> Member:
    entry = item.entry
    return Member(
        entry.id, entry.key, item.address, entry.sha256, entry.batch, entry.row, "candidate", None, entry.record
    )


def _revision(archive: Place, settings: Daily, day: str, items: tuple[Item, ...]) -> int:
    """The number of this version of the day's list."""
    try:
        before = archive.read_json(f"days/{day}/day.json")
    except FileNotFoundError:
        done = committed(archive, day)
        return 1 if done is None else max(1, done.revision)
    same = before["of"] == calendar.content(items, settings.remembers)
    return int(before["revision"]) + (0 if same else 1)


def _slug(stratum: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", stratum.lower()).strip("-")[:32] or "stratum"
