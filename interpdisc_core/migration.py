"""An archive of an earlier layout version brought to this one, step by step; features, runs and memory stay as they are.

Version 2 keeps with every input what its file says of itself (`header`) and what its values mean (`radiometry`). For what an
archive of version 1 has, files are read again where they still are what was listed. A step may be killed and given again: what
was looked at is in the catalog, and `archive.json` says that a migration has begun before anything else is written.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow.compute as pc

from interpdisc_core import catalog, digest, metadata, radiometry, sources
from interpdisc_core.catalog import Entry
from interpdisc_core.errors import StoreError, Unreadable
from interpdisc_core.images import identify
from interpdisc_core.ingest import FORMAT
from interpdisc_core.storage import Place
from interpdisc_core.verification import catalog_faults

UNKNOWN = "unknown"
"""The radiometry of an input that cannot be read any more."""
_EARLIER = " (version 1)"
"""Follows the radiometry of images whose values version 1 brought to 8 bits otherwise: no model may mix the two."""
_PART, _READERS = 1000, 8
_BEGUN = "migrating from"

Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done, or would be. found: the version that it had. looked_at: inputs whose files were looked at anew.

    unknown: of those, how many could not be read as what they were. earlier: how many were brought to 8 bits otherwise by
    version 1. left: still to look at (of a dry run).
    """

    archive: str
    found: int
    format: int
    inputs: int
    looked_at: int
    unknown: int
    earlier: int
    left: int


def migrate(url: str, *, dry_run: bool = False, tell: Tell = lambda _done, _of: None) -> Migrated:
    """Bring the archive at `url` to this layout version; one that has it already is left as it is.

    dry_run: only say what would be done. tell: is told inputs looked at, and how many there are to look at. Who calls
    it holds the archive. Raises StoreError where it is none, of a later version, or damaged; then nothing is changed.
    """
    archive = Place.of(url)
    told, found = _version(archive)
    if found == FORMAT:
        return Migrated(archive.url, found, FORMAT, len(catalog.latest(archive, ())), 0, 0, 0, 0)
    if faults := catalog_faults(archive):
        raise StoreError(
            f"{archive.url} is damaged, so it is not migrated: {faults[0]}; `interpdisc verify` of the version that made it says more."
        )
    inputs, waiting = _waiting(archive)
    if dry_run:
        return Migrated(archive.url, found, FORMAT, inputs, 0, 0, 0, len(waiting))
    archive.write_json("archive.json", told | {"format": FORMAT, _BEGUN: found})
    for step in range(found, FORMAT):
        _STEPS[step](archive, waiting, tell)
    looked, unknown, earlier = _came_to(archive)
    done = {key: value for key, value in told.items() if key != _BEGUN}
    archive.write_json("archive.json", done | {"format": FORMAT, "migrated from": found})
    return Migrated(archive.url, found, FORMAT, inputs, looked, unknown, earlier, 0)


def _version(archive: Place) -> tuple[dict[str, object], int]:
    """What `archive.json` says, and the version from which a migration has to begin."""
    if not archive.exists("archive.json"):
        raise StoreError(f"{archive.url} is not an archive: it has no archive.json.")
    told = archive.read_json("archive.json")
    version = told.get("format") if isinstance(told, dict) else None
    if type(version) is not int or version < 1:
        raise StoreError(f"{archive.url}/archive.json is damaged: it names no layout version.")
    if version > FORMAT:
        raise StoreError(
            f"{archive.url} has layout version {version}, of a later program; this one brings archives to version {FORMAT}."
        )
    begun = told.get(_BEGUN, version)
    if type(begun) is not int or not 1 <= begun <= version:
        raise StoreError(f"{archive.url}/archive.json is damaged: it names no version that a migration began with.")
    return told, begun


def _waiting(archive: Place) -> tuple[int, list[str]]:
    """How many inputs there are, and the keys of those that were read once and have no radiometry yet."""
    table = catalog.latest(archive, ("format", "radiometry"))
    left = pc.and_(pc.not_equal(table["format"], ""), pc.equal(table["radiometry"], ""))
    return len(table), table.filter(left)["key"].to_pylist()


def _came_to(archive: Place) -> tuple[int, int, int]:
    told = catalog.latest(archive, ("format", "radiometry"))
    names = told.filter(pc.not_equal(told["format"], ""))["radiometry"]
    unknown, earlier = pc.equal(names, UNKNOWN), pc.ends_with(names, _EARLIER)
    return len(names), pc.sum(unknown).as_py() or 0, pc.sum(earlier).as_py() or 0


def _to_2(archive: Place, waiting: list[str], tell: Tell) -> None:
    """Header and radiometry of what was read once: an event each, a part of the catalog for `_PART` of them."""
    turn = catalog.next_turn(archive)
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(waiting), _PART):
            entries = catalog.find(archive, "key", waiting[start : start + _PART])
            catalog.write_part(archive, turn, f"migrate-{start:09d}", _looked_at(pool, entries))
            tell(min(start + _PART, len(waiting)), len(waiting))


def _looked_at(pool: ThreadPoolExecutor, entries: list[Entry]) -> Iterator[Entry]:
    yield from pool.map(_again, entries)


def _again(entry: Entry) -> Entry:
    """The entry with what its file says, where that is still what was listed; nothing else of it changes."""
    try:
        data = sources.read(entry.uri)
        if digest.of_bytes(data) != entry.sha256:
            raise Unreadable("changed since it was listed")
        facts = identify(data)
    except Unreadable:
        return replace(entry, radiometry=UNKNOWN)
    header = json.loads(facts.header)
    told = metadata.told(entry.id, json.loads(entry.record), header)
    found = radiometry.of(facts.mode, facts.format, header, told)
    as_before = found.transform.startswith(("as they are", "v / 257"))
    return replace(entry, header=facts.header, radiometry=found.name + ("" if as_before else _EARLIER))


_STEPS: dict[int, Callable[[Place, list[str], Tell], None]] = {1: _to_2}
"""What brings an archive from each earlier version to the next."""
