"""Ingest of a day's source: poll a feed, catalog new inputs, mark superseded versions, find the days to process."""

import logging
from dataclasses import dataclass

from interpdisc_core.archive import catalog, layout
from interpdisc_core.archive.batches import BlockId
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.images.uri_fragments import split_tile_uri
from interpdisc_core.metadata.observations import find_superseded
from interpdisc_core.operations.daily import commit
from interpdisc_core.operations.daily import days as calendar
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.pipeline import assign_rows, ingest
from interpdisc_core.pipeline.ingest import ListingResult
from interpdisc_core.sources.feeds.protocol import PollResult
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)

INBOX_FOLDER = "inbox"


@dataclass(frozen=True, slots=True)
class PollSummary:
    """What a poll of the source brought.

    Attributes:
        new: Images that had not been received before; `resent`: known ones with other content; `outstanding`: announced
            ones that could not be downloaded yet.
        silent_s: Seconds since a poll last brought something; None if unknown.
        trouble: Why the poll stopped early; empty if it did not. The next poll resumes there.
        is_feed: Whether the source is a feed. Any other source is not polled but listed.
    """

    new: int = 0
    resent: int = 0
    outstanding: int = 0
    silent_s: float | None = None
    trouble: str = ""
    is_feed: bool = True


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """What a run has to do.

    Attributes:
        days: The days to process, in order. All are remembered; those in `days_with_picks` get a list.
        blocks: The blocks of these days whose features are missing; `images`: number of images in them.
        superseded: Inputs that were replaced by better versions in this run.
        sequence: Sequence number for the catalog parts of the run.
    """

    days: tuple[str, ...]
    days_with_picks: tuple[str, ...]
    blocks: tuple[BlockId, ...]
    images: int
    superseded: int
    sequence: int


def poll_source(url: str, settings: Daily) -> PollSummary:
    """Download what is new in a feed; other sources are only listed, later."""
    archive = layout.open_or_create_archive(url)
    poll_feed = getattr(settings.source, "poll", None)
    if poll_feed is None:
        return PollSummary(is_feed=False)
    outcome: PollResult = poll_feed(archive / INBOX_FOLDER)
    if outcome.failure:
        log.warning("%s", outcome.failure)
    return PollSummary(outcome.new, outcome.resent, outcome.outstanding, outcome.silent_for_seconds, outcome.failure)


def list_daily_inputs(url: str, settings: Daily) -> ListingResult:
    """List the inputs of the source that are not in the catalog yet."""
    return ingest.list_new_inputs(url, settings.source, INBOX_FOLDER)


def ingest_days(url: str, listing: str, settings: Daily, block: int, workers: int) -> IngestSummary:
    """Catalog the checked inputs of a listing, and find the days whose images have changed since they were committed.

    Args:
        url: Address of the archive.
        listing: Name of the listing, see `list_daily_inputs`.
        settings: Settings of the daily run.
        block: Maximum number of images per block.
        workers: Number of workers that the work is spread over.

    Raises:
        StoreError: If the memory was made by other settings.
    """
    archive = Location.parse(url)
    tile_side = settings.plan.representation.side if settings.tiles else 0
    assign_rows.assign_rows(url, listing, block, workers, tile_side)
    superseded_count = _log_superseded(archive)
    store = FeatureStore(archive, settings.plan.features_digest)
    store.write_spec(settings.plan.representation)
    days = calendar.load_days(archive)
    pending_days = [day for day, items in days.items() if commit.needs_run(archive, day, items, settings)]
    # Only the last new days get lists; a day that had one is listed again in any case.
    new_days = [day for day in pending_days if commit.load_commit(archive, day) is None]
    days_without_picks = set(new_days[: -settings.most_days])
    days_with_picks = tuple(day for day in pending_days if day not in days_without_picks)
    positions = [item.position for day in pending_days for item in days[day] if item.is_readable]
    blocks, images = assign_rows.find_missing_blocks_of_rows(store, positions)
    return IngestSummary(
        tuple(pending_days), days_with_picks, blocks, images, superseded_count, catalog.next_sequence(archive)
    )


def _log_superseded(archive: Location) -> int:
    """Log which inputs are superseded by a better version of the same product, with their tiles.

    An input that a feed announced without its image is superseded by the image once it comes.

    Returns:
        How many inputs were superseded.
    """
    entries = catalog.load_entries(archive)
    ready = [entry for entry in entries.values() if entry.status == "ready"]
    images = [calendar.build_day_image(entry) for entry in ready if split_tile_uri(entry.uri)[1] is None]
    successors = find_superseded([item.observed_image for item in images])
    successor_by_uri = {entries[key].uri: successor for key, successor in successors.items()}
    for entry in ready:
        frame_uri, box = split_tile_uri(entry.uri)
        if box is not None and frame_uri in successor_by_uri:
            successors[entry.key] = successor_by_uri[frame_uri]
    key_by_id = {entry.id: entry.key for entry in ready}
    for entry in entries.values():
        if entry.status == "skipped" and "/outstanding/" in entry.uri and entry.id in key_by_id:
            successors[entry.key] = key_by_id[entry.id]
    events = [entries[key].with_status("superseded-by", successor) for key, successor in successors.items()]
    if events:
        catalog.write_part(archive, catalog.next_sequence(archive), "supersede", events)
        log.info("%d inputs are superseded by better versions", len(events))
    return len(events)
