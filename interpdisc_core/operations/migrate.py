"""Migration of an archive from an earlier layout version. Features, runs and memory stay as they are.

From 1 to 2: the catalog gets, for every input, what its file says of itself (`header`) and the meaning of its values
(`radiometry`). Files are read again if they have not changed since they were listed. A migration can be killed and run
again: `archive.json` says first that a migration has started, and what was read is in the catalog.

From 2 to 3: only the number in `archive.json` changes, so that earlier programs do not meet names in files that they do
not know. Existing files keep their old names (`interpdisc_core.archive.disk_names`).
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow.compute as pc

from interpdisc_core import digest, sources
from interpdisc_core.archive import catalog
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.layout import ARCHIVE_FILE, ARCHIVE_FORMAT, read_version
from interpdisc_core.errors import StoreError, Unreadable
from interpdisc_core.images import radiometry
from interpdisc_core.images.decode import identify
from interpdisc_core.metadata.image_metadata import parse_metadata
from interpdisc_core.operations.verify import find_catalog_faults
from interpdisc_core.storage.location import Location

UNKNOWN_RADIOMETRY = "unknown"
"""The radiometry of an input that can no longer be read."""
_VERSION_1_SUFFIX = " (version 1)"
"""Ends the radiometry of images that version 1 converted to 8 bits in another way: no model may mix the two."""
_PART_ENTRIES, _READERS = 1000, 8

MigrationCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What a migration did, or what a dry run would do.

    Attributes:
        archive: URL of the archive.
        from_format: The layout version that it had.
        format: The layout version that it has now, or would have.
        inputs: Number of inputs in its catalog.
        reread: Inputs whose files were read again.
        unknown_radiometry: Of these, inputs that are missing or have changed.
        version_1_radiometry: Of these, inputs that version 1 converted to 8 bits in another way.
        remaining: Of a dry run: inputs whose files would be read again.
    """

    archive: str
    from_format: int
    format: int
    inputs: int
    reread: int = 0
    unknown_radiometry: int = 0
    version_1_radiometry: int = 0
    remaining: int = 0


def migrate_archive(
    url: str, *, dry_run: bool = False, report_progress: MigrationCallback = lambda _done, _of: None
) -> MigrationResult:
    """Bring an archive to this layout version. The caller holds the archive's lock.

    Args:
        url: The archive. One that has this version already is not changed.
        dry_run: Only report what would be done.
        report_progress: Called with the number of files read again so far, and the total.

    Raises:
        StoreError: If it is not an archive, of a later version, or damaged. Then nothing is changed.
    """
    archive = Location.parse(url)
    version = read_version(archive)
    from_format = version.origin
    if from_format == ARCHIVE_FORMAT:
        return MigrationResult(archive.url, from_format, ARCHIVE_FORMAT, len(catalog.read_latest(archive, ())))
    if faults := find_catalog_faults(archive):
        raise StoreError(
            f"{archive.url} is damaged, so it is not migrated: {faults[0]}; run `interpdisc verify` of the version that made it for all faults."
        )
    inputs, pending_keys = _list_pending(archive) if from_format < 2 else (len(catalog.read_latest(archive, ())), [])
    if dry_run:
        return MigrationResult(archive.url, from_format, ARCHIVE_FORMAT, inputs, remaining=len(pending_keys))
    outcomes = (0, 0, 0)
    if from_format < 2:
        migrating = {**version.payload, "format": ARCHIVE_FORMAT, "migrating_from": from_format}
        archive.write_checked_json(ARCHIVE_FILE, migrating)
        _add_radiometry(archive, pending_keys, report_progress)
        outcomes = _count_outcomes(archive)
    migrated = {key: value for key, value in version.payload.items() if key != "migrating_from"}
    archive.write_checked_json(ARCHIVE_FILE, migrated | {"format": ARCHIVE_FORMAT, "migrated_from": from_format})
    return MigrationResult(archive.url, from_format, ARCHIVE_FORMAT, inputs, *outcomes)


def _list_pending(archive: Location) -> tuple[int, list[str]]:
    """The number of inputs, and the keys of those that were read once and have no radiometry yet."""
    table = catalog.read_latest(archive, ("format", "radiometry"))
    is_pending = pc.and_(pc.not_equal(table["format"], ""), pc.equal(table["radiometry"], ""))
    return len(table), table.filter(is_pending)["key"].to_pylist()


def _count_outcomes(archive: Location) -> tuple[int, int, int]:
    table = catalog.read_latest(archive, ("format", "radiometry"))
    radiometries = table.filter(pc.not_equal(table["format"], ""))["radiometry"]
    is_unknown, is_version_1 = pc.equal(radiometries, UNKNOWN_RADIOMETRY), pc.ends_with(radiometries, _VERSION_1_SUFFIX)
    return len(radiometries), pc.sum(is_unknown).as_py() or 0, pc.sum(is_version_1).as_py() or 0


def _add_radiometry(archive: Location, pending_keys: list[str], report_progress: MigrationCallback) -> None:
    """Write an event with header and radiometry for each input, in parts of `_PART_ENTRIES`."""
    sequence = catalog.next_sequence(archive)
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(pending_keys), _PART_ENTRIES):
            entries = catalog.find_entries(archive, "key", pending_keys[start : start + _PART_ENTRIES])
            catalog.write_part(archive, sequence, f"migrate-{start:09d}", _reread_entries(pool, entries))
            report_progress(min(start + _PART_ENTRIES, len(pending_keys)), len(pending_keys))


def _reread_entries(pool: ThreadPoolExecutor, entries: list[CatalogEntry]) -> Iterator[CatalogEntry]:
    yield from pool.map(_reread_entry, entries)


def _reread_entry(entry: CatalogEntry) -> CatalogEntry:
    """The entry with header and radiometry of its file, if the file has not changed since it was listed."""
    try:
        data = sources.read_input(entry.uri)
        if digest.digest_bytes(data) != entry.sha256:
            raise Unreadable("changed since it was listed")
        facts = identify(data)
    except Unreadable:
        return replace(entry, radiometry=UNKNOWN_RADIOMETRY)
    header = json.loads(facts.header)
    image_metadata = parse_metadata(entry.id, json.loads(entry.record), header)
    state = radiometry.classify_radiometry(facts.mode, facts.format, header, image_metadata)
    is_unchanged = state.transform.startswith(("as they are", "v / 257"))
    return replace(entry, header=facts.header, radiometry=state.name + ("" if is_unchanged else _VERSION_1_SUFFIX))
