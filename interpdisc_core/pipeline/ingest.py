"""Ingest: identify, check and account for every input, in three steps.

`list_inputs` lists the sources and adds new inputs to the catalog. `check_inputs` reads files, hashes them and parses
their headers; this step is spread over workers. `resolve_inputs` resolves duplicates and new versions, gives each new
content a row, and returns the blocks whose features are missing.
"""

import contextlib
import json
import logging
import posixpath
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from threading import Event
from typing import Any

import pyarrow as pa

from interpdisc_core import digest, sources
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import BlockId
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.catalog_compaction import compact_catalog
from interpdisc_core.archive.crashes import KnownCrashes
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.archive.layout import open_or_create_archive
from interpdisc_core.archive.run import MemberRole, Run, RunInputs, RunMember
from interpdisc_core.errors import AccessError, PlanError, StoreError, Unreadable
from interpdisc_core.images import radiometry
from interpdisc_core.images.decode import identify
from interpdisc_core.images.isolated_map import ProcessDeath, map_isolated
from interpdisc_core.images.memory_budget import has_room_now
from interpdisc_core.metadata.image_metadata import parse_metadata
from interpdisc_core.pipeline.assign_rows import assign_listing_rows, find_missing_blocks, unique_members
from interpdisc_core.pipeline.labels import (
    Labels,
    count_unlabelled,
    load_labels,
    note_source_labels,
)
from interpdisc_core.pipeline.outstanding import DEFAULT_MAX_OUTSTANDING, refuse_outstanding
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.provenance import collect_environment
from interpdisc_core.sources import Source, SourceEntry
from interpdisc_core.storage.file_names import slugify
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet, read_parquet, rows_to_parquet

log = logging.getLogger(__name__)
_CHECK_THREADS = 8
_SHA256 = re.compile("[0-9a-f]{64}")
"""The stamp of an input whose content is known when it is listed: one of an inbox."""


@dataclass(frozen=True, slots=True)
class ListingResult:
    """A listing of sources.

    Attributes:
        name: Name of its folder in the archive.
        inputs: Number of inputs listed.
        unchecked: Number of inputs that `check_inputs` has to read.
        sequence: Number of the catalog's next step.
    """

    name: str
    inputs: int
    unchecked: int
    sequence: int


@dataclass(frozen=True, slots=True)
class IngestResult:
    """A run whose inputs are resolved.

    Attributes:
        run: The run's id.
        candidates: Number of images to pick from.
        background: Number of images that count as known.
        blocks: Blocks whose features are missing.
        images: Number of images in these blocks.
        ledger: Number of inputs of this run by status.
        sequence: Number of the catalog's next step.
    """

    run: str
    candidates: int
    background: int
    blocks: tuple[BlockId, ...]
    images: int
    ledger: dict[str, int]
    sequence: int


def list_inputs(url: str, inputs: RunInputs) -> ListingResult:
    """List the sources of a run and add new inputs to the catalog.

    Raises:
        PlanError: If a source does not exist or names no inputs, or if the labels do not fit.
    """
    archive = open_or_create_archive(url)
    roles: dict[str, tuple[MemberRole, SourceEntry]] = {}
    overlap_count = 0
    source_lists: tuple[tuple[MemberRole, tuple[str, ...]], ...] = (
        ("background", inputs.background),
        ("candidate", inputs.sources),
    )
    for role, source_list in source_lists:
        for item in sources.list_entries(source_list) if source_list else []:
            key = catalog.compute_input_key(item)
            overlap_count += key in roles
            roles.setdefault(key, (role, item))
    candidates = [item for role, item in roles.values() if role == "candidate"]
    labels = load_labels(inputs.labels, [item.id for item in candidates], [item.uri for item in candidates])
    own_notes = note_source_labels([*inputs.background, *inputs.sources], candidates)
    labels = replace(labels, notes=(*own_notes, *labels.notes))
    return _write_listing(archive, roles, labels, catalog.load_entries(archive), overlap_count)


def list_new_inputs(url: str, source: Source, inbox: str) -> ListingResult:
    """As `list_inputs`, of one source, but only inputs that are new or could not be got at last time.

    Args:
        url: The archive's address.
        source: The source.
        inbox: Folder in the archive where a feed keeps what it downloaded.
    """
    archive = open_or_create_archive(url)
    entries = catalog.load_entries(archive)
    roles: dict[str, tuple[MemberRole, SourceEntry]] = {}
    for item in sources.list_entries([source], archive / inbox):
        key = catalog.compute_input_key(item)
        entry = entries.get(key)
        if entry is None or entry.status == "pending" or entry.is_outstanding or has_room_now(entry.reason):
            roles.setdefault(key, ("candidate", item))
    return _write_listing(archive, roles, Labels({}), entries)


def _write_listing(
    archive: Location,
    roles: dict[str, tuple[MemberRole, SourceEntry]],
    labels: Labels,
    entries: dict[str, CatalogEntry],
    overlap_count: int = 0,
) -> ListingResult:
    compact_catalog(archive)
    sequence = catalog.next_sequence(archive)
    events = [CatalogEntry.from_source_entry(item) for key, (_, item) in roles.items() if key not in entries]
    if events:
        catalog.write_part(archive, sequence, "list", events)
    latest = entries | {entry.key: entry for entry in events}
    # Inputs that could not be got at last time are tried again when they are listed again.
    # So are those that took more memory than the budget was then.
    tried_again = (
        replace(entry, retryable=True) if entry.status == "quarantined" and has_room_now(entry.reason) else entry
        for entry in (latest[key] for key in roles)
    )
    unchecked = [
        entry
        for entry in tried_again
        if entry.is_outstanding or (entry.status == "pending" and (entry.retryable or not entry.sha256))
    ]

    rows = [
        {
            "key": key,
            "id": item.id,
            "uri": item.uri,
            "role": role,
            "label": labels.class_of(item.id, item.label),
            "record": latest[key].record,
        }
        for key, (role, item) in roles.items()
    ]
    name = digest.digest_json([rows])
    archive.write_checked(f"listings/{name}/listing.parquet", rows_to_parquet(rows, _LISTING_SCHEMA))
    table = pa.Table.from_pylist([entry.as_row() for entry in unchecked], schema=catalog.CATALOG_SCHEMA)
    archive.write_checked(f"listings/{name}/unchecked.parquet", encode_parquet(table))
    new_count = sum(not entry.is_outstanding for entry in unchecked)
    notes = {"labels": labels.notes, "overlap": overlap_count, "new": new_count}
    archive.write_checked_json(f"listings/{name}/notes.json", notes)
    log.info("%d inputs listed, %d of them new", len(roles), len(events))
    return ListingResult(name, len(roles), len(unchecked), sequence + 1)


_LISTING_SCHEMA = pa.schema([(column, pa.string()) for column in ("key", "id", "uri", "role", "label", "record")])


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Inputs that were read.

    Attributes:
        inputs: Number of inputs, without those that an earlier run went on without.
        unread: Number of those that could not be got at.
    """

    inputs: int
    unread: int


def check_inputs(
    url: str,
    listing: str,
    rows: tuple[int, int],
    sequence: int,
    reporter: ProgressReporter,
    max_outstanding: float = DEFAULT_MAX_OUTSTANDING,
    *,
    is_isolated: bool = False,
) -> CheckResult:
    """Read, hash and identify unchecked inputs, and add the outcome of each to the catalog.

    Args:
        url: The archive's address.
        listing: The name of the listing.
        rows: The unchecked inputs [start, stop) to read.
        sequence: The number of the catalog's step.
        reporter: Is given the number of inputs read.
        max_outstanding: Largest share of the listing's inputs that may be outstanding.
        is_isolated: A worker died of these inputs: they are read one at a time in a process of their own. One that kills
            it is quarantined and remembered.

    Raises:
        AccessError: If a store, or more inputs than that, cannot be got at. Reading stops, and what was read is kept.
            One input that cannot be read never raises.
    """
    archive = Location.parse(url)
    table = read_parquet(archive, f"listings/{listing}/unchecked.parquet").slice(rows[0], rows[1] - rows[0])
    entries = [CatalogEntry.from_row(row) for row in table.to_pylist()]
    new_count = archive.read_checked_json(f"listings/{listing}/notes.json")["new"]
    meter = reporter.open_meter("ingest", f"{rows[0]}")
    checked_entries: list[CatalogEntry] = []
    unread_count, stop_event, crashes = 0, Event(), KnownCrashes.load(archive)
    check = partial(_check_input, crashes)
    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        try:
            for entry in (
                map_isolated(check, entries, partial(_quarantine_crash, crashes))
                if is_isolated
                else pool.map(partial(_check_unless_stopped, stop_event, check), entries)
            ):
                checked_entries.append(entry)
                unread_count += entry.is_unread
                if entry.is_unread:
                    refuse_outstanding(unread_count, new_count, max_outstanding, entry.reason)
                meter.add(1)
        except AccessError:
            stop_event.set()
            with contextlib.suppress(StoreError):  # the archive may be in the same store; the first error is reported
                catalog.write_part(archive, sequence, f"check-{rows[0]:09d}", checked_entries)
            raise
    catalog.write_part(archive, sequence, f"check-{rows[0]:09d}", checked_entries)
    meter.flush()
    return CheckResult(sum(not entry.is_outstanding for entry in entries), unread_count)


def _check_unless_stopped(
    stop_event: Event, check: Callable[[CatalogEntry], CatalogEntry], entry: CatalogEntry
) -> CatalogEntry:
    """The input as read; as it is once nothing more can be read."""
    if stop_event.is_set():
        return entry
    try:
        return check(entry)
    except AccessError:
        stop_event.set()
        raise


def _quarantine_crash(crashes: KnownCrashes, entry: CatalogEntry, death: ProcessDeath) -> CatalogEntry:
    try:
        sha256 = digest.digest_bytes(sources.read_input(entry.uri))
    except Unreadable as error:
        return entry.with_error(error)
    crashes.add(entry.uri, sha256, str(death))
    return replace(entry, sha256=sha256).with_error(death)


def _check_input(crashes: KnownCrashes, entry: CatalogEntry) -> CatalogEntry:
    try:
        data = sources.read_input(entry.uri)
        sha256 = digest.digest_bytes(data)
        if _SHA256.fullmatch(entry.stamp) and entry.stamp != sha256:
            raise Unreadable(
                "its bytes are not those that the feed sent: `interpdisc repair` lets the next poll fetch it again",
                retryable=True,
            )
        if crash_reason := crashes.find(entry.uri, sha256):
            return replace(entry, sha256=sha256).with_error(Unreadable(crash_reason))
        facts = identify(data)
    except Unreadable as error:
        return entry.with_error(error)
    # `retryable` stays set until the input is resolved: if the run is killed here, the next one tries it again.
    updated = entry.with_status("pending", sha256=sha256, **asdict(facts))
    return replace(updated, radiometry=describe_radiometry(updated))


def describe_radiometry(entry: CatalogEntry) -> str:
    """The name of how the pixel values of an input are converted to the network's range."""
    header = json.loads(entry.header)
    image_metadata = parse_metadata(entry.id, json.loads(entry.record), header)
    return radiometry.classify_radiometry(entry.mode, entry.format, header, image_metadata, entry.id).name


def resolve_inputs(
    url: str, listing: str, plan: Plan, inputs: RunInputs, block_size: int, workers: int
) -> IngestResult:
    """Resolve duplicates and versions, give new contents their rows, and begin the run.

    One content has one row, however many files hold it. The run's id depends on its plan and on the contents and ids
    of its images, so the same command over the same images is the same run.

    Args:
        url: The archive's address.
        listing: The name of the listing.
        plan: What to compute.
        inputs: What was listed.
        block_size: Most images in a block of features.
        workers: How many workers will extract features.

    Raises:
        PlanError: If there is no image to pick from.
    """
    archive = Location.parse(url)
    side = plan.representation.side if inputs.tiles else 0
    listing_rows, entries, sequence = assign_listing_rows(archive, listing, block_size, workers, side)
    members = unique_members(listing_rows, entries)
    candidates = [member for member in members if member.role == "candidate"]
    if not candidates:
        reason = next(
            (
                entry.reason
                for row in listing_rows
                if (entry := entries[row["key"]]).status in ("quarantined", "outstanding", "skipped")
                and row["role"] == "candidate"
            ),
            "",
        )
        raise PlanError(
            f"none of the {len(listing_rows)} inputs is an image to pick from"
            + (f" (the first: {reason})." if reason else ": all of them are in the background too.")
        )
    run_digest = digest.digest_json(
        [plan.digest, [[row["id"], row["role"], entries[row["key"]].sha256] for row in listing_rows]]
    )
    titles = (posixpath.splitext(sources.format_source_title(source))[0] for source in inputs.sources)
    run = Run(archive, f"{min(slugify(title, 'run') for title in titles)}-{run_digest[:8]}")
    run.begin(plan, inputs, members, collect_environment())
    store = FeatureStore(archive, plan.features_digest)
    store.write_spec(plan.representation)
    blocks, images = find_missing_blocks(store, members)
    ledger = catalog.count_entries_by_status(entries[row["key"]] for row in listing_rows)
    notes = _collect_notes(archive, listing, listing_rows, entries, members)
    for note in notes:
        log.warning("%s", note)
    run.location.write_checked_json("ledger.json", {"listing": listing, "inputs": len(listing_rows), "notes": notes})
    return IngestResult(run.id, len(candidates), len(members) - len(candidates), blocks, images, ledger, sequence + 1)


def _collect_notes(
    archive: Location,
    listing: str,
    listing_rows: list[dict[str, Any]],
    entries: dict[str, CatalogEntry],
    members: list[RunMember],
) -> list[str]:
    """Sentences about inputs that count otherwise than a user may expect, for the terminal and the report."""
    try:
        payload = archive.read_checked_json(f"listings/{listing}/notes.json")
    except FileNotFoundError:  # a listing of version 0.1
        payload = {"labels": [], "overlap": 0}
    known_contents = {member.sha256 for member in members if member.role == "background"}
    overlap_count = payload["overlap"] + sum(
        row["role"] == "candidate" and entries[row["key"]].sha256 in known_contents for row in listing_rows
    )
    notes = []
    outstanding = [entry for row in listing_rows if (entry := entries[row["key"]]).is_outstanding]
    if outstanding:
        notes.append(
            f"{len(outstanding):,} {'input is' if len(outstanding) == 1 else 'inputs are'} outstanding (the first: "
            f"{outstanding[0].reason}); the same command tries again."
        )
    if overlap_count:
        notes.append(
            f"{overlap_count:,} {'image' if overlap_count == 1 else 'images'} of the source "
            f"{'is' if overlap_count == 1 else 'are'} in the background too: known, so never picked."
        )
    unlabelled_note = count_unlabelled(member.label for member in members if member.role == "candidate")
    return [*notes, *payload["labels"], *([unlabelled_note] if unlabelled_note else [])]
