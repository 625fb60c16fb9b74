"""New images of the source into the catalog: listed, checked, settled; versions of one product put in order."""

import logging
from dataclasses import dataclass

from interpdisc_core import catalog, ingest, tiles
from interpdisc_core.daily import calendar, commit
from interpdisc_core.daily.settings import Daily
from interpdisc_core.features import Block, FeatureStore
from interpdisc_core.ingest import Listing
from interpdisc_core.observations import superseded
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

INBOX = "inbox"


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll brought. silent_s: seconds since a poll last brought something; None where that is not known.

    trouble: why the poll did not get to its end, or empty; the next goes on from there.
    """

    new: int
    resent: int
    outstanding: int
    silent_s: float | None
    trouble: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """What there is to do. days: in order; listed: those of them that get a list, the memory takes in all.

    blocks: to extract, of all these days. turn: of the catalog. superseded: by a better version, this time.
    """

    days: tuple[str, ...]
    listed: tuple[str, ...]
    blocks: tuple[Block, ...]
    images: int
    superseded: int
    turn: int


def poll(url: str, settings: Daily) -> Polled:
    """Ask the source for what is new. A source that is no feed has nothing to be asked: it is listed."""
    archive = ingest.ready_archive(url)
    ask = getattr(settings.source, "poll", None)
    if ask is None:
        return Polled(0, 0, 0, None, "")
    found = ask(archive / INBOX)
    if found.trouble:
        log.warning("%s", found.trouble)
    return Polled(found.new, found.resent, found.outstanding, found.silent_for_seconds, found.trouble)


def enlist(url: str, settings: Daily) -> Listing:
    """Log every input of the source that is new; what is settled already is not looked at again."""
    return ingest.enlist_new(url, settings.source, INBOX)


def arrive(url: str, listing: str, settings: Daily, block: int, workers: int) -> Arrived:
    """Settle a listing, and say which days are to be done: those whose images are others than when last committed."""
    archive = Place.of(url)
    side = settings.plan.representation.side if settings.tiles else 0
    ingest.admit(url, listing, block, workers, side)
    late = _supersede(archive)
    store = FeatureStore(archive, settings.plan.features)
    store.describe(settings.plan.representation)
    days = calendar.calendar(archive)
    todo = [day for day, items in days.items() if commit.differs(archive, day, items, settings)]
    first = [commit.committed(archive, day) is None for day in todo]
    # The last of the new days get lists; a day that was listed before is listed anew, however many there are.
    fresh = [day for day, new in zip(todo, first, strict=True) if new][-settings.most_days :]
    listed = tuple(day for day, new in zip(todo, first, strict=True) if not new or day in fresh)
    places = [item.place for day in todo for item in days[day] if item.readable]
    blocks, images = ingest.unextracted_at(store, places)
    return Arrived(tuple(todo), listed, blocks, images, late, catalog.next_turn(archive))


def _supersede(archive: Place) -> int:
    """Log which inputs a better version of the same product supersedes, with their tiles; returns how many now are.

    What a feed could not give for long, and then gave, is superseded by the image itself.
    """
    latest = catalog.load(archive)
    ready = [entry for entry in latest.values() if entry.status == "ready"]
    frames = [calendar.item_of(entry) for entry in ready if tiles.parted(entry.uri)[1] is None]
    better = superseded([item.sight for item in frames])
    by_uri = {latest[key].uri: by for key, by in better.items()}
    for entry in ready:
        frame, box = tiles.parted(entry.uri)
        if box is not None and frame in by_uri:
            better[entry.key] = by_uri[frame]
    by_id = {entry.id: entry.key for entry in ready}
    for entry in latest.values():
        if entry.status == "skipped" and "/outstanding/" in entry.uri and entry.id in by_id:
            better[entry.key] = by_id[entry.id]
    events = [latest[key].now("superseded-by", by) for key, by in better.items()]
    if events:
        catalog.write_part(archive, catalog.next_turn(archive), "supersede", events)
        log.info("%d inputs are superseded by better versions", len(events))
    return len(events)
