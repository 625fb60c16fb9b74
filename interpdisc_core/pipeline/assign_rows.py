"""The rows of images in an archive: duplicates and new versions are resolved, each new content gets a row."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from interpdisc_core import digest
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import BlockId, list_batches, write_batch
from interpdisc_core.archive.catalog import CatalogEntry, pixel_uri
from interpdisc_core.archive.feature_store import FeatureStore, find_row_blocks
from interpdisc_core.archive.layout import check_format
from interpdisc_core.archive.run import RunMember
from interpdisc_core.images import tiles
from interpdisc_core.images.memory_budget import has_room_now
from interpdisc_core.images.uri_fragments import tile_uri
from interpdisc_core.pipeline.partition import part_size
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import read_parquet


def members_of_listing(url: str, listing: str, block_size: int, workers: int) -> list[RunMember]:
    """The images of a listing, each content once, with their rows in the archive; no run is begun."""
    listing_rows, entries, _ = assign_listing_rows(Location.parse(url), listing, block_size, workers)
    return unique_members(listing_rows, entries)


def assign_rows(url: str, listing: str, block_size: int, workers: int, side: int) -> None:
    """Resolve a listing and give its new contents their rows; no run is begun.

    Args:
        url: The archive's address.
        listing: The name of the listing.
        block_size: Most images in a block of features.
        workers: How many workers will extract features.
        side: Side of the network's input in pixels; tiles of frames that are much larger are added. 0 adds none.
    """
    assign_listing_rows(Location.parse(url), listing, block_size, workers, side)


def members_of_archive(url: str) -> list[RunMember]:
    """The ready images of a whole archive, each content once, as its catalog lists them.

    Raises:
        StoreError: If there is no archive at `url`.
    """
    archive = Location.parse(url)
    check_format(archive)
    entries = catalog.load_entries(archive)
    rows = [
        {"key": e.key, "id": e.id, "uri": e.uri, "role": "candidate", "label": None, "record": e.record}
        for e in entries.values()
        if e.status == "ready"
    ]
    return unique_members(rows, entries)


def assign_listing_rows(
    archive: Location, listing: str, block_size: int, workers: int, side: int = 0
) -> tuple[list[dict[str, Any]], dict[str, CatalogEntry], int]:
    """Resolve a listing and give its new contents their rows.

    Returns:
        The rows of the listing, the latest catalog entry of each input by key, and the number of the catalog's step.
    """
    listing_rows = read_parquet(archive, f"listings/{listing}/listing.parquet").to_pylist()
    entries, sequence = catalog.load_entries(archive), catalog.next_sequence(archive)
    if side:
        listing_rows, entries = _add_tiles(listing_rows, entries, side)
    events = _resolve_statuses(entries, [row["key"] for row in listing_rows])
    new_entries = [entry for entry in events.values() if entry.status == "ready" and entry.row < 0]
    number = max(list_batches(archive), default=-1) + 1
    if new_entries:
        batch_block_size = part_size(len(new_entries), block_size, workers)
        write_batch(archive, number, [replace(entry, uri=pixel_uri(entry)) for entry in new_entries], batch_block_size)
        events |= {entry.key: replace(entry, batch=number, row=row) for row, entry in enumerate(new_entries)}
    if events:
        catalog.write_part(archive, sequence, "settle", events.values())
    return listing_rows, entries | events, sequence


def _add_tiles(
    listing_rows: list[dict[str, Any]], entries: dict[str, CatalogEntry], side: int
) -> tuple[list[dict[str, Any]], dict[str, CatalogEntry]]:
    """Add the tiles of frames that are much larger than a network's input of `side` pixels.

    A tile is an input of its own: a part of its frame's address and content. The frame stays an input too.
    """
    all_rows, all_entries = list(listing_rows), dict(entries)
    for row in listing_rows:
        frame = entries[row["key"]]
        if not frame.sha256 or frame.status in ("quarantined", "outstanding"):
            continue
        size = frame.width, frame.height
        if tiles.tile_grid(*size, side):
            size = tiles.compute_upright_size(*size, frame.format, json.loads(frame.header))
        for box in tiles.tile_grid(*size, side):
            uri, part = tile_uri(frame.uri, box), ",".join(map(str, box))
            key = digest.digest_bytes(f"{frame.key}\0{part}".encode())[:16]
            tile = replace(
                frame,
                key=key,
                id=f"{frame.id}#xywh={part}",
                uri=uri,
                status="pending",
                reason="",
                batch=-1,
                row=-1,
                sha256=tiles.digest_tile(frame.sha256, box),
                width=box[2],
                height=box[3],
            )
            if key not in all_entries or all_entries[key].is_outstanding:  # its frame is readable now
                all_entries[key] = tile
            all_rows.append({**row, "key": key, "id": tile.id, "uri": uri})
    return all_rows, all_entries


def _resolve_statuses(entries: dict[str, CatalogEntry], keys: Iterable[str]) -> dict[str, CatalogEntry]:
    """The events after which exactly one entry of each readable content is ready."""
    events: dict[str, CatalogEntry] = {}
    rows = {e.sha256: (e.batch, e.row) for e in entries.values() if e.row >= 0}
    versions = {entries[key].uri: key for key in keys if entries[key].sha256}
    undecodable = {
        e.sha256: e.reason
        for e in entries.values()
        if e.status == "quarantined" and e.sha256 and not e.retryable and not has_room_now(e.reason)
    }
    entries_by_content: dict[str, list[CatalogEntry]] = {}
    for entry in entries.values():
        if not entry.sha256 or entry.status in ("quarantined", "outstanding", "skipped"):
            continue
        if entry.status == "superseded-by" and versions.get(entry.uri) != entry.key:
            continue  # superseded, unless this very version is listed again
        if entry.sha256 in undecodable:
            events[entry.key] = entry.with_status(
                "quarantined", undecodable[entry.sha256], retryable=False, batch=-1, row=-1
            )
            continue
        newer = entries[versions.get(entry.uri, entry.key)]
        if newer.key != entry.key and newer.sha256 != entry.sha256:
            events[entry.key] = entry.with_status("superseded-by", newer.key, retryable=False)
        else:
            entries_by_content.setdefault(entry.sha256, []).append(entry)
    for sha256, copies in entries_by_content.items():
        first = next((entry for entry in copies if entry.status == "ready"), copies[0])
        if first.status != "ready":
            batch, row = rows.get(sha256, (-1, -1))
            events[first.key] = first.with_status("ready", retryable=False, batch=batch, row=row)
        for entry in copies:
            if entry is not first and (entry.status, entry.reason) != ("duplicate-of", first.key):
                events[entry.key] = entry.with_status("duplicate-of", first.key, retryable=False)
    return events


def unique_members(listing_rows: list[dict[str, Any]], entries: dict[str, CatalogEntry]) -> list[RunMember]:
    """The images of a listing, one for each content: candidates, then background, each in order of id.

    A content that is in the background is not a candidate. Order and ids come from the listing alone, so they do not
    depend on what else the archive holds.
    """
    members: dict[str, RunMember] = {}
    for row in sorted(listing_rows, key=lambda row: (row["role"] != "background", row["id"], row["key"])):
        entry = entries[row["key"]]
        original = entries[entry.reason] if entry.status == "duplicate-of" else entry
        if original.status == "ready" and original.sha256 not in members:
            members[original.sha256] = RunMember(
                row["id"],
                row["key"],
                pixel_uri(entry),
                original.sha256,
                original.batch,
                original.row,
                row["role"],
                row["label"],
                row["record"],
            )
    unique, names = [], set()
    for member in members.values():
        # Two sources may use the same id for different images.
        name = member.id if member.id not in names else f"{member.id}@{digest.digest_bytes(member.uri.encode())[:8]}"
        names.add(name)
        unique.append(replace(member, id=name))
    return sorted(unique, key=lambda member: (member.role != "candidate", member.id))


def find_missing_blocks(store: FeatureStore, members: list[RunMember]) -> tuple[tuple[BlockId, ...], int]:
    """The blocks that hold members and whose features are not complete, and the number of images in these blocks."""
    return find_missing_blocks_of_rows(store, [(member.batch, member.row) for member in members])


def find_missing_blocks_of_rows(
    store: FeatureStore, batch_rows: Sequence[tuple[int, int]]
) -> tuple[tuple[BlockId, ...], int]:
    """As `find_missing_blocks`, of rows given as (batch, row)."""
    row_blocks = find_row_blocks(store.archive, batch_rows)
    complete_blocks = row_blocks.find_complete(store)
    missing_blocks = tuple(block for block in row_blocks.blocks if block not in complete_blocks)
    sizes = (row_blocks.batches[block.batch].row_range(block.number) for block in missing_blocks)
    return missing_blocks, sum(stop - start for start, stop in sizes)
